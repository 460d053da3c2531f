"""Rules between settings: what each of them can't know about itself.

They run over whatever is sound on its own, so that they are reported together with what isn't.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from headsaw.config.engines import RUN_MAX_SECONDS, TIMEOUT_SECONDS
from headsaw.config.suggest import closest
from headsaw.core.inference import hint_path
from headsaw.core.settings import (
    BatchLimits,
    Duration,
    Engine,
    Partition,
    S3Prefix,
    format_duration,
)
from headsaw.core.table_schema import RESERVED
from headsaw.core.table_types import parse_type
from headsaw.errors import Problem

T = TypeVar("T")

_PREFIX = TypeAdapter(S3Prefix)
_PARTITION = TypeAdapter(Partition)
_DURATION = TypeAdapter(Duration)
_FLAG = TypeAdapter(bool)
_TEXT = TypeAdapter(str)
_TEXTS = TypeAdapter(tuple[str, ...])
_ENGINE: TypeAdapter[Engine] = TypeAdapter(Engine)
_HINTS = TypeAdapter(dict[str, str])

_SECTIONS: Mapping[str, str] = {"glue": "job_name", "emr-serverless": "application_id", "emr": "cluster_id"}
"""The engines that need a section of their own below `spark`, called as they are but for the dash, and its main key."""


@dataclass(frozen=True, slots=True)
class _Dataset:
    """What is sound of one dataset's settings; None, or nothing, where it isn't."""

    path: str
    name: str | None
    source: S3Prefix | None
    destination: S3Prefix | None
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    partitions: Mapping[str, Partition]
    hints: Mapping[str, str]
    columns: Mapping[str, str]
    max_age: float | None
    engine: Engine | None


def cross_checks(written: Mapping[str, object]) -> list[Problem]:
    """Every problem between settings, in no need of a configuration that is sound otherwise."""
    datasets = [_dataset(f"datasets[{i}]", entry) for i, entry in enumerate(_items(written.get("datasets")))]
    problems = [*_queues(written), *_log(written), *_names(datasets), *_default_dataset(written, datasets)]
    problems += _prefixes(written, datasets)
    for dataset in datasets:
        problems += [*_globs(dataset), *_hints(dataset), *_directories(dataset), *_engine(written, dataset)]
    return [*problems, *_ages(written, datasets), *_run_limits(written)]


def _sound(kind: TypeAdapter[T], value: object) -> T | None:
    """The value, if it is one of that kind."""
    try:
        return kind.validate_python(value)
    except ValidationError:
        return None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _keys(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _dataset(path: str, entry: object) -> _Dataset:
    written = _keys(entry)
    partitions = {
        f"{path}.partition_by[{i}]": partition
        for i, item in enumerate(_items(written.get("partition_by")))
        if (partition := _sound(_PARTITION, item)) is not None
    }
    hints = _sound(_HINTS, _keys(written.get("schema")).get("hints")) or {}
    parquet = _keys(written.get("parquet"))
    sources = {
        "a hinted column": tuple(hints),
        "a column of sort_by": _sound(_TEXTS, parquet.get("sort_by")) or (),
        "a column of bloom_filters": _sound(_TEXTS, parquet.get("bloom_filters")) or (),
        "a field that is partitioned by": tuple(level.field for level in partitions.values() if level.field),
    }
    return _Dataset(
        path=path,
        name=_sound(_TEXT, written.get("name")),
        source=_sound(_PREFIX, written.get("source")),
        destination=_sound(_PREFIX, written.get("destination")),
        include=_sound(_TEXTS, written.get("include")) or (),
        exclude=_sound(_TEXTS, written.get("exclude")) or (),
        partitions=partitions,
        hints=hints,
        columns={_column(name): what for what, names in sources.items() for name in names},
        max_age=_sound(_DURATION, _keys(written.get("batch")).get("max_age", BatchLimits().max_age)),
        engine=_sound(_ENGINE, _keys(written.get("spark")).get("engine")),
    )


def _column(name: str) -> str:
    """The table's column that a path leads into, as names are compared: by lower case."""
    return next(iter(hint_path(name)), "").lower()


