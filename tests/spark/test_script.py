"""The script itself, as an engine starts it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.spark.conftest import ROOT, spark_environment
from tests.spark.delegated import Bench
from tests.spark.environment import need_spark

from headsaw.core.delegation import Manifest, SparkReport
from headsaw.core.naming import manifest_name

SCRIPT = ROOT / "service" / "headsaw" / "spark" / "job.py"

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]


def job(uri: str, *arguments: str, script: Path | None = None) -> "subprocess.CompletedProcess[str]":
    what = [str(script)] if script else ["-m", "headsaw.spark.job"]
    command = [sys.executable, *what, "--manifest", uri, *arguments]
    environ = {**os.environ, **spark_environment()}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def stored(bench: Bench, manifest: Manifest) -> str:
    """The manifest's URI."""
    manifest = replace(manifest, ledger_table=f"{bench.prefix}ledger")
    key = manifest.control.key(manifest_name(manifest.batch, manifest.attempt))
    bench.connection.call(bench.reach.store.put(manifest.control.bucket, key, manifest.to_json()))
    return f"s3://{manifest.control.bucket}/{key}"


def endings(done: "subprocess.CompletedProcess[str]") -> list[str]:
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [line["ending"] for line in told if "ending" in line]


@pytest.mark.thorough
def test_the_first_of_two_runs_reports_and_the_second_ends_well_without(local_aws: Bench) -> None:
    need_spark()
    sources = local_aws.land({"a": b'{"n":1}\n' * 100})
    manifest = local_aws.delegate("01", sources, local_aws.settings())
    uri = stored(local_aws, manifest)
    first = job(uri, "--JOB_RUN_ID", "jr_1", "--JOB_NAME", "headsaw", "--enable-metrics")
    assert (first.returncode, endings(first)) == (0, ["reported"]), first.stderr[-2000:]
    run = local_aws.batch(manifest).run
    assert run is not None
    assert run.driver is not None
    assert run.driver_run == "jr_1"
    report = local_aws.report(manifest, run.driver)
    assert isinstance(report, SparkReport)
    assert (report.files[0].rows, report.tasks) == (100, 1)
    second = job(uri, "--run-id=jr_2", script=SCRIPT)
    assert (second.returncode, endings(second)) == (0, ["not registered"]), second.stderr[-2000:]
    assert local_aws.batch(manifest).run == run


def test_a_manifest_that_is_missing_fails_the_run_with_a_reason(local_aws: Bench) -> None:
    need_spark()
    done = job(f"s3://{local_aws.prefix}control/nothing.json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"message": "job failed", "reason": "SourceUnreadable: missing"}
