"""One conversion on local Spark, measured: `python -m benchmarks.spark_runs TOOL ROOT SCHEMA`, started by `spark`.

Reads every file of ROOT/landing. A file of two lines is converted first, so that Spark's and Python's starts aren't
measured. CPU is that of the process and all its descendants, Spark's Java and Python processes; memory the sum of their
highest resident sets. Prints one line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from benchmarks.spark import MODES, SPARK
from benchmarks.spark_site import BATCH, FileSite
from headsaw.core.delegation import Manifest, SparkReport, read_report
from headsaw.core.model import Source, SourceFile
from headsaw.core.naming import report_name
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.core.table_schema import TableSchema
from headsaw.spark.cluster import SparkCluster
from headsaw.spark.driver import Driver, Ending
from headsaw.spark.reach import Connection
from headsaw.spark.rounds import Rounds, Told

CONTROL = S3Prefix(bucket="control", prefix="")
_TICKS = os.sysconf("SC_CLK_TCK")
_TYPES = {"string": "string", "int64": "bigint", "float64": "double", "bool": "boolean"}


def main(tool: str, root: str, schema: str) -> None:
    """Warm up, measure, print."""
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    settings = {
        "spark.driver.memory": "2g",
        "spark.ui.showConsoleProgress": "false",
        "spark.hadoop.parquet.compression.codec.zstd.level": "1",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    with builder.getOrCreate() as session:
        session.sparkContext.setLogLevel("ERROR")
        if tool == SPARK:
            convert = _by_spark(session, TableSchema.from_json(schema))
        else:
            convert = _by_headsaw(session, schema, MODES[tool])
        warm = Path(root) / "warm"
        convert(warm)
        started, cpu = time.monotonic(), cpu_seconds()
        convert(Path(root))
        took = {"seconds": time.monotonic() - started, "cpu_seconds": cpu_seconds() - cpu, "peak_bytes": peak_bytes()}
        sys.stdout.write(json.dumps({**took, "spark": session.version}) + "\n")


def _by_spark(session: Any, schema: TableSchema) -> Callable[[Path], None]:
    columns = ", ".join(f"`{column.name}` {_TYPES[str(column.type)]}" for column in schema.columns)

    def convert(root: Path) -> None:
        frame = session.read.schema(columns).json(str(root / "landing"))
        frame.write.mode("overwrite").parquet(str(root / "lake"), compression="zstd")

    return convert


def _by_headsaw(session: Any, schema: str, mode: str) -> Callable[[Path], None]:
    settings = DatasetSettings.model_validate(
        {"name": "bench", "source": "s3://landing/", "destination": "s3://lake/", "schema": {"mode": mode}}
    )

    def convert(root: Path) -> None:
        paths = sorted((root / "landing").iterdir())
        sources: tuple[Source, ...] = tuple(
            SourceFile("landing", path.name, "-", path.stat().st_size) for path in paths
        )
        site = FileSite(str(root), schema, len(sources), settings.snapshot().decode())
        quarantine = S3Prefix(bucket="quarantine", prefix="")
        manifest = Manifest(BATCH, 1, time.time(), settings, sources, CONTROL, quarantine, "", 86400.0, None)
        connection = Connection(site)
        rounds = Rounds(SparkCluster(session.sparkContext), _quiet, lambda: 0.5)
        ending = Driver(manifest, "bench", None, site, connection, rounds).run()
        report = read_report((root / "control" / report_name(BATCH, 1, "bench")).read_bytes())
        if ending is not Ending.REPORTED or not isinstance(report, SparkReport) or report.rejections:
            raise RuntimeError(f"{ending}: {report}")
        for upload in report.uploads:
            connection.call(connection.reach.store.complete_upload(upload))
        connection.close()

    return convert


def _quiet(_told: Told) -> None:
    """Nobody watches."""


def _family() -> list[int]:
    """This process and all its descendants."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    family = [os.getpid()]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def cpu_seconds() -> float:
    """User and system time of the family, with those of its members that have ended and were waited for."""
    total = 0
    for pid in _family():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
    return total / _TICKS


def peak_bytes() -> int:
    """The sum of the family's highest resident sets."""
    total = 0
    for pid in _family():
        status = Path(f"/proc/{pid}/status").read_text()
        if "VmHWM:" in status:  # one that has ended has no memory
            total += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
