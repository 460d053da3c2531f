"""Which dataset a source file belongs to; which engine, if any, a batch; and when to gather more for one."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from headsaw.core.model import Batch
from headsaw.core.settings import DatasetSettings, format_duration, format_size


@dataclass(frozen=True, slots=True)
class Foreign:
    """No dataset of this configuration has the key under its source prefix; another version's may."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """The dataset's globs leave the key out: it is known, and none of our business."""

    dataset: str


class Routes:
    """Finds the dataset of a key. Prefixes never overlap (the configuration refuses that), so order doesn't matter."""

    def __init__(self, datasets: Iterable[DatasetSettings]) -> None:
        self._by_bucket: dict[str, list[DatasetSettings]] = {}
        for dataset in datasets:
            self._by_bucket.setdefault(dataset.source.bucket, []).append(dataset)

    def route(self, bucket: str, key: str) -> DatasetSettings | Excluded | Foreign:
        """The dataset that the key belongs to, or why none takes it."""
        for dataset in self._by_bucket.get(bucket, ()):
            if key.startswith(dataset.source.prefix):
                return dataset if wanted(dataset, key) else Excluded(dataset.name)
        return Foreign()


def wanted(dataset: DatasetSettings, key: str) -> bool:
    """The dataset's include and exclude globs let the key in; they match what follows the source prefix.

    S3 consoles make empty "folder" objects whose key ends with a slash: never wanted.
    """
    name = key[len(dataset.source.prefix) :]
    if key.endswith("/"):
        return False
    if dataset.include and not any(fnmatchcase(name, glob) for glob in dataset.include):
        return False
    return not any(fnmatchcase(name, glob) for glob in dataset.exclude)


@dataclass(frozen=True, slots=True)
class Inline:
    """A worker converts the batch itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class ToEngine:
    """A Spark engine converts the batch."""

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """Nobody converts it now: it is given back for that long."""

    seconds: float
    reason: str


LEFT_TO_OTHERS_SECONDS = 3600.0
"""So long a batch waits for a worker that knows its engine; then it is taken for one whose engine was given up."""

OTHERS_LOOK_SECONDS = 60.0

FALLBACK_FACTOR = 4
"""While its engine is left alone, a batch that would take up to so many times `spark.inline_max` is converted inline.

Memory doesn't bound it (G7), time does: what a worker hasn't finished when it is told to drain is done again.
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the worker knows of the world when it routes a batch.

    `expansion`: NDJSON bytes for each stored byte; `inline_seconds`: what this batch would take here; `backlog`:
    messages in the queues, 0 unless they are far more than workers can take inline; `engine_wait`: for how long the
    batch's engine is left alone, None if it may be asked; `engine_known`: this worker has it; `age_seconds`: since the
    batch was claimed.
    """

    expansion: float
    inline_seconds: float
    backlog: int = 0
    engine_wait: float | None = None
    engine_known: bool = True
    age_seconds: float = 0.0


def choose(batch: Batch, settings: DatasetSettings, observed: Observed) -> Inline | ToEngine | Later:
    """Inline, unless the dataset has an engine and the batch is large, slow, or gathered in bulk.

    How often the batch has failed plays no part: what fails on Spark is tried there again, and halved in the end.
    """
    spark = settings.spark
    if spark.engine == "none":
        return Inline("no engine is configured")
    cause = _cause(batch, settings, observed)
    if cause is None:
        return Inline(f"{_estimate(batch, observed)} < spark.min_bytes {_as_written(spark.min_bytes)}")
    if observed.engine_known and observed.engine_wait is None:
        return ToEngine(spark.engine, cause)
    return _without_engine(settings, observed)


def _without_engine(settings: DatasetSettings, observed: Observed) -> Inline | Later:
    """The batch's engine can't have it, or not now."""
    spark, known = settings.spark, observed.engine_known
    trouble = f"{spark.engine} takes no runs now" if known else f"this worker has no {spark.engine}"
    takes = f"{trouble}; inline takes about {about_seconds(observed.inline_seconds)}"
    if observed.inline_seconds <= FALLBACK_FACTOR * spark.inline_max:
        return Inline(takes)
    if not known and observed.age_seconds > LEFT_TO_OTHERS_SECONDS:
        return Inline(f"{takes}, and none has come by that has it")
    wait = OTHERS_LOOK_SECONDS if observed.engine_wait is None else observed.engine_wait
    return Later(wait, f"{takes} > {FALLBACK_FACTOR} x spark.inline_max")


def _cause(batch: Batch, settings: DatasetSettings, observed: Observed) -> str | None:
    """Why the batch is one for the engine, if it is."""
    spark, limits = settings.spark, settings.batch
    if batch.bytes * observed.expansion >= spark.min_bytes:
        return f"{_estimate(batch, observed)} >= spark.min_bytes {_as_written(spark.min_bytes)}"
    if observed.inline_seconds > spark.inline_max:
        took = about_seconds(observed.inline_seconds)
        return f"{batch.files} files, inline about {took} > spark.inline_max {format_duration(spark.inline_max)}"
    if observed.backlog and (batch.files > limits.max_files or batch.bytes > limits.max_bytes):
        return f"{batch.files} files gathered in bulk, {observed.backlog} messages are waiting"
    return None


def _estimate(batch: Batch, observed: Observed) -> str:
    estimated = batch.bytes * observed.expansion
    return f"est. {about_bytes(estimated)} ({about_bytes(batch.bytes)} stored x {observed.expansion:.1f})"


@dataclass(frozen=True, slots=True)
class BulkTarget:
    """How much a bulk batch gathers: sources, and stored bytes."""

    files: int
    bytes: int


def bulk_target(settings: DatasetSettings, observed: Observed) -> BulkTarget | None:
    """What to gather for one Spark batch of the dataset; None unless there is a backlog, and an engine to take it."""
    spark = settings.spark
    if spark.engine == "none" or not observed.engine_known or observed.engine_wait is not None or not observed.backlog:
        return None
    own = BulkTarget(settings.batch.max_files, int(settings.batch.max_bytes))
    stored = int(spark.bulk_bytes / max(observed.expansion, 1.0))
    bulk = BulkTarget(max(spark.bulk_files, own.files), max(stored, own.bytes))
    return bulk if bulk != own else None


def _as_written(size: int) -> str:
    """`2GiB`; in round numbers where no unit fits."""
    exact = format_size(size)
    return exact if len(exact) <= len("1023GiB") else about_bytes(size)


def about_bytes(size: float) -> str:
    """For people, to two or three digits: `3.1 GB`, `640 MB`."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}" if size < 100 * factor else f"{size / factor:.0f} {unit}"
    return f"{size:.0f} B"


def about_seconds(seconds: float) -> str:
    """For people: `45 s`, `22 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
