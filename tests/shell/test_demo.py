"""`headsaw demo` as a user runs it: real processes, the embedded AWS, the audit."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]


def demo(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADSAW_"))}
    command = [sys.executable, "-m", "headsaw", "demo", "--output", str(folder / "out"), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False, cwd=folder, timeout=220)


def last_line(result: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert result.stdout, result.stderr
    document: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return document


def test_generated_events_all_become_rows_or_quarantined_lines_once(tmp_path: Path) -> None:
    result = demo(tmp_path, "--files", "120", "--workers", "2", "--json")
    told = last_line(result)
    assert result.returncode == 0, result.stderr
    assert told["format"] == 1
    assert told["audit"] == {"missing": 0, "duplicated": 0, "miscounted": 0}
    assert told["lines"] == told["rows"] + told["quarantined"] + told["blank"] + told["filtered"] > 1000
    assert told["quarantined"] > 0
    assert [rejected["reason"] for rejected in told["rejected_files"]] == ["corrupt_stream"]
    assert told["workers"] == 2
    assert told["engines"]["inline"] == told["batches"] > 0
    assert told["api_calls"]["dynamodb"]["TransactWriteItems"] > 0
    assert told["api_calls"]["sqs"]["ReceiveMessage"] > 0
    assert told["api_calls"]["s3"]["CompleteMultipartUpload"] >= len(told["outputs"])
    copies = list((tmp_path / "out" / "lake").rglob("*.parquet"))
    assert len(copies) == len(told["outputs"]) > 0


def test_workers_that_are_killed_all_the_while_lose_and_double_nothing(tmp_path: Path) -> None:
    result = demo(tmp_path, "--files", "150", "--workers", "2", "--chaos", "--json")
    told = last_line(result)
    assert result.returncode == 0, result.stderr
    assert told["audit"] == {"missing": 0, "duplicated": 0, "miscounted": 0}
    assert told["kills"] >= 2


def test_a_users_own_files_are_converted_and_accounted_for(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "deep er"
    folder.mkdir(parents=True)
    (folder / "a b.ndjson").write_bytes(b'{"a":1}\n\n{"a":"x"}\nnonsense\n')
    damaged = bytearray(gzip.compress(b'{"a":1}\n'))
    damaged[-8] ^= 1  # the checksum
    (tmp_path / "mine" / "c.ndjson.gz").write_bytes(damaged)
    result = demo(tmp_path, "--input", str(tmp_path / "mine"), "--workers", "1", "--json")
    told = last_line(result)
    assert result.returncode == 0, result.stderr
    assert (told["files"], told["lines"], told["rows"], told["quarantined"], told["blank"]) == (2, 4, 2, 1, 1)
    assert told["rejected_files"] == [{"file": "s3://demo-landing/input/c.ndjson.gz", "reason": "corrupt_stream"}]
    assert told["audit"] == {"missing": 0, "duplicated": 0, "miscounted": 0}


def test_a_folder_that_no_demo_wrote_is_never_cleared(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    result = demo(tmp_path)
    assert result.returncode == 2
    assert "choose another folder" in result.stderr
    assert (out / "precious.txt").read_text() == "mine"


def test_an_endpoint_where_nobody_answers_is_a_clear_error(tmp_path: Path) -> None:
    result = demo(tmp_path, "--endpoint-url", "http://127.0.0.1:9")
    assert result.returncode == 1
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def children(pid: int) -> list[int]:
    """The processes that it started and that still run."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_nothing_outlives_a_demo_however_it_ends(tmp_path: Path, number: signal.Signals, status: int) -> None:
    headsaw = ["env", "--default-signal=HUP", sys.executable, "-m", "headsaw"]  # whoever runs the tests may ignore it
    command = [*headsaw, "demo", "--output", str(tmp_path / "out"), "--files", "10", "--serve"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADSAW_"))}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
        env={**environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        told = ""
        try:
            while " describe s3:" not in told:
                told += (line := process.stdout.readline())
                assert line, told
            started = children(process.pid)
            process.send_signal(number)
            told += process.stdout.read()
            assert process.wait(60) == status, told
        finally:
            process.kill()
    assert len(started) == 3  # the emulator, two workers
    assert "Traceback" not in told
    assert told.strip().endswith("Stopped.") == (number is not signal.SIGKILL)
    deadline = time.monotonic() + 20
    while any(map(runs, started)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(runs, started))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no folder for a while is left


def test_an_output_that_can_be_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for output in (file, file / "below", Path("/proc/demo")):
        result = demo(tmp_path, "--output", str(output))
        assert result.returncode == 2
        assert "choose another folder" in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