def _queues(written: Mapping[str, object]) -> Iterator[Problem]:
    """The DLQ is no source queue, and no queue is named twice."""
    value = written.get("queue_url")
    urls = [url for url in (value if isinstance(value, list) else [value]) if isinstance(url, str)]
    for i, url in enumerate(urls):
        if url in urls[:i]:
            yield Problem(f"queue_url[{i}]", "this queue stands twice in the list", "name it once")
    if written.get("dlq_url") in urls:
        yield Problem("dlq_url", "it is one of queue_url", "create a queue of its own for what can't be processed")


def _log(written: Mapping[str, object]) -> Iterator[Problem]:
    """DEBUG may show object keys, so it takes a decision."""
    log = _keys(written.get("log"))
    if str(log.get("level")).upper() == "DEBUG" and _sound(_FLAG, log.get("allow_debug", False)) is False:
        message = "DEBUG may write object keys to the log"
        yield Problem("log.level", message, "add allow_debug: true to log if that is acceptable, or use INFO")


def _names(datasets: list[_Dataset]) -> Iterator[Problem]:
    """A name speaks of one dataset."""
    first: dict[str, str] = {}
    for dataset in datasets:
        if dataset.name is None:
            continue
        if dataset.name in first:
            message = f"{first[dataset.name]} is called {dataset.name!r} too"
            yield Problem(f"{dataset.path}.name", message, "give each dataset a name of its own")
        first.setdefault(dataset.name, dataset.path)


def _default_dataset(written: Mapping[str, object], datasets: list[_Dataset]) -> Iterator[Problem]:
    """Record messages without a dataset go to one that exists; said only once every dataset has a name."""
    name = written.get("default_dataset")
    names = [dataset.name for dataset in datasets if dataset.name is not None]
    if isinstance(name, str) and name not in names and names and len(names) == len(datasets):
        remedy = closest(name, names) or f"use one of: {', '.join(names)}"
        yield Problem("default_dataset", f"no dataset is called {name!r}", remedy)


def _prefixes(written: Mapping[str, object], datasets: list[_Dataset]) -> Iterator[Problem]:
    """Each prefix ends at a directory, and none lies within another."""
    named = {key: _sound(_PREFIX, written.get(key)) for key in ("control", "quarantine")}
    for dataset in datasets:
        named |= {f"{dataset.path}.source": dataset.source, f"{dataset.path}.destination": dataset.destination}
    places = {path: prefix for path, prefix in named.items() if prefix is not None}
    for path, prefix in places.items():
        if prefix.prefix and not prefix.prefix.endswith("/"):
            message = f"{prefix} doesn't end with '/', so it also means keys such as {prefix}2/a"
            yield Problem(path, message, f"write {prefix}/")
    for (path, prefix), (other_path, other) in combinations(places.items(), 2):
        if prefix.contains(other) or other.contains(prefix):
            relation = "is the same as" if prefix == other else "lies within" if prefix.contains(other) else "contains"
            message = f"{other} {relation} {path} ({prefix})"
            yield Problem(other_path, message, "narrow one of the two, or move it elsewhere: prefixes may not overlap")


def _globs(dataset: _Dataset) -> Iterator[Problem]:
    """A glob can match something, and the globs together leave something over."""
    for key, globs in (("include", dataset.include), ("exclude", dataset.exclude)):
        for i, glob in enumerate(globs):
            if glob.startswith(("s3://", "/")):
                remedy = "write what follows the source prefix, such as *.ndjson.gz"
                yield Problem(f"{dataset.path}.{key}[{i}]", f"{glob!r} can't match any key under the source", remedy)
            elif glob.startswith("!"):
                yield Problem(f"{dataset.path}.{key}[{i}]", f"{glob!r} negates nothing here", "put it under exclude")
    if "*" in dataset.exclude or (dataset.include and set(dataset.include) <= set(dataset.exclude)):
        yield Problem(f"{dataset.path}.exclude", "it leaves out every file of the source", "narrow it")


