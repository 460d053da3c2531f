import asyncio
import json
import os
from pathlib import Path
from random import Random

import polars as pl
import pytest
import zstandard
from commands import Shell

from headsaw.adapters.aws import Aws
from headsaw.core.conversion import FileCounts, OutputKind
from headsaw.demo.emulator import Endpoint
from headsaw.demo.landing import Landing
from headsaw.operate.oneshot import LocalFile, LocalOutputs, Stopped, Watch

FIELDS = {
    "format", "files", "rejected_files", "lines", "rows", "quarantined", "blank", "filtered", "rescued_values",
    "bytes_in", "bytes_out", "outputs", "quarantine", "schema", "seconds", "cpu_seconds", "peak_rss_bytes", "parser",
}  # fmt: skip


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in [name for name in os.environ if name.startswith("HEADSAW_")]:
        monkeypatch.delenv(name)
    return Shell(monkeypatch, capsys)


def quarantined(path: str) -> list[dict[str, object]]:
    text = zstandard.ZstdDecompressor().decompressobj().decompress(Path(path).read_bytes())
    return [json.loads(line) for line in text.splitlines()]


def test_generated_files_convert_to_exactly_the_lines_that_were_made(shell: Shell, tmp_path: Path) -> None:
    landing = Landing(files=40, file_bytes=3000, seed=9, corrupt=2, broken=0.05, datasets=("clicks",))
    truth = FileCounts()
    for file in landing:
        path = tmp_path / "in" / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.body)
        truth += file.counts
    ran = shell.run("convert", tmp_path / "in", tmp_path / "out", "--json")
    told = ran.json
    assert ran.status == 1  # two files are corrupt
    assert set(told) == FIELDS
    assert (told["files"], len(told["rejected_files"])) == (40, 2)
    assert FileCounts(*(told[name] for name in ("lines", "rows", "quarantined", "blank", "filtered"))) == truth
    assert {rejected["reason"] for rejected in told["rejected_files"]} == {"corrupt_stream", "truncated_stream"}
    assert pl.scan_parquet(tmp_path / "out" / "**/*.parquet").select(pl.len()).collect().item() == truth.rows
    assert sum(len(quarantined(path)) for path in told["quarantine"]) == truth.quarantined
    assert told["bytes_out"] == sum(Path(path).stat().st_size for path in told["outputs"] + told["quarantine"])
    assert told["peak_rss_bytes"] > 1e7


def test_people_see_the_sums_and_what_was_rejected_within_eighty_columns(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"a":1}\n\nbad\n')
    (tmp_path / "b.gz").write_bytes(b"\x1f\x8b")
    ran = shell.run("convert", tmp_path / "a.ndjson", tmp_path / "b.gz", tmp_path / "out")
    assert ran.status == 1
    assert "= 1 rows + 1 quarantined + 1 blank" in ran.out
    assert "b.gz: rejected: truncated_stream" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines() if str(tmp_path) not in line)


def test_a_dataset_of_a_configuration_converts_as_the_service_would(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"ts":"2026-11-23T07:00:00Z","n":1}\n{"ts":"2026-11-24T07:00:00Z","n":2}\n')
    datasets = [
        {
            "name": name,
            "source": f"s3://landing/{name}/",
            "destination": f"s3://lake/{name}/",
            "partition_by": [{"field": "ts", "granularity": "day"}],
            "schema": {"hints": {"ts": "timestamp"}},
        }
        for name in ("clicks", "orders")
    ]
    config = tmp_path / "headsaw.yaml"
    config.write_text(
        json.dumps(
            {
                "queue_url": "https://sqs.eu-west-1.amazonaws.com/111122223333/landing",
                "dlq_url": "https://sqs.eu-west-1.amazonaws.com/111122223333/dead",
                "control": "s3://control/headsaw/",
                "quarantine": "s3://control/quarantine/",
                "datasets": datasets,
            }
        )
    )
    arguments = ("convert", "--config", config, tmp_path / "a.ndjson", tmp_path / "out", "--json")
    undecided = shell.run(*arguments)
    assert (undecided.status, "--dataset (clicks, orders)" in " ".join(undecided.err.split())) == (2, True)
    told = shell.run(*arguments, "--dataset", "clicks").json
    assert {Path(path).parent.name for path in told["outputs"]} == {"ts_day=2026-11-23", "ts_day=2026-11-24"}
    assert {"name": "ts", "type": "timestamp"} in told["schema"]
    assert shell.run(*arguments, "--dataset", "klicks").status == 2


def test_nothing_is_there_before_all_is_and_nothing_after_an_abort(tmp_path: Path) -> None:
    outputs = LocalOutputs(tmp_path / "out", "x")
    table = outputs.open(OutputKind.TABLE, "day=1")
    table.write(b"rows")
    dropped = outputs.open(OutputKind.TABLE, "day=2")
    dropped.write(b"rows")
    dropped.abort()
    table.close()
    assert list((tmp_path / "out").glob("[!.]*")) == []
    outputs.publish([table.name])
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["out/day=1/x-0.parquet"]
    aborted = LocalOutputs(tmp_path / "new", "y")
    aborted.open(OutputKind.QUARANTINE, "").write(b"x")
    aborted.discard()
    assert not (tmp_path / "new").exists()


def test_a_conversion_that_is_told_to_stop_stops_at_its_next_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    watch = Watch(lambda size: None)
    chunks = LocalFile(path, watch).chunks()
    next(chunks)
    watch.stopping.set()
    with pytest.raises(Stopped):
        next(chunks)


