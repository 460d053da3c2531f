"""Creates what a configuration names, for local use: `headsaw` itself creates nothing in production.

Everything may exist already; only an endpoint on a loopback address is ever asked.
"""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from headsaw.adapters.aws import Aws, error_code, translated
from headsaw.adapters.dynamodb import TTL_ATTRIBUTE, table_definition
from headsaw.config import ServiceSettings
from headsaw.config.settings import QUEUE_RETENTION_SECONDS_MAX
from headsaw.errors import UsageError

_EXISTS = frozenset({"ResourceInUseException", "BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_QUEUE_EXISTS = frozenset({"QueueAlreadyExists", "QueueNameExists", "AWS.SimpleQueueService.QueueNameExists"})
_QUEUE_ATTRIBUTES = {"MessageRetentionPeriod": str(int(QUEUE_RETENTION_SECONDS_MAX))}


async def create_resources(config: ServiceSettings) -> None:
    """Queues, DLQ, buckets and the ledger's table exist. Raises UsageError unless AWS is on this machine."""
    async with Aws(region=config.region) as aws:
        sqs, s3, dynamodb = [await _local_client(aws, service) for service in ("sqs", "s3", "dynamodb")]
        for url in (*config.queue_urls, config.dlq_url):
            await _create_queue(sqs, url)
        for bucket in bucket_names(config):
            await _create_bucket(s3, bucket)
        await _create_table(dynamodb, config.ledger_table)


async def create_queue(name: str) -> str:
    """The queue exists, keeping messages as long as SQS can; returns its URL. Only on this machine, like the rest."""
    async with Aws() as aws:
        return await _ensure_queue(await _local_client(aws, "sqs"), name)


def bucket_names(config: ServiceSettings) -> list[str]:
    """Every bucket that the configuration reads or writes, once."""
    prefixes = [config.control, config.quarantine]
    for dataset in config.datasets:
        prefixes += [dataset.source, dataset.destination]
    return sorted({prefix.bucket for prefix in prefixes})


def is_loopback(url: str) -> bool:
    """Whether the URL's host is this machine and can be no other."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _local_client(aws: Aws, service: str) -> Any:
    """What the client would really speak to counts, wherever that was set."""
    client = await aws.client(service)
    if not is_loopback(client.meta.endpoint_url):
        raise UsageError(
            f"local set-up: {service} would be asked at {client.meta.endpoint_url}, which isn't this machine; set "
            "AWS_ENDPOINT_URL to a local AWS such as http://127.0.0.1:4566 (in production, create queues, buckets and "
            "the table with your own tools)"
        )
    return client


async def _create_queue(sqs: Any, url: str) -> None:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    made = await _ensure_queue(sqs, name)
    if urlsplit(made).path != urlsplit(url).path:
        raise UsageError(f"local set-up: queue {name} is {made} here; write that in the configuration instead of {url}")


async def _ensure_queue(sqs: Any, name: str) -> str:
    with translated(f"create queue {name}"):
        try:
            url = (await sqs.create_queue(QueueName=name, Attributes=_QUEUE_ATTRIBUTES))["QueueUrl"]
        except ClientError as error:
            if error_code(error) not in _QUEUE_EXISTS:
                raise
            url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        await sqs.set_queue_attributes(QueueUrl=url, Attributes=_QUEUE_ATTRIBUTES)
    return str(url)


async def _create_bucket(s3: Any, name: str) -> None:
    region = s3.meta.region_name
    place = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != "us-east-1" else {}
    with translated(f"create bucket {name}"):
        try:
            await s3.create_bucket(Bucket=name, **place)
        except ClientError as error:
            if error_code(error) not in _EXISTS:
                raise


async def _create_table(dynamodb: Any, name: str) -> None:
    with translated(f"create table {name}"):
        try:
            await dynamodb.create_table(**table_definition(name))
        except ClientError as error:
            if error_code(error) not in _EXISTS:
                raise
        await dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        described = await dynamodb.describe_time_to_live(TableName=name)
        if described.get("TimeToLiveDescription", {}).get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            await dynamodb.update_time_to_live(
                TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
            )
