"""One Spark application on this machine for all tests of a run, whose Python processes have this interpreter."""

import itertools
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spark.delegated import RETENTION, Bench
from tests.spark.environment import PYTHON, need_spark

from headsaw.adapters.aws import Aws
from headsaw.adapters.dynamodb import table_definition
from headsaw.demo.emulator import Endpoint
from headsaw.spark.reach import AwsSite
from headsaw.spark.rounds import Cluster

ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()


@pytest.fixture(scope="session")
def spark_cluster(emulator: Endpoint) -> Iterator[Cluster]:
    """Two tasks at a time, each tried twice. Its processes speak to the emulator, and to nothing else."""
    need_spark()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, _packages()])
        for name in [name for name in os.environ if name.startswith(("AWS_", "SPARK_", "PYSPARK_"))]:
            patch.delenv(name)
        for name, value in {**emulator.env, **spark_environment()}.items():
            patch.setenv(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pyspark.sql import SparkSession

            from headsaw.spark.cluster import SparkCluster

            builder = SparkSession.builder.master("local[2,2]").config("spark.ui.enabled", "false")
            session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield SparkCluster(session.sparkContext)
        session.stop()


def _packages() -> str:
    (packages,) = (PYTHON.parents[1] / "lib").glob("python*/site-packages")
    return str(packages)


def spark_environment() -> dict[str, str]:
    """Variables of a process that starts Spark: it and Spark's Python processes have this interpreter and the tests."""
    return {
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{_packages()}",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_HOME": f"{_packages()}/pyspark",
    }


@pytest.fixture
def local_aws(emulator_environment: Endpoint) -> Iterator[Bench]:
    """Buckets and a ledger of the test's own in the emulator."""
    prefix = f"spark-{next(_numbers)}-"
    made = Bench(AwsSite(None, f"{prefix}ledger", RETENTION, ()), prefix)
    made.connection.call(_create(prefix))
    yield made
    made.connection.close()


async def _create(prefix: str) -> None:
    async with Aws() as aws:
        s3, dynamodb = await aws.client("s3"), await aws.client("dynamodb")
        for bucket in ("landing", "lake", "control"):
            await s3.create_bucket(Bucket=f"{prefix}{bucket}")
        await dynamodb.create_table(**table_definition(f"{prefix}ledger"))
