"""Which dataset a source file belongs to, and which engine a batch."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from headsaw.core.settings import DatasetSettings


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


def choose_engine(settings: DatasetSettings, stored_bytes: int) -> Inline | ToEngine:
    """Inline below the dataset's threshold or where no engine is configured; the reason is for people."""
    spark = settings.spark
    if spark.engine == "none":
        return Inline("no engine is configured")
    if stored_bytes < spark.min_bytes:
        return Inline(f"{stored_bytes} bytes, under the dataset's spark.min_bytes of {int(spark.min_bytes)}")
    return ToEngine(spark.engine, f"{stored_bytes} bytes, from spark.min_bytes of {int(spark.min_bytes)} on")
