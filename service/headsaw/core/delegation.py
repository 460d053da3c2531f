"""What a worker and a Spark driver tell each other, and what the worker makes of a run: manifest, report, next step.

Both are JSON objects under the control prefix with `"format": 1`. The manifest is written before the intent to start is
recorded, so it is the same whoever starts the run; the report is written by the registered driver when every upload of
the attempt has all its parts, or when the driver has given up.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from headsaw.core.commit import PendingUpload, decode_source, decode_upload, encode_source
from headsaw.core.conversion import FileCounts, Notice, Rejection, RejectReason
from headsaw.core.model import FORMAT, BatchId, Source, SparkRun
from headsaw.core.settings import DatasetSettings, S3Prefix


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a Spark run needs to know: the attempt, its sources in the batch's order, and where everything is."""

    batch: BatchId
    attempt: int
    ingested_at: float
    settings: DatasetSettings
    sources: tuple[Source, ...]
    control: S3Prefix
    quarantine: S3Prefix
    ledger_table: str
    ledger_retention_seconds: float
    region: str | None

    def to_json(self) -> bytes:
        """The stored form; `from_json` reads it back unchanged."""
        document = {
            "format": FORMAT,
            "batch": self.batch,
            "attempt": self.attempt,
            "ingested_at": self.ingested_at,
            "settings": json.loads(self.settings.snapshot()),
            "sources": [encode_source(source) for source in self.sources],
            "control": str(self.control),
            "quarantine": str(self.quarantine),
            "ledger_table": self.ledger_table,
            "ledger_retention_seconds": self.ledger_retention_seconds,
            "region": self.region,
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, body: bytes) -> "Manifest":
        """The manifest that `to_json` wrote; raises ValueError for another format."""
        document = json.loads(body)
        if document.pop("format") != FORMAT:
            raise ValueError("a manifest of another format: the job's package and the workers' must be of one version")
        return cls(
            **{
                **document,
                "settings": DatasetSettings.model_validate(document["settings"]),
                "sources": tuple(decode_source(source) for source in document["sources"]),
                "control": S3Prefix.model_validate(document["control"]),
                "quarantine": S3Prefix.model_validate(document["quarantine"]),
            }
        )


class RunState(StrEnum):
    """Where a Spark run stands, over all engines."""

    RUNNING = "running"
    """Waiting for capacity, starting, at work, or stopping."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """By itself or by its time limit: as far as anybody knows, the data's doing."""

    STOPPED = "stopped"
    """By somebody, or by the engine for want of capacity: not the data's doing."""

    GONE = "gone"
    """The engine doesn't know it (any more)."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run's state, and the engine's own words for it."""

    state: RunState
    detail: str = ""


class Trouble(StrEnum):
    """Why a driver gave up: `OUTAGE` is nobody's failure, `DATA` counts as one of the batch's."""

    OUTAGE = "outage"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The driver ended without a result; what it had uploaded is aborted, as far as the object store answered."""

    trouble: Trouble
    reason: str


@dataclass(frozen=True, slots=True)
class SparkReport:
    """What the run made: everything is uploaded and nothing is visible. `files` counts by index within the batch.

    `seconds` is the driver's wall time, `cpu_seconds` the sum over all tasks, `tasks` how many splits were converted.
    """

    files: dict[int, FileCounts]
    rejections: tuple[Rejection, ...]
    uploads: tuple[PendingUpload, ...]
    schema_version: int
    rescued_values: int
    bytes_in: int
    oldest_upload_at: float
    seconds: float
    cpu_seconds: float
    tasks: int
    notices: tuple[Notice, ...] = ()


def report_json(report: SparkReport | GaveUp) -> bytes:
    """The stored form; `read_report` reads it back unchanged."""
    document: dict[str, object] = {"format": FORMAT, **asdict(report)}
    if isinstance(report, SparkReport):
        document["files"] = {str(index): asdict(counts) for index, counts in report.files.items()}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def read_report(body: bytes) -> SparkReport | GaveUp:
    """The report that `report_json` wrote; raises ValueError for another format."""
    document = json.loads(body)
    if document.pop("format") != FORMAT:
        raise ValueError("a report of another format: the job's package and the workers' must be of one version")
    if "trouble" in document:
        return GaveUp(Trouble(document["trouble"]), document["reason"])
    return SparkReport(
        **{
            **document,
            "files": {int(index): FileCounts(**counts) for index, counts in document["files"].items()},
            "rejections": tuple(
                Rejection(r["index"], RejectReason(r["reason"]), r["detail"]) for r in document["rejections"]
            ),
            "uploads": tuple(decode_upload(upload) for upload in document["uploads"]),
            "notices": tuple(Notice(**notice) for notice in document["notices"]),
        }
    )


@dataclass(frozen=True, slots=True)
class StartRun:
    """No run is known for the intent: start one, or find the one whose answer was lost."""


@dataclass(frozen=True, slots=True)
class KeepWaiting:
    """Spark is at work, or may be."""


@dataclass(frozen=True, slots=True)
class TakeReport:
    """The registered driver has finished: this is the attempt's result."""

    report: SparkReport


@dataclass(frozen=True, slots=True)
class UndoRun:
    """Nothing will come of the run: the attempt rolls back, and counts as a failure where the data may be to blame."""

    reason: str
    counts: bool


def next_step(
    run: SparkRun, status: RunStatus | None, report: SparkReport | GaveUp | None, now: float, run_seconds_max: float
) -> StartRun | KeepWaiting | TakeReport | UndoRun:
    """What a poll leads to. `status` is that of the registered driver's run, else of the run that was started; it was
    asked for before the report was read, so a run that is over has written its report or never will.

    None as status: no run is known, or its engine can't be asked.
    """
    match report:
        case SparkReport():
            return TakeReport(report)
        case GaveUp(trouble, reason):
            return UndoRun(reason, counts=trouble is Trouble.DATA)
        case None:
            pass
    if now - run.since > run_seconds_max:  # without a driver, it only waited for an engine
        told = f"no result {run_seconds_max:g} s after the intent to start it"
        return UndoRun(told, counts=run.driver is not None)
    if status is None:
        return StartRun() if run.known_id is None and run.driver is None else KeepWaiting()
    told = f"{run.engine}: {status.detail or status.state.value}"
    match status.state:
        case RunState.RUNNING:
            return KeepWaiting()
        case RunState.FAILED:  # before a driver has registered, nobody has looked at the data
            return UndoRun(told, counts=run.driver is not None)
        case RunState.STOPPED | RunState.GONE:
            return UndoRun(told, counts=False)
        case RunState.SUCCEEDED:
            return _after_success(run)


def _after_success(run: SparkRun) -> KeepWaiting | UndoRun:
    """A run that ended well and left no report: whose driver was it?"""
    if run.driver is None:
        return UndoRun(f"{run.engine}: the run ended without registering", counts=False)
    if run.driver_run is None:
        return KeepWaiting()  # it may be the loser of two, and the engine can't tell
    return UndoRun(f"{run.engine}: the run ended without a report", counts=True)
