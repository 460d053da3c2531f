"""`headsaw demo --spark-over`: large batches by real Spark on this machine, and nothing of it left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.shell.test_demo import demo, last_line
from tests.spark.environment import PYTHON, need_spark

from headsaw.app_demo import spark_python
from headsaw.detached import detached
from headsaw.errors import UsageError

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]
STARTS_SECONDS = 40.0

STAND_IN = """#!/bin/sh
if [ "$1" = -c ]; then exit 0; fi
sleep 600
"""
"""An interpreter that has everything, and whose job never ends."""


@pytest.mark.thorough
def test_large_batches_go_to_spark_and_small_ones_are_converted_by_workers(tmp_path: Path) -> None:
    need_spark()
    result = demo(tmp_path, "--files", "60", "--workers", "2", "--spark-over", "5MB", "--json")
    told = last_line(result)
    assert result.returncode == 0, result.stderr
    assert told["audit"] == {"missing": 0, "duplicated": 0, "miscounted": 0}
    assert told["engines"]["inline"] + told["engines"]["local"] == told["batches"]
    assert told["engines"]["inline"] > 0
    assert told["engines"]["local"] > 0
    assert "by Spark on this machine, from 5MB on" in result.stderr


def test_the_environment_that_make_made_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    need_spark()
    # The tests' own Spark application lets any Python find pyspark.
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert spark_python(None) == str(PYTHON)


def test_an_interpreter_that_cannot_do_it_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--spark-over: .*/nothing can't be run.*HEADSAW_SPARK_PYTHON.*make spark"):
        spark_python(str(tmp_path / "nothing"))


@pytest.mark.parametrize("size", ["many", "0", "5GB"])
def test_a_size_that_makes_no_sense_is_refused(tmp_path: Path, size: str) -> None:
    result = demo(tmp_path, "--spark-over", size)
    assert result.returncode == 2
    assert result.stderr.startswith("headsaw: --spark-over")


def started(folder: Path) -> "subprocess.Popen[bytes]":
    """A demo whose Spark never ends."""
    python, java = folder / "python", folder / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch()
    python.write_text(STAND_IN)
    python.chmod(0o700)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADSAW_"))}
    environ |= {"HEADSAW_SPARK_PYTHON": str(python), "JAVA_HOME": str(folder / "java")}
    command = [sys.executable, "-m", "headsaw", "demo", "--output", str(folder / "out"), "--files", "10"]
    return subprocess.Popen(
        [*command, "--spark-over", "1MB"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def until(condition: Any) -> None:
    deadline = time.monotonic() + STARTS_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_run_outlives_the_demo(tmp_path: Path, number: signal.Signals) -> None:
    runs = tmp_path / "out" / "spark"
    with started(tmp_path) as process:
        try:
            until(lambda: any(run.alive and run.started for run in detached(runs)))
            process.send_signal(number)
            process.wait(60)
        finally:
            process.kill()
    until(lambda: not any(run.alive for run in detached(runs)))
    commands = [(run.folder / "command").read_text() for run in detached(runs)]
    assert " -m headsaw.spark.job --manifest s3://demo-control/headsaw/spark/" in commands[0]
