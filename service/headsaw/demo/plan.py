"""What a demo does, and the configuration that its workers run with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

LANDING = "demo-landing"
LAKE = "demo-lake"
CONTROL = "demo-control"
QUEUE = "demo-events"
DLQ = "demo-dead-letters"
TABLE = "demo-ledger"
GENERATED = ("clicks", "orders")
INPUT = "input"

BATCH_FILES = 200
BATCH_SECONDS = 1.0
VISIBILITY_SECONDS = 8.0
LEASE_SECONDS = 4.0
BENCH_VISIBILITY_SECONDS = 120.0
BENCH_LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The demo's options. Generated events, unless `input_folder` says which NDJSON files to feed."""

    files: int = 300
    workers: int = 2
    input_folder: Path | None = None
    chaos: bool = False
    serve: bool = False
    seed: int = 1
    file_bytes: int = 10_000
    endpoint_url: str | None = None
    output: Path = Path("headsaw-demo")
    timeout_seconds: float = 900.0
    spark_over: int | None = None
    """Stored bytes from which on a batch goes to Spark on this machine; some large files land too then."""
    spark_python: str | None = None
    """An interpreter that has pyspark and headsaw."""
    benchmark: bool = False
    """A configuration as in production: 980 files a batch (ten chunks), at most five seconds old, long leases."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the datasets that the workers know."""
        return GENERATED if self.input_folder is None else (INPUT,)

    @property
    def runs(self) -> Path:
        """Where Spark runs are kept."""
        return self.output.absolute() / "spark"


def configuration(plan: Plan, queue_url: str, dlq_url: str) -> dict[str, Any]:
    """What a user would write in config.yaml. Short lease and visibility, so that recovery is quick to watch.

    Under chaos a batch may lose its worker often, and that must not count as bad data.
    """
    document: dict[str, Any] = {
        "queue_url": queue_url,
        "dlq_url": dlq_url,
        "ledger_table": TABLE,
        "control": f"s3://{CONTROL}/headsaw/",
        "quarantine": f"s3://{CONTROL}/quarantine/",
        "datasets": [_dataset(name, plan) for name in plan.datasets],
        "visibility": f"{BENCH_VISIBILITY_SECONDS if plan.benchmark else VISIBILITY_SECONDS:g}s",
        "poll_wait": "1s",
        "pollers": 4 if plan.benchmark else 2,
        "conversions": 1,
        "attempts_max": 100 if plan.chaos else 3,
        "lease": {"length": f"{BENCH_LEASE_SECONDS if plan.benchmark else LEASE_SECONDS:g}s"},
        "drain": {"grace": "20s"},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    if plan.spark_over is not None:
        document["spark"] = {"poll": "1s", "local": {"python": plan.spark_python, "folder": str(plan.runs)}}
    return document


def _dataset(name: str, plan: Plan) -> dict[str, Any]:
    limits = {"max_files": BATCH_FILES, "max_age": f"{BATCH_SECONDS:g}s"}
    settings: dict[str, Any] = {
        "name": name,
        "source": f"s3://{LANDING}/{name}/",
        "destination": f"s3://{LAKE}/{name}/",
        "batch": {"max_files": 980, "max_age": "5s"} if plan.benchmark else limits,
    }
    if name in GENERATED:
        settings["partition_by"] = [{"field": "ts", "granularity": "day"}]
        settings["schema"] = {"hints": {"ts": "timestamp"}}
    if plan.spark_over is not None:
        settings["spark"] = {"engine": "local", "min_bytes": plan.spark_over}
    return settings