def _hints(dataset: _Dataset) -> Iterator[Problem]:
    """A hint names a column that the data can have, and a type that there is."""
    for name, text in dataset.hints.items():
        path = f"{dataset.path}.schema.hints.{name}"
        if _column(name) in RESERVED:
            yield Problem(path, "the service writes this column itself", "drop the hint")
        try:
            parse_type(text)
        except ValueError as error:
            yield Problem(path, str(error), "write it as int64, timestamp, decimal(12,2) or json")
        rest = name.replace("[]", "")
        if not name.startswith("/") and ("[" in rest or "]" in rest):
            remedy = "write a list's elements as items[], or a key with brackets as a JSON Pointer: /items[0"
            yield Problem(path, f"{name!r} is no path: its brackets aren't []", remedy)


def _directories(dataset: _Dataset) -> Iterator[Problem]:
    """Partition directories are told apart from each other and from every known column, whatever the case."""
    seen: set[str] = set()
    for path, partition in dataset.partitions.items():
        name = partition.directory
        if name.startswith("_"):
            yield Problem(path, f"readers skip a directory called {name!r}", f"add name: {name.lstrip('_')}")
        if name.lower() in seen:
            yield Problem(path, f"another level is called {name!r} too", "give one of them another name")
        if name.lower() in dataset.columns:
            message = f"the directory {name!r} has the name of {dataset.columns[name.lower()]}"
            yield Problem(path, message, "give the directory a name of its own, such as name: part")
        seen.add(name.lower())


def _engine(written: Mapping[str, object], dataset: _Dataset) -> Iterator[Problem]:
    """An engine that is asked for is configured; `none` and `local` need nothing."""
    if dataset.engine is None or dataset.engine not in _SECTIONS:
        return
    section = _section(dataset.engine)
    if _keys(written.get("spark")).get(section) is None:
        message = f"{dataset.engine!r} is asked for, but there is no spark.{section}"
        remedy = (
            f"add spark.{section} with its {_SECTIONS[dataset.engine]} beside datasets (docs/spark.md), or use none"
        )
        yield Problem(f"{dataset.path}.spark.engine", message, remedy)


def _section(engine: str) -> str:
    """The key below `spark` that configures the engine."""
    return engine.replace("-", "_")


def _run_limits(written: Mapping[str, object]) -> Iterator[Problem]:
    """An engine ends a run before headsaw gives it up, so that no run goes on that nobody waits for."""
    spark = _keys(written.get("spark"))
    run_max = _sound(_DURATION, spark.get("run_max", RUN_MAX_SECONDS))
    for section in ("glue", "emr_serverless"):  # a step of EMR's has no time limit of its own
        timeout = _sound(_DURATION, _keys(spark.get(section)).get("timeout", TIMEOUT_SECONDS))
        if section in spark and run_max is not None and timeout is not None and timeout >= run_max:
            message = f"{format_duration(timeout)} isn't below spark.run_max ({format_duration(run_max)})"
            yield Problem(f"spark.{section}.timeout", message, "lower it, or raise spark.run_max")


def _ages(written: Mapping[str, object], datasets: list[_Dataset]) -> Iterator[Problem]:
    """A batch is claimed before its first message would come back."""
    visibility = _sound(_DURATION, written.get("visibility"))
    for dataset in datasets:
        if visibility is not None and dataset.max_age is not None and dataset.max_age >= visibility:
            message = f"{format_duration(dataset.max_age)} isn't below visibility ({format_duration(visibility)})"
            yield Problem(f"{dataset.path}.batch.max_age", message, "lower it, or raise visibility")
