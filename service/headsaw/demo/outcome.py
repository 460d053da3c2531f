"""What came of a demo, read from the ledger, the commit records and the lake; never from the workers' own counters."""

import asyncio
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from headsaw.core.commit import CommitRecord
from headsaw.core.conversion import FileCounts, OutputKind
from headsaw.core.model import Batch, BatchState
from headsaw.core.table_schema import TableSchema
from headsaw.demo.feed import Truth
from headsaw.demo.plan import CONTROL, LAKE
from headsaw.ports import Ledger, ObjectStore

SAMPLE_ROWS = 5


@dataclass(slots=True)
class Outcome:
    """Totals over all finished batches."""

    batches: int = 0
    failed: int = 0
    files: int = 0
    counts: FileCounts = field(default_factory=FileCounts)
    rejected: list[dict[str, str]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    quarantine: list[str] = field(default_factory=list)
    rescued_values: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    engines: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, batch: Batch, record: CommitRecord, truth: Truth) -> None:
        """One published batch."""
        self.batches += 1
        self.files += len(record.sources)
        self.counts += record.counts
        self.rejected += [{"file": record.sources[r.index].name, "reason": r.reason.value} for r in record.rejected]
        for upload in record.uploads:
            place = self.outputs if upload.kind is OutputKind.TABLE else self.quarantine
            place.append(f"s3://{upload.bucket}/{upload.key}")
        self.rescued_values += record.rescued_values
        self.bytes_in += record.bytes_in
        self.bytes_out += sum(upload.size for upload in record.uploads)
        self.engines[record.engine] += 1
        if batch.finished_at is not None:
            landed = [truth.landed_at[s.name] for s in record.sources if s.name in truth.landed_at]
            self.latencies += [max(0.0, batch.finished_at - at) for at in landed]

    @property
    def latency_seconds(self) -> dict[str, float]:
        """From the announcement of a file to its batch's end."""
        if len(self.latencies) < 2:
            return {"p50": 0.0, "p99": 0.0}
        cuts = statistics.quantiles(self.latencies, n=100)
        return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)}


async def collect(ledger: Ledger, store: ObjectStore, truth: Truth) -> Outcome:
    """The outcome of every terminal batch."""
    outcome = Outcome()
    async for batch in ledger.batches():
        if batch.state is BatchState.DONE and batch.commit is not None:
            body = await store.read_all(CONTROL, batch.commit.key)
            outcome.add(batch, CommitRecord.from_json(body), truth)
        elif batch.state is BatchState.FAILED:
            outcome.failed += 1
            outcome.files += 1
    return outcome


async def download(store: ObjectStore, target: Path) -> list[Path]:
    """Every object of the lake is a file under `target`, so that people can look at it after the demo."""
    paths: list[Path] = []
    async for head in _all(store):
        path = target / head.key
        body = await store.read_all(LAKE, head.key)
        await asyncio.to_thread(_write, path, body)
        paths.append(path)
    return paths


async def _all(store: ObjectStore) -> AsyncIterator[Any]:
    async for head in store.list(LAKE, ""):
        yield head


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


@dataclass(frozen=True, slots=True)
class IdCheck:
    """Every generated event, looked up in the lake by its unique id with another engine than the writer."""

    engine: str
    expected: int
    missing: int
    duplicated: int
    unexpected: int


def check_ids(lake: Path, truth: Truth) -> IdCheck:
    """Reads every `event_id` of every dataset back and compares with the truth."""
    engine = "duckdb" if find_spec("duckdb") else "polars"
    read = _ids_by_duckdb if engine == "duckdb" else _ids_by_polars
    expected = missing = duplicated = unexpected = 0
    for dataset, ids in truth.ids.items():
        found = Counter(read(lake / dataset))
        expected += len(ids)
        missing += len(ids - found.keys())
        unexpected += len(found.keys() - ids)
        duplicated += sum(count - 1 for count in found.values())
    return IdCheck(engine, expected, missing, duplicated, unexpected)


def _ids_by_duckdb(folder: Path) -> list[str]:
    import duckdb  # a test dependency: the demo does without it where it isn't installed

    pattern = str(folder / "**" / "*.parquet")
    query = "SELECT event_id FROM read_parquet(?, union_by_name = true, hive_partitioning = true)"
    with duckdb.connect() as connection:
        return [row[0] for row in connection.execute(query, [pattern]).fetchall()]


def _ids_by_polars(folder: Path) -> list[str]:
    files = sorted(folder.rglob("*.parquet"))
    return [value for file in files for value in pl.read_parquet(file, columns=["event_id"])["event_id"].to_list()]


def sample(paths: Sequence[Path]) -> pl.DataFrame | None:
    """The first rows of the first file, for people."""
    return pl.read_parquet(paths[0], n_rows=SAMPLE_ROWS) if paths else None


def schema_document(schemas: dict[str, TableSchema]) -> list[dict[str, str]]:
    """Every dataset's columns."""
    return [
        {"dataset": name, "name": column.name, "type": str(column.type)}
        for name, schema in schemas.items()
        for column in schema.columns
    ]
