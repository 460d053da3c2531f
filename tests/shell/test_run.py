"""`headsaw run` as a process: what stops it from starting, signals, and two configurations side by side."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from tests.contract.scripted import json_error, scripted

from headsaw.adapters.aws import Aws
from headsaw.adapters.connect import Connected, connect
from headsaw.adapters.local import create_resources
from headsaw.config import load
from headsaw.convert import parser_choice
from headsaw.core.model import SourceFile
from headsaw.core.notification import synthetic_event
from headsaw.demo.emulator import Endpoint
from headsaw.demo.fleet import free_port
from headsaw.ports import Outgoing

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(120)]
START_SECONDS = 30.0


def document(endpoint: Endpoint, name: str, *datasets: str, **changes: Any) -> dict[str, Any]:
    queue = f"{endpoint.url}/{endpoint.account}/{name}"
    return {
        "queue_url": queue,
        "dlq_url": f"{queue}-dlq",
        "ledger_table": name,
        "control": f"s3://{name}-control/headsaw/",
        "quarantine": f"s3://{name}-control/quarantine/",
        "datasets": [
            {
                "name": dataset,
                "source": f"s3://{name}-landing/{dataset}/",
                "destination": f"s3://{name}-lake/{dataset}/",
                "batch": {"max_age": "0.5s"},
            }
            for dataset in datasets or ("clicks",)
        ],
        "visibility": "5s",
        "poll_wait": "1s",
        "conversions": 1,
        "lease": {"length": "3s"},
        "http": {"host": "127.0.0.1", "port": free_port()},
        **changes,
    }


def written(folder: Path, content: dict[str, Any], name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


async def spawn(path: Path, endpoint: Endpoint, **environ: str) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEADSAW_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headsaw", "run", "-c", str(path)),
        env={**endpoint.environ(inherited), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    try:
        out, err = await asyncio.wait_for(process.communicate(), START_SECONDS)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), " ".join(err.decode().split())


@asynccontextmanager
async def running(path: Path, endpoint: Endpoint) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await spawn(path, endpoint)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@asynccontextmanager
async def ports(path: Path) -> AsyncIterator[Connected]:
    config = load(path, {})
    await create_resources(config)
    async with connect(config) as aws:
        yield aws


async def land(aws: Connected, bucket: str, key: str, body: bytes) -> None:
    await aws.store.put(bucket, key, body)
    head = await aws.store.head(bucket, key)
    assert head is not None
    event = synthetic_event(SourceFile(bucket, key, head.etag, head.size))
    assert await aws.queues[0].send([Outgoing("1", event, {})]) == []


async def until(condition: Any, seconds: float = START_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.1)


async def ready(content: dict[str, Any]) -> bool:
    url = f"http://127.0.0.1:{content['http']['port']}/readyz"
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:  # not listening yet
        return False


async def rows(aws: Connected, bucket: str) -> int:
    done = [batch async for batch in aws.ledger.batches() if batch.state == "DONE"]
    assert all([head.size > 0 async for head in aws.store.list(bucket, "")])
    return sum(batch.rows or 0 for batch in done)


# --- what stops it from starting


async def test_every_problem_of_a_configuration_is_told_at_once(tmp_path: Path, emulator_environment: Endpoint) -> None:
    content = document(emulator_environment, "bad-config", "clicks", colour="red")
    content["datasets"].append({**content["datasets"][0], "name": "more"})
    status, _, err = await ended(await spawn(written(tmp_path, content), emulator_environment))
    assert status == 2
    assert "colour" in err
    assert "datasets[1]" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("queue_url", "no such queue"),
        ("dlq_url", "no such queue"),
        ("ledger_table", "no such table"),
        ("control", "no such bucket"),
    ],
)
async def test_what_is_missing_is_named_and_nothing_is_polled(
    tmp_path: Path, emulator_environment: Endpoint, missing: str, words: str
) -> None:
    name = f"lacks-{missing.replace('_', '-')}"
    content = document(emulator_environment, name)
    async with ports(written(tmp_path, content)):
        pass
    absent = {
        "queue_url": content["queue_url"] + "-gone",
        "dlq_url": content["dlq_url"] + "-gone",
        "ledger_table": "nowhere",
        "control": "s3://nowhere-at-all/headsaw/",
    }
    changed = {**content, missing: absent[missing]}
    status, _, err = await ended(await spawn(written(tmp_path, changed), emulator_environment))
    assert status == 2
    assert words in err
    assert "Traceback" not in err


async def test_an_unreachable_endpoint_is_named(tmp_path: Path, emulator_environment: Endpoint) -> None:
    path = written(tmp_path, document(emulator_environment, "unreachable"))
    process = await spawn(path, emulator_environment, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    status, _, err = await ended(process)
    assert status == 1
    assert "127.0.0.1:9" in err
    assert "Traceback" not in err


async def test_a_queue_that_would_lose_messages_is_refused(tmp_path: Path, emulator_environment: Endpoint) -> None:
    content = document(emulator_environment, "short-queue")
    path = written(tmp_path, content)
    async with ports(path):
        pass
    async with Aws() as aws:
        sqs = await aws.client("sqs")
        await sqs.set_queue_attributes(QueueUrl=content["queue_url"], Attributes={"MessageRetentionPeriod": "345600"})
    status, _, err = await ended(await spawn(path, emulator_environment))
    assert status == 2
    assert "4 days" in err
    assert "1209600" in err


# --- life and death


async def test_an_engine_that_is_not_there_is_named(tmp_path: Path, emulator_environment: Endpoint) -> None:
    settings = document(emulator_environment, "noengine", spark={"glue": {"job_name": "no-such-job"}})
    settings["datasets"][0]["spark"] = {"engine": "glue"}
    path = written(tmp_path, settings)
    async with ports(path), scripted(json_error(400, "EntityNotFoundException")) as glue:
        status, _, err = await ended(await spawn(path, emulator_environment, AWS_ENDPOINT_URL_GLUE=glue.url))
    assert status == 2
    assert "spark.glue: the job no-such-job can't be used: EntityNotFoundException: " in err
    assert "create it, or correct job_name and region, as docs/spark.md says" in err


async def test_sigterm_drains_and_exits_with_zero(tmp_path: Path, emulator_environment: Endpoint) -> None:
    name = "drains"
    content = document(emulator_environment, name)
    path = written(tmp_path, content)
    async with ports(path) as aws, running(path, emulator_environment) as process:
        await land(aws, f"{name}-landing", "clicks/a.ndjson", b'{"a":1}\n{"a":2}\n')

        async def published() -> bool:
            return await rows(aws, f"{name}-lake") == 2

        await until(published)
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{content['http']['port']}"
            async with session.get(f"{url}/readyz") as answer:
                assert answer.status == 200
            async with session.get(f"{url}/metrics") as answer:
                assert "headsaw_lines_total" in await answer.text()
        process.send_signal(signal.SIGTERM)
        status, out, _ = await ended(process)
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["parser"] for line in lines if line["event"] == "worker started"] == [parser_choice().name]
    assert [line["rows"] for line in lines if line["event"] == "batch done"] == [2]
    assert lines[-1]["event"] == "worker stopped"
    assert "a.ndjson" not in out, "no object key at INFO"


async def test_a_second_sigterm_stops_at_once(tmp_path: Path, emulator_environment: Endpoint) -> None:
    content = document(emulator_environment, "aborts", poll_wait="20s")
    path = written(tmp_path, content)
    async with ports(path), running(path, emulator_environment) as process:
        assert process.stdout is not None
        assert b"worker started" in await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        await until(lambda: ready(content))
        process.send_signal(signal.SIGTERM)
        assert b"drain began" in await asyncio.wait_for(process.stdout.readline(), 5.0)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5.0) == 1


async def test_a_killed_workers_batch_is_published_by_another(tmp_path: Path, emulator_environment: Endpoint) -> None:
    name = "heirs"
    content = document(emulator_environment, name)
    path = written(tmp_path, content)
    async with ports(path) as aws:
        async with running(path, emulator_environment) as process:
            for n in range(20):
                await land(aws, f"{name}-landing", f"clicks/{n}.ndjson", b'{"a":1}\n' * 2000)

            async def claimed() -> bool:
                return bool([batch async for batch in aws.ledger.batches()])

            await until(claimed)
            process.kill()
        async with running(path, emulator_environment):

            async def published() -> bool:
                return await rows(aws, f"{name}-lake") == 40_000

            await until(published, 60.0)


async def test_two_configurations_side_by_side_lose_and_block_nothing(
    tmp_path: Path, emulator_environment: Endpoint
) -> None:
    """One worker knows a dataset that the other doesn't, as in a rolling upgrade."""
    name = "rolling"
    old = document(emulator_environment, name, "clicks")
    new = document(emulator_environment, name, "clicks", "orders")
    new_path, old_path = written(tmp_path, new, "new.yaml"), written(tmp_path, old, "old.yaml")
    async with (
        ports(new_path) as aws,
        running(old_path, emulator_environment),
        running(new_path, emulator_environment),
    ):
        for n in range(10):
            await land(aws, f"{name}-landing", f"clicks/{n}.ndjson", b'{"a":1}\n')
            await land(aws, f"{name}-landing", f"orders/{n}.ndjson", b'{"b":1}\n')

        async def published() -> bool:
            return await rows(aws, f"{name}-lake") == 20

        await until(published, 60.0)
        assert (await aws.dlq.depth()).visible == 0
