"""The operators' commands against a local AWS that a real worker has worked in."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiobotocore.session import AioSession, get_session
from commands import Shell

from headsaw.adapters.aws import Aws
from headsaw.cli import main
from headsaw.core.conversion import FileCounts
from headsaw.demo.emulator import Endpoint
from headsaw.demo.fleet import free_port
from headsaw.demo.landing import Landing

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(120)]
DRAIN_SECONDS = 60.0


@cache
def session() -> AioSession:
    """AWS's API descriptions, loaded once."""
    return get_session()


@dataclass(frozen=True)
class Site:
    """Buckets and queues with a name of their own, and what landed there."""

    name: str
    config: Path
    endpoint: Endpoint
    truth: FileCounts
    files: int

    def s3(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """The result of what is done with an S3 client."""

        async def run() -> Any:
            async with Aws(session=session()) as aws:
                return await work(await aws.client("s3"))

        return asyncio.run(run())


@pytest.fixture(scope="module")
def site(emulator: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Forty files were set up, landed, backfilled and converted, by commands alone; one of them is corrupt."""
    name = f"ops-{Random().getrandbits(32):08x}"
    folder = tmp_path_factory.mktemp("operate")
    config = folder / "headsaw.yaml"
    queue = f"{emulator.url}/{emulator.account}/{name}"
    config.write_text(
        json.dumps(
            {
                "queue_url": queue,
                "dlq_url": f"{queue}-dlq",
                "ledger_table": name,
                "control": f"s3://{name}-control/headsaw/",
                "quarantine": f"s3://{name}-control/quarantine/",
                "datasets": [
                    {
                        "name": "clicks",
                        "source": f"s3://{name}-landing/clicks/",
                        "destination": f"s3://{name}-lake/clicks/",
                        "batch": {"max_age": "0.3s", "max_files": 15},
                        "partition_by": [{"field": "ts", "granularity": "day"}],
                    }
                ],
                "poll_wait": "1s",
                "conversions": 1,
                "lease": {"length": "3s"},
                "http": {"host": "127.0.0.1", "port": free_port()},
            }
        )
    )
    environ = emulator.environ(os.environ) | {"HEADSAW_CONFIG": str(config)}
    landing = Landing(files=40, file_bytes=2500, seed=4, corrupt=1, broken=0.04, datasets=("clicks",))
    with pytest.MonkeyPatch.context() as patched:
        for variable, value in {**emulator.env, "HEADSAW_CONFIG": str(config)}.items():
            patched.setenv(variable, value)
        made = Site(name, config, emulator, sum((file.counts for file in landing), FileCounts()), 40)
        _headsaw("local-setup")
        made.s3(lambda s3: _put(s3, f"{name}-landing", {file.key: file.body for file in landing}))
        _headsaw("backfill", f"s3://{name}-landing/")
        worker = subprocess.Popen([sys.executable, "-m", "headsaw", "run"], env=environ, stdout=subprocess.DEVNULL)
        try:
            _drained()
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        yield made


async def _put(s3: Any, bucket: str, bodies: dict[str, bytes]) -> None:
    for key, body in bodies.items():
        await s3.put_object(Bucket=bucket, Key=key, Body=body)


def _headsaw(*words: str) -> str:
    """The command's stdout; it succeeded."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed):
        patched.setattr(sys, "argv", ["headsaw", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, printed.getvalue()
    return printed.getvalue()


def _drained() -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        told = json.loads(_headsaw("status", "--json").splitlines()[-1])
        queue = told["queues"][0]
        if told["batches"]["DONE"] >= 3 and not told["unfinished"] + queue["visible"] + queue["in_flight"]:
            return
    raise AssertionError(f"not drained: {told}")


@pytest.fixture
def shell(
    site: Site, emulator_environment: Endpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.setenv("HEADSAW_CONFIG", str(site.config))
    return Shell(monkeypatch, capsys)


def narrow(text: str) -> bool:
    """Fits a terminal of 80 columns, but for names, which are never broken."""
    return all(len(line) <= 80 or "s3://" in line for line in text.splitlines())


def test_what_a_worker_published_is_in_order_down_to_the_line(shell: Shell, site: Site) -> None:
    ran = shell.run("audit", "clicks", "--grace", "0s", "--json")
    told = ran.json
    assert ran.status == 0, told["findings"]
    assert FileCounts(*(told[name] for name in ("lines", "rows", "quarantined", "blank", "filtered"))) == site.truth
    assert (told["files"], told["done"], told["rejected"], told["pending"]) == (40, 39, 1, 0)
    people = shell.run("audit", "clicks", "--since", "1d")
    assert people.status == 0
    assert "In order: 0 missing, 0 duplicated, 0 miscounted" in people.out
    assert narrow(people.out)


def test_a_file_that_was_never_notified_is_missing_until_it_is_fixed(shell: Shell, site: Site) -> None:
    key = "clicks/2026/lost file.ndjson"
    site.s3(lambda s3: _put(s3, f"{site.name}-landing", {key: b'{"a":1}\n'}))
    try:
        ran = shell.run("audit", "clicks", "--grace", "0s")
        assert ran.status == 1
        assert f"missing file s3://{site.name}-landing/{key}" in ran.out
        assert "Not in order: 1 missing, 0 duplicated, 0 miscounted" in ran.out
        fixed = shell.run("audit", "clicks", "--grace", "0s", "--fix", "--json")
        assert (fixed.status, fixed.json["missing"], fixed.json["fixed"]) == (1, 1, 1)
        again = shell.run("audit", "clicks", "--grace", "0s", "--json")
        assert (again.status, again.json["missing"], again.json["pending"]) == (0, 0, 1)
    finally:
        site.s3(lambda s3: s3.delete_object(Bucket=f"{site.name}-landing", Key=key))


def test_damage_in_the_lake_is_found_wherever_it_is(shell: Shell, site: Site) -> None:
    batch = next(b for b in shell.run("batches", "--json").json["batches"] if b["rows"])
    outputs = shell.run("describe", batch["id"], "--json").json["outputs"]
    table = next(output for output in outputs if output["kind"] == "table")
    quarantine = next(output for output in outputs if output["kind"] == "quarantine")

    def place(output: dict[str, Any]) -> dict[str, str]:
        bucket, _, key = output["uri"].removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": key}

    async def whole(s3: Any, output: dict[str, Any]) -> dict[str, Any]:
        answer = await s3.get_object(**place(output))
        return {"Body": await answer["Body"].read(), "Metadata": answer["Metadata"]}

    for output in (table, quarantine):
        kept = site.s3(lambda s3, output=output: whole(s3, output))
        site.s3(lambda s3, output=output: s3.delete_object(**place(output)))
        gone = shell.run("audit", "clicks", "--json")
        assert gone.status == 1
        assert (gone.json["missing"], gone.json["miscounted"]) == (1, 0)
        site.s3(lambda s3, output=output, kept=kept: s3.put_object(**place(output), **kept))
        assert shell.run("audit", "clicks", "--json").json["missing"] == 0

    copy = {"Bucket": place(table)["Bucket"], "Key": "clicks/ts_day=2026-11-21/copy.parquet"}
    site.s3(lambda s3: s3.copy_object(**copy, CopySource=place(table)))
    twice = shell.run("audit", "clicks")
    assert twice.status == 1
    assert "duplicated object" in twice.out
    site.s3(lambda s3: s3.delete_object(**copy))
    assert shell.run("audit", "clicks").status == 0


def test_status_and_batches_say_what_the_ledger_holds(shell: Shell, site: Site) -> None:
    told = shell.run("status", "--json").json
    (dataset,) = told["datasets"]
    assert (dataset["name"], dataset["files"], dataset["rows"]) == ("clicks", 40, site.truth.rows)
    assert told["dlq"]["visible"] == 1
    assert told["oldest_unfinished"] is None
    people = shell.run("status")
    assert "clicks" in people.out
    assert narrow(people.out)
    batches = shell.run("batches", "--limit", "2", "--state", "done", "--json").json["batches"]
    assert len(batches) == 2
    assert batches[0]["id"] > batches[1]["id"]
    listed = shell.run("batches", "--dataset", "clicks")
    assert batches[0]["id"] in listed.out
    assert narrow(listed.out)
    assert shell.run("batches", "--state", "FAILED").out.strip() == "No such batches."


def test_a_batch_and_a_file_tell_their_story(shell: Shell, site: Site) -> None:
    batch = shell.run("batches", "--limit", "1", "--json").json["batches"][0]
    told = shell.run("describe", batch["id"], "--json").json
    assert told["batch"] == batch
    assert all(output["visible"] for output in told["outputs"])
    assert sum(source["counts"]["rows"] for source in told["sources"] if source["counts"]) == told["counts"]["rows"]
    file = told["sources"][0]["file"]
    story = shell.run("describe", file, "--json").json
    assert story["versions"][0]["batch"] == batch["id"]
    for what in (batch["id"], file):
        people = shell.run("describe", what)
        assert people.status == 0
        assert batch["id"] in people.out
        assert narrow(people.out)


def test_a_rejected_file_is_redriven_with_its_identity(shell: Shell, site: Site) -> None:
    counted = shell.run("redrive", "--dry-run", "--json").json
    assert (counted["redriven"], counted["reasons"]) == (1, {"corrupt_stream": 1})
    assert shell.run("redrive", "--reason", "poison", "--json").json["left"] == 1
    assert "Redrove 1 message." in shell.run("redrive").out
    assert shell.run("status", "--json").json["dlq"]["visible"] == 0


def test_a_backfill_counts_first_and_repeats_harmlessly(shell: Shell, site: Site) -> None:
    prefix = f"s3://{site.name}-landing/clicks/"
    counted = shell.run("backfill", prefix, "--dry-run", "--include", "*.gz", "--json")
    assert 0 < counted.json["known"] < 40
    assert counted.json["known"] + counted.json["rejected"] + counted.json["filtered"] == 40
    assert shell.run("backfill", prefix, "--until", "1d", "--json").json["enqueued"] == 0
    told = shell.run("backfill", prefix, "--rejected", "--rate", "10000/s").out
    assert "Enqueued 1 of 40 objects (clicks 1).\n39 known" in told


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["audit", "klicks"], 2, "did you mean clicks"),
        (["audit", "clicks", "--since", "yesterday"], 2, "write it as 2026-11-23"),
        (["audit", "clicks", "--grace", "soon"], 2, "write it as 300s"),
        (["batches", "--state", "LOST"], 2, "choose one of OPEN, READY"),
        (["batches", "--dataset", "nope"], 2, "is not configured (known: clicks)"),
        (["describe", ""], 2, "name a batch by its id"),
        (["describe", "s3://{landing}"], 2, "write it as s3://bucket/key"),
        (["describe", "s3://{landing}/"], 2, "write it as s3://bucket/key"),
        (["describe", "nothing"], 1, "has no such batch"),
        (["describe", "s3://{landing}/clicks/nothing"], 1, "neither the ledger"),
        (["describe", "message:nothing"], 1, "no such record message"),
        (["backfill", "s3://{landing}/elsewhere/"], 2, "no dataset has its source there"),
        (["backfill", "landing"], 2, "write it as s3://bucket/key"),
        (["backfill", "s3://{landing}/clicks/", "--rate", "fast"], 2, "write it as 100/s"),
        (["retry", "nothing"], 1, "no such batch"),
        (["repair", "nothing"], 1, "no such batch"),
        (["audit", "clicks", "-c", "/nowhere.yaml"], 2, "there is no such file"),
    ],
)
def test_bad_input_is_one_clear_sentence(shell: Shell, site: Site, words: list[str], status: int, says: str) -> None:
    ran = shell.run(*(word.format(landing=f"{site.name}-landing") for word in words))
    assert ran.status == status
    assert says in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_published_batch_is_neither_retried_nor_repaired(shell: Shell) -> None:
    batch = shell.run("batches", "--limit", "1", "--json").json["batches"][0]["id"]
    for command in ("retry", "repair"):
        ran = shell.run(command, batch)
        assert ran.status == 1
        assert "is DONE: it is published" in " ".join(ran.err.split())


def test_an_endpoint_that_does_not_answer_and_a_table_that_is_not_there_are_one_sentence_each(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSAW_LEDGER_TABLE", "no-such-table")
    ran = shell.run("batches")
    assert (ran.status, "there is no such table" in " ".join(ran.err.split())) == (2, True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    ran = shell.run("status")
    assert ran.status == 1
    assert len(ran.err.strip().splitlines()) <= 2
    assert "Traceback" not in ran.err
