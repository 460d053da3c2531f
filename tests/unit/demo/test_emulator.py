import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import get_session

from headsaw.demo.emulator import ACCOUNT, Emulator, Endpoint, main
from headsaw.demo.installation import Installation, default_directory, lock_hash
from headsaw.errors import UsageError

LINE_SECONDS = 60.0


@asynccontextmanager
async def client(endpoint: Endpoint, service: str) -> AsyncIterator[Any]:
    made = get_session().create_client(
        service,
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.account,
        aws_secret_access_key="local",
    )
    async with made as opened:
        yield opened


def closed(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address(url)) != 0


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def empty(directory: Path) -> bool:
    return not list(directory.iterdir())


async def process_ended(reader: asyncio.StreamReader) -> None:
    """Waits for the kernel to close a connection of the process, which it does when the process is gone."""
    try:
        async with asyncio.timeout(LINE_SECONDS):
            await reader.read()
    except ConnectionResetError:
        return


@pytest.mark.emulator
async def test_what_was_put_and_sent_comes_back_and_the_port_is_closed_afterwards() -> None:
    async with Emulator().start() as endpoint:
        async with client(endpoint, "s3") as s3:
            await s3.create_bucket(Bucket="landing")
            await s3.put_object(Bucket="landing", Key="clicks/a b+ü.ndjson", Body=b"{}\n")
            got = await s3.get_object(Bucket="landing", Key="clicks/a b+ü.ndjson")
            assert await got["Body"].read() == b"{}\n"
        async with client(endpoint, "sqs") as sqs:
            queue = (await sqs.create_queue(QueueName="notifications"))["QueueUrl"]
            assert queue == f"{endpoint.url}/{ACCOUNT}/notifications"
            await sqs.send_message(QueueUrl=queue, MessageBody="hello")
            received = await sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)
            assert [message["Body"] for message in received["Messages"]] == ["hello"]
    assert closed(endpoint.url)


@pytest.mark.emulator
async def test_accounts_do_not_see_each_other() -> None:
    async with Emulator().start() as endpoint:
        async with client(endpoint, "sqs") as ours:
            await ours.create_queue(QueueName="notifications")
        async with client(endpoint.for_account("222222222222"), "sqs") as theirs:
            assert not (await theirs.list_queues()).get("QueueUrls")
        async with client(endpoint, "sts") as sts:
            assert (await sts.get_caller_identity())["Account"] == ACCOUNT


@pytest.mark.emulator
async def test_an_error_inside_the_context_stops_the_emulator_too() -> None:
    async def fail(urls: list[str]) -> None:
        async with Emulator().start() as endpoint:
            urls.append(endpoint.url)
            raise LookupError

    urls: list[str] = []
    with pytest.raises(LookupError):
        await fail(urls)
    assert closed(urls[0])


@pytest.mark.emulator
async def test_a_killed_parent_leaves_neither_process_nor_files_behind(tmp_path: Path) -> None:
    Emulator().ensure_installed()
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headsaw.demo.emulator"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    async with asyncio.timeout(LINE_SECONDS):
        served = json.loads(await parent.stdout.readline())
    assert not empty(tmp_path)
    url = served["env"]["AWS_ENDPOINT_URL"]
    reader, writer = await asyncio.open_connection(*address(url))
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    await process_ended(reader)
    writer.close()
    assert closed(url)
    assert empty(tmp_path)


@pytest.mark.emulator
async def test_an_interrupted_server_ends_cleanly() -> None:
    Emulator().ensure_installed()
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headsaw.demo.emulator"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    async with asyncio.timeout(LINE_SECONDS):
        served = json.loads(await parent.stdout.readline())
    parent.send_signal(signal.SIGINT)
    assert await parent.wait() == 0
    assert closed(served["env"]["AWS_ENDPOINT_URL"])


async def test_an_emulator_that_does_not_come_up_is_explained_by_its_log(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "emulator")
    installation.python.parent.mkdir(parents=True)
    installation.python.write_text("#!/bin/sh\necho the library is missing >&2\nexit 3\n")
    installation.python.chmod(0o755)
    (installation.directory / "headsaw-complete").write_text(lock_hash())
    with pytest.raises(UsageError, match=r"(?s)ended with status 3.*the library is missing"):
        async with Emulator(installation).start():
            pass


async def test_an_emulator_that_never_answers_is_given_up_and_stopped(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "emulator")
    installation.python.parent.mkdir(parents=True)
    installation.python.write_text("#!/bin/sh\necho still thinking\nexec cat\n")
    installation.python.chmod(0o755)
    (installation.directory / "headsaw-complete").write_text(lock_hash())
    with pytest.raises(UsageError, match=r"(?s)didn't answer within 0.2 s.*still thinking"):
        async with Emulator(installation).start(ready_seconds=0.2):
            pass


def test_an_installation_that_failed_is_not_taken_for_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    installation = Installation(tmp_path / "emulator")
    told: list[str] = []
    with pytest.raises(UsageError, match="--endpoint-url"):
        installation.ensure(told.append)
    assert installation.python.exists()
    assert not installation.complete
    assert len(told) == 2


def test_an_environment_of_another_lock_is_not_complete(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    installation.python.parent.mkdir()
    installation.python.touch()
    (tmp_path / "headsaw-complete").write_text("another")
    assert not installation.complete
    (tmp_path / "headsaw-complete").write_text(lock_hash())
    assert installation.complete


def test_a_directory_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="XDG_CACHE_HOME"):
        Installation(tmp_path / "file" / "emulator").ensure()


def test_outside_a_virtual_environment_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert default_directory() == tmp_path / "headsaw" / f"ministack-{lock_hash()[:12]}"


def test_a_child_inherits_no_aws_setting_of_the_user() -> None:
    endpoint = Endpoint("http://127.0.0.1:4566", "us-east-1", ACCOUNT, 1)
    environ = endpoint.environ({"PATH": "/bin", "AWS_PROFILE": "production", "AWS_SESSION_TOKEN": "secret"})
    assert environ["PATH"] == "/bin"
    assert environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
    assert "AWS_PROFILE" not in environ
    assert "AWS_SESSION_TOKEN" not in environ


def test_an_unknown_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--instal"]) == 2
    assert "--install" in capsys.readouterr().err