def test_directories_are_read_whole_but_hidden_files_and_earlier_outputs(shell: Shell, tmp_path: Path) -> None:
    for name in ("a.ndjson", "deep/er/b.ndjson", ".hidden", ".git/c"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"a":1}\n')
    for _ in range(2):
        words = ("convert", tmp_path, tmp_path / "a.ndjson", tmp_path / "out", "--append", "--json")
        assert shell.run(*words).json["files"] == 2


def test_a_destination_that_holds_parquet_is_refused_without_append(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a":1}\n')
    words = ("convert", tmp_path / "a", tmp_path / "out")
    assert shell.run(*words).status == 0
    again = shell.run(*words)
    assert (again.status, "--append" in again.err) == (2, True)
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 1
    assert shell.run(*words, "--append").status == 0
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 2
    inside = shell.run("convert", tmp_path / "out", tmp_path / "out", "--append")
    assert (inside.status, "lies in, the destination" in " ".join(inside.err.split())) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{tmp}/a"], "where to write"),
        (["{tmp}/nothing", "{tmp}/out"], "no such file or directory"),
        (["{tmp}/pipe", "{tmp}/out"], "no regular file"),
        (["-", "{tmp}/out"], "standard input"),
        (["{tmp}/empty", "{tmp}/out"], "no files in this directory"),
        (["{tmp}/a", "{tmp}/a"], "is, or lies in, the destination"),
        (["{tmp}/a", "{tmp}/b"], "the destination is a file"),
        (["{tmp}/a", "/proc/headsaw"], "can't be written to"),
        (["{tmp}/a", "s3://B/out"], "no S3 URI"),
        (["s3:///key", "{tmp}/out"], "no S3 URI"),
        (["{tmp}/a", "{tmp}/out", "--dataset", "clicks"], "-c FILE"),
        (["{tmp}/a", "{tmp}/out", "-c", "{tmp}/none.yaml"], "no such file"),
    ],
)
def test_bad_input_is_one_clear_sentence_and_exit_status_two(
    shell: Shell, tmp_path: Path, arguments: list[str], says: str
) -> None:
    (tmp_path / "a").write_text("{}\n")
    (tmp_path / "b").touch()
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    ran = shell.run("convert", *(argument.format(tmp=tmp_path) for argument in arguments))
    assert ran.status == 2
    assert says in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()


def test_an_unreadable_file_is_rejected_and_the_others_converted(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a":1}\n')
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    ran = shell.run("convert", tmp_path / "a", tmp_path / "gone", tmp_path / "out", "--json")
    assert ran.status == 2  # a path that isn't there is a mistake, not a bad file


def test_the_default_dataset_is_named_after_the_destination(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a":1}\n')
    told = shell.run("convert", tmp_path / "a", tmp_path / "My Lake (2026)", "--json").json
    assert pl.read_parquet_metadata(told["outputs"][0])["headsaw.dataset"] == "my-lake-2026"


@pytest.mark.emulator
def test_objects_of_a_bucket_convert_to_a_directory_and_to_another_prefix(
    shell: Shell, tmp_path: Path, emulator_environment: Endpoint
) -> None:
    bucket = f"convert-{Random().getrandbits(32):08x}"

    async def prepare() -> None:
        async with Aws() as aws:
            s3 = await aws.client("s3")
            await s3.create_bucket(Bucket=bucket)
            for number in range(40):
                await s3.put_object(Bucket=bucket, Key=f"in/{number:02}.ndjson", Body=b'{"n":%d}\n' % number)
            await s3.put_object(Bucket=bucket, Key="in/big.ndjson", Body=b'{"n":0}\n' * 300_000)
            await s3.put_object(Bucket=bucket, Key="in/bad.ndjson", Body=b"nothing\n")

    async def keys() -> tuple[list[str], int]:
        async with Aws() as aws:
            s3 = await aws.client("s3")
            listed = await s3.list_objects_v2(Bucket=bucket, Prefix="out/")
            pending = await s3.list_multipart_uploads(Bucket=bucket)
            return [found["Key"] for found in listed.get("Contents", ())], len(pending.get("Uploads", ()))

    asyncio.run(prepare())
    told = shell.run("convert", f"s3://{bucket}/in/", tmp_path / "out", "--json").json
    assert (told["files"], told["rows"], told["quarantined"]) == (42, 300_040, 1)
    ran = shell.run(
        "convert", f"s3://{bucket}/in/07.ndjson", f"s3://{bucket}/in/bad.ndjson", f"s3://{bucket}/out/", "--json"
    )
    there, pending = asyncio.run(keys())
    assert ran.status == 0
    assert sorted(f"s3://{bucket}/{key}" for key in there) == sorted(ran.json["outputs"] + ran.json["quarantine"])
    assert all(key.startswith("out/_quarantine/") == key.endswith(".zst") for key in there)
    assert pending == 0
    assert shell.run("convert", f"s3://{bucket}/nothing", tmp_path / "out2").status == 2
    again = shell.run("convert", f"s3://{bucket}/in/07.ndjson", f"s3://{bucket}/out")
    assert (again.status, "--append" in again.err) == (2, True)
    missing = shell.run("convert", "s3://no-such-bucket-here/x", tmp_path / "out2")
    assert (missing.status, "no such bucket" in missing.err) == (2, True)
