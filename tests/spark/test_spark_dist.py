"""What `make spark-dist` made works where there is nothing else: no sources, no index, no environment of ours."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.shell.test_demo import demo, last_line
from tests.spark.environment import PYTHON, need_spark

DIST = Path(__file__).parents[2] / "dist" / "spark"
TELLS = """
import sys, headsaw
from headsaw.convert import parser_choice
print(headsaw.__file__, sys.prefix, parser_choice().name, sep="\\n")
"""

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def _made() -> None:
    need_spark()
    if not (DIST / "headsaw.gluewheels.zip").exists() or not (DIST / "environment.tar.gz").exists():
        told = "dist/spark isn't complete: run `make spark-dist`"
        pytest.fail(told) if os.environ.get("CI") == "true" else pytest.skip(told)


def bare(*command: Any) -> "subprocess.CompletedProcess[str]":
    """In an environment that has nothing but what an engine gives: its own pyspark."""
    environ = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": pyspark()}
    return subprocess.run([*map(str, command)], env=environ, capture_output=True, text=True, check=False, cwd="/")


def built_parser() -> str:
    """The native one where cargo was."""
    return "native" if any(DIST.glob("headsaw_native-*.whl")) else "reference"


def pyspark() -> str:
    (found,) = PYTHON.parents[1].glob("lib/python*/site-packages")
    return str(found)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EMR's archive, unpacked somewhere and then moved."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(DIST / "environment.tar.gz") as archive:
        archive.extractall(folder / "first", filter="tar")
    return (folder / "first").rename(folder / "environment")


def test_the_archive_is_a_python_of_its_own_wherever_it_lies(environment: Path) -> None:
    told = bare(environment / "bin" / "python", "-c", TELLS)
    assert told.returncode == 0, told.stderr
    package, prefix, parser = told.stdout.splitlines()
    assert Path(package).is_relative_to(environment)
    assert Path(prefix) == environment
    assert parser == built_parser()


def test_the_archive_runs_the_job_script(environment: Path) -> None:
    told = bare(environment / "bin" / "python", DIST / "job.py", "--help")
    assert (told.returncode, "--manifest" in told.stdout) == (0, True), told.stderr


def test_the_zip_of_wheels_installs_without_an_index_and_runs_the_job_script(tmp_path: Path) -> None:
    with zipfile.ZipFile(DIST / "headsaw.gluewheels.zip") as archive:
        archive.extractall(tmp_path)
    venv, wheels = tmp_path / "venv", tmp_path / "wheels"
    base = getattr(sys, "_base_executable", sys.executable)
    assert bare(base, "-m", "venv", "--without-pip", venv).returncode == 0
    offline = ("install", "--quiet", "--no-index", "--find-links", wheels, "-r", wheels / "requirements.txt")
    installed = bare(base, "-m", "pip", "--python", venv / "bin" / "python", *offline)
    assert installed.returncode == 0, installed.stderr
    told = bare(venv / "bin" / "python", "-c", TELLS)
    package, _, parser = told.stdout.splitlines() or [told.stderr, "", ""]
    assert Path(package).is_relative_to(venv)
    assert parser == built_parser()
    told = bare(venv / "bin" / "python", DIST / "job.py", "--help")
    assert (told.returncode, "--manifest" in told.stdout) == (0, True), told.stderr


@pytest.mark.emulator
def test_the_archive_converts_a_batch(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = environment / "bin" / "python"
    monkeypatch.setenv("PYTHONPATH", pyspark())
    options = ("--files", "20", "--workers", "1", "--spark-over", "1MB", "--spark-python", str(python), "--json")
    result = demo(tmp_path, *options)
    told = last_line(result)
    assert result.returncode == 0, result.stderr
    assert told["engines"]["local"] > 0
    assert told["audit"] == {"missing": 0, "duplicated": 0, "miscounted": 0}
    commands = [path.read_text() for path in (tmp_path / "out" / "spark").glob("*/command")]
    assert all(command.startswith(f"{python} -m headsaw.spark.job ") for command in commands)
