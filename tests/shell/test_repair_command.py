"""`headsaw repair` and `headsaw retry` on batches that really are in trouble, in a local AWS."""

import json
from pathlib import Path
from random import Random

import pytest
from commands import Shell

from headsaw.adapters.connect import Connected, connect
from headsaw.adapters.inline import InlineConverter
from headsaw.adapters.local import create_resources
from headsaw.cli.shared import run_async
from headsaw.config import ServiceSettings, load
from headsaw.core.commit import CommitRecord, digest
from headsaw.core.lifecycle import Commit, Event, Fail, Finish, GiveUp, Release, Start, Take, advance
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    CommitPointer,
    DatasetName,
    FileMark,
    Lease,
    SourceFile,
    SourceSpan,
    WorkerId,
)
from headsaw.core.naming import commit_record_name
from headsaw.demo.emulator import Endpoint
from headsaw.ports import Accepted, Claimed

pytestmark = pytest.mark.emulator


@pytest.fixture
def config(tmp_path: Path, emulator_environment: Endpoint, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    name = f"repair-{Random().getrandbits(32):08x}"
    queue = f"{emulator_environment.url}/{emulator_environment.account}/{name}"
    path = tmp_path / "headsaw.yaml"
    document = {
        "queue_url": queue,
        "dlq_url": f"{queue}-dlq",
        "ledger_table": name,
        "control": f"s3://{name}/headsaw/",
        "quarantine": f"s3://{name}/quarantine/",
        "datasets": [
            {
                "name": "clicks",
                "source": f"s3://{name}-in/clicks/",
                "destination": f"s3://{name}-out/clicks/",
                "partition_by": [{"field": "kind"}],
            }
        ],
    }
    path.write_text(json.dumps(document))
    monkeypatch.setenv("HEADSAW_CONFIG", str(path))
    return load(path, {})


async def claimed(config: ServiceSettings, aws: Connected, body: bytes) -> Batch:
    """One file, landed and claimed."""
    await create_resources(config)
    dataset = config.datasets[0]
    await aws.store.put(dataset.source.bucket, "clicks/a.ndjson", body)
    head = await aws.store.head(dataset.source.bucket, "clicks/a.ndjson")
    assert head is not None
    now, batch_id = aws.clock.now(), BatchId("0" * 26)
    batch = Batch(
        batch_id, DatasetName("clicks"), await aws.ledger.put_settings(dataset), BatchState.READY,
        SourceSpan(batch_id, 0, 1), head.size, 1, now, Lease(WorkerId("w1"), 1, now + 60), due_at=now + 60,
    )  # fmt: skip
    result = await aws.ledger.claim(batch, [SourceFile(dataset.source.bucket, head.key, head.etag, head.size)])
    assert isinstance(result, Claimed)
    return result.batch


async def moved(aws: Connected, batch: Batch, *events: Event) -> Batch:
    for event in events:
        result = await aws.ledger.apply(batch, advance(batch, event))
        assert isinstance(result, Accepted)
        batch = result.batch
    return batch


async def committed_and_damaged(config: ServiceSettings) -> Batch:
    """PUBLISHING: one output is visible, one is pending, one is gone."""
    async with connect(config) as aws:
        batch = await claimed(config, aws, b"".join(b'{"id":%d,"kind":"k%d"}\n' % (n, n % 3) for n in range(9)))
        batch = await moved(aws, batch, Start())
        converter = InlineConverter(aws.store, aws.ledger, aws.clock, config.quarantine, lambda: "token", 1, 64 << 20)
        sources = await aws.ledger.sources(batch)
        converted = await converter.convert(batch, config.datasets[0], sources)
        await converter.close()
        record = CommitRecord(
            batch.id, batch.dataset, batch.attempt, batch.lease.epoch, "inline", batch.settings,
            converted.report.schema.version, sources, converted.report.files, (), converted.uploads,
            converted.oldest_upload_at, 0, converted.report.bytes_in,
        )  # fmt: skip
        key = config.control.key(commit_record_name(batch))
        await aws.store.put(config.control.bucket, key, record.to_json())
        commit = Commit(CommitPointer(key, digest(record.to_json())), 9, record.schema_version)
        first, _, last = record.uploads
        await aws.store.complete_upload(first)
        await aws.store.abort_upload(last.bucket, last.key, last.upload_id)
        return await moved(aws, batch, commit, Release(aws.clock.now(), "1 uploads are gone"))


async def failed(config: ServiceSettings) -> Batch:
    """FAILED, its file marked."""
    async with connect(config) as aws:
        batch = await claimed(config, aws, b"{}\n")
        now = aws.clock.now()
        batch = await moved(aws, batch, Start(), Fail(now, "poison"), Take(WorkerId("w2"), now + 60), GiveUp("poison"))
        (source,) = await aws.ledger.sources(batch)
        await aws.ledger.mark(source, batch.id, FileMark.FAILED, "poison")
        return await moved(aws, batch, Finish(now))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


def test_a_batch_whose_upload_is_gone_is_rebuilt_and_every_row_is_there_once(
    config: ServiceSettings, shell: Shell
) -> None:
    batch = run_async(committed_and_damaged(config))
    before = shell.run("describe", batch.id, "--json").json
    assert [output["visible"] for output in before["outputs"]] == [True, False, False]
    told = shell.run("repair", batch.id, "--json")
    assert told.status == 0, told.err
    assert (told.json["state"], told.json["rebuilt"], told.json["rows"]) == ("DONE", True, 9)
    assert len(told.json["gone"]) == 1
    after = shell.run("describe", batch.id, "--json").json
    assert all(output["visible"] for output in after["outputs"])
    audited = shell.run("audit", "clicks", "--grace", "0", "--json")
    assert audited.status == 0, audited.out
    assert (audited.json["rows"], audited.json["outputs"], audited.json["duplicated"]) == (9, 3, 0)
    assert shell.run("repair", batch.id).status == 1


def test_a_failed_batch_is_ready_again(config: ServiceSettings, shell: Shell) -> None:
    batch = run_async(failed(config))
    assert shell.run("batches", "--state", "failed", "--json").json["batches"][0]["id"] == batch.id
    told = shell.run("retry", batch.id, "--json")
    assert (told.status, told.json["state"], told.json["attempt"]) == (0, "READY", batch.attempt + 1)
    again = shell.run("retry", batch.id)
    assert again.status == 1
    assert "is READY: workers will convert it" in " ".join(again.err.split())
