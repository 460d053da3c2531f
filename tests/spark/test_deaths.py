"""Real Spark on this machine loses tasks and executors: no row is published twice, and none is lost."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.spark.conftest import ROOT, spark_environment
from tests.spark.delegated import TOKEN, Bench
from tests.spark.dying import DyingSite
from tests.spark.environment import need_spark

from headsaw.adapters.aws import Aws
from headsaw.core.delegation import SparkReport
from headsaw.core.naming import manifest_name
from headsaw.spark.reach import AwsSite
from headsaw.spark.rounds import Cluster

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]

LINES = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"x" * (n % 50)) for n in range(4000)) + b"broken\n"


def orphans(bench: Bench, report: SparkReport) -> list[str]:
    """Pending uploads that no report names."""

    async def pending() -> list[str]:
        async with Aws() as aws:
            s3 = await aws.client("s3")
            found = [await s3.list_multipart_uploads(Bucket=f"{bench.prefix}{name}") for name in ("lake", "control")]
            return [upload["UploadId"] for answer in found for upload in answer.get("Uploads", [])]

    named = {upload.upload_id for upload in report.uploads}
    return [upload for upload in bench.connection.call(pending()) if upload not in named]


def test_a_task_attempt_that_dies_after_an_upload_is_done_again(
    local_aws: Bench, spark_cluster: Cluster, tmp_path: Path
) -> None:
    sources = local_aws.land({"a": LINES, "b": LINES})
    inline = local_aws.inline("01", sources, local_aws.settings("inline"))
    assert isinstance(local_aws.site, AwsSite)
    local_aws.site = DyingSite(local_aws.site, str(tmp_path), ("process",))
    manifest = local_aws.delegate("02", sources, local_aws.settings("spark"))
    spark = local_aws.by_spark(manifest, spark_cluster, 40_000)
    assert (tmp_path / "process").exists()
    assert spark == inline
    report = local_aws.report(manifest)
    assert isinstance(report, SparkReport)
    assert len(orphans(local_aws, report)) == 1, "the dead attempt's, which the lifecycle rule takes"


@pytest.mark.thorough
def test_an_executor_that_is_killed_doubles_no_row(local_aws: Bench, tmp_path: Path) -> None:
    need_spark()
    sources = local_aws.land({"a": LINES, "b": LINES})
    inline = local_aws.inline("01", sources, local_aws.settings("inline"))
    manifest = local_aws.delegate("02", sources, local_aws.settings("spark"))
    manifest = replace(manifest, ledger_table=f"{local_aws.prefix}ledger")
    key = manifest.control.key(manifest_name(manifest.batch, manifest.attempt))
    local_aws.connection.call(local_aws.reach.store.put(manifest.control.bucket, key, manifest.to_json()))
    uri = f"s3://{manifest.control.bucket}/{key}"
    command = [sys.executable, "-m", "tests.spark.executors", uri, TOKEN, "40000", str(tmp_path), "executor,process"]
    environ = {**os.environ, **spark_environment()}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("reported\n"), done.stderr[-3000:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["executor", "process"]
    report = local_aws.report(manifest)
    assert isinstance(report, SparkReport)
    assert len(orphans(local_aws, report)) >= 2, "of the killed executor and of the dead process"
    assert local_aws.published(manifest) == inline
