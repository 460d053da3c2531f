"""What an AWS-compatible endpoint can't do that headsaw's guarantees rest on, found out by trying it.

Made for emulators: everything it creates is named after chance and small. Each finding is one plain sentence.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import SystemRandom
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from headsaw.adapters.aws import Aws
from headsaw.adapters.dynamodb import DynamoTable, table_definition
from headsaw.adapters.table import Absent, Key, Put, Value, Written
from headsaw.errors import HeadsawError, Unreachable

RACE_ROUNDS = 10
RACERS = 16
RACE_ITEMS = 6


async def lacking() -> list[str]:
    """One sentence for each shortcoming; empty if all is well. Raises Unreachable if nobody answers."""
    name = f"headsaw-probe-{SystemRandom().getrandbits(40):010x}"
    findings: list[str] = []
    async with Aws() as aws:
        clients = {service: await aws.client(service) for service in ("dynamodb", "s3", "sqs")}
        for probe in (_transactions, _uploads, _queue):
            finding = await _tried(probe, clients, name)
            if finding is not None:
                findings.append(finding)
    return findings


Probe = Callable[[dict[str, Any], str], Awaitable[str | None]]


async def _tried(probe: Probe, clients: dict[str, Any], name: str) -> str | None:
    try:
        return await probe(clients, name)
    except Unreachable:
        raise
    except (HeadsawError, ClientError, BotoCoreError) as error:
        text = " ".join(str(error).split())
        if "Could not connect" in text or "Cannot connect" in text:
            raise Unreachable(f"nobody answers there: {text}") from None
        return f"{(probe.__doc__ or '').rstrip('.')}: {text}"


async def _transactions(clients: dict[str, Any], name: str) -> str | None:
    """Transactions that are atomic under concurrency."""
    client = clients["dynamodb"]
    await client.create_table(**table_definition(name))
    await client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    table = DynamoTable(client, name)
    try:
        for number in range(RACE_ROUNDS):
            wrong = await _race(table, number)
            if wrong is not None:
                return f"TransactWriteItems isn't atomic under concurrency: {wrong}"
    finally:
        await client.delete_table(TableName=name)
    return None


async def _race(table: DynamoTable, number: int) -> str | None:
    """All racers want the same items at once: one gets all of them, the others nothing."""
    wanted = [f"r{number}-{n}" for n in range(RACE_ITEMS)]

    async def claim(racer: int) -> bool:
        writes = [*(Put(_item(pk, str(racer)), Absent()) for pk in wanted), Put(_item(f"r{number}-b{racer}", "batch"))]
        try:
            return isinstance(await table.transact(writes, f"probe-{number}-{racer}"), Written)
        except HeadsawError:
            return False

    won = await asyncio.gather(*(claim(racer) for racer in range(RACERS)))
    winners = {str(racer) for racer, ok in enumerate(won) if ok}
    items = [await table.get(Key(pk, "file")) for pk in wanted]
    held = {str(item["by"]) for item in items if item is not None}
    batches = [await table.get(Key(f"r{number}-b{racer}", "file")) for racer in range(RACERS)]
    persisted = {str(racer) for racer, item in enumerate(batches) if item is not None}
    if len(winners) != 1:
        return f"{len(winners)} of {RACERS} transactions over the same items won, which must be one"
    return None if held == persisted == winners else "a losing transaction left items behind"


def _item(pk: str, by: str) -> dict[str, Value]:
    return {"pk": pk, "sk": "file", "by": by}


async def _uploads(clients: dict[str, Any], name: str) -> str | None:
    """Multipart uploads that are invisible until completed."""
    s3 = clients["s3"]
    await s3.create_bucket(Bucket=name)
    upload = await s3.create_multipart_upload(Bucket=name, Key="k", Metadata={"headsaw-token": "t"})
    part = await s3.upload_part(Bucket=name, Key="k", UploadId=upload["UploadId"], PartNumber=1, Body=b"x")
    if (await s3.list_objects_v2(Bucket=name)).get("KeyCount", 0):
        return "a pending multipart upload is visible to readers"
    await s3.complete_multipart_upload(
        Bucket=name,
        Key="k",
        UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    head = await s3.head_object(Bucket=name, Key="k")
    await s3.delete_object(Bucket=name, Key="k")
    await s3.delete_bucket(Bucket=name)
    return None if head["Metadata"].get("headsaw-token") == "t" else "completed uploads lose their metadata"


async def _queue(clients: dict[str, Any], name: str) -> str | None:
    """Queues that redeliver what isn't deleted."""
    sqs = clients["sqs"]
    url = (await sqs.create_queue(QueueName=name))["QueueUrl"]
    try:
        await sqs.send_message(QueueUrl=url, MessageBody="hello")
        first = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, VisibilityTimeout=30)
        if not first.get("Messages"):
            return "a message that was sent isn't received"
        handle = first["Messages"][0]["ReceiptHandle"]
        await sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
        again = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=2)
        return None if again.get("Messages") else "a message that is given back isn't delivered again"
    finally:
        await sqs.delete_queue(QueueUrl=url)
