"""Spark reads what headsaw writes: every type with the same values, and two schema versions through the printed DDL."""

import json
import os
import pickle
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.conformance.test_readers import _plain, _written
from tests.spark.environment import PYTHON, need_spark
from tests.unit.convert.test_ddl import _check, table

from headsaw.convert.ddl import Engine, Table, ddl

__all__ = ["table"]

SCRIPT = Path(__file__).with_name("read.py")


@pytest.fixture(scope="module", autouse=True)
def _spark_is_here() -> None:
    need_spark()


def spark(*statements: str) -> list[dict[str, Any]]:
    """The rows of the last statement, with times in UTC."""
    environ = {**os.environ, "TZ": "UTC", "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": str(PYTHON)}
    done = subprocess.run(
        [str(PYTHON), str(SCRIPT)], input=json.dumps(statements).encode(), capture_output=True, env=environ, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    rows: list[dict[str, Any]] = pickle.loads(done.stdout.partition(b"\n--rows--\n")[2])
    return [{name: _zoned(value) for name, value in row.items()} for row in rows]


def _zoned(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


@pytest.mark.timeout(180)
def test_spark_reads_the_same_values_of_every_type(tmp_path: Path) -> None:
    path = _written(tmp_path)
    by_spark = _plain(spark(f"SELECT * FROM parquet.`{path}`"))
    by_pyarrow = _plain(pq.read_table(path).to_pylist())
    for one, other in zip(by_spark, by_pyarrow, strict=True):
        assert (one.pop("map") or None) == (dict(other.pop("map") or ()) or None)
        assert one == other


@pytest.mark.timeout(180)
def test_spark_reads_both_versions_through_its_statement(table: Table) -> None:
    _check(spark(ddl(table, Engine.SPARK), f"MSCK REPAIR TABLE {table.name}", f"SELECT * FROM {table.name}"))
