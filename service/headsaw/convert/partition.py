"""Rows → partition directories, by the dataset's `partition_by` levels.

A missing or unusable value, a time outside its window, and a value beyond PARTITIONS_MAX go to the Hive default
partition.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from headsaw.convert.arrow_types import UTC_MICROSECONDS
from headsaw.convert.columns import TIMESTAMP_FORM
from headsaw.core.settings import Partition

DEFAULT = "__HIVE_DEFAULT_PARTITION__"
PARTITIONS_MAX = 1000
"""Directories that one conversion makes; rows of further ones go to the default partition of every level."""

_FORMS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}
_ESCAPED = re.compile(r"[\x00-\x1f\"#%'*/:=?\\\x7f{\[\]^]")
"""What Hive and Spark percent-encode in a directory's name; they read anything else, non-ASCII text too, as it is."""

_VALUE_BYTES_MAX = 200


def directory_value(value: str | None) -> str:
    """A value as a directory name has it: percent-encoded as Hive does, the default for none, empty or very long."""
    if not value or len(value.encode()) > _VALUE_BYTES_MAX:
        return DEFAULT
    return _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", value)


class Partitioner:
    """Splits batches by directory. `key` values depend on the source, times on the batch's ingestion."""

    def __init__(self, levels: Sequence[Partition], ingested_at: float, keys: Sequence[str]) -> None:
        self._levels = levels
        self._ingested_at = ingested_at
        self._keys = keys
        self._directories: set[str] = set()
        self._regexes = {level.key_regex: re.compile(level.key_regex) for level in levels if level.key_regex}
        self.default = "/".join(f"{level.directory}={DEFAULT}" for level in levels)

    def split(self, batch: pa.RecordBatch, sources: pa.Array) -> Iterator[tuple[str, pa.Array | None]]:
        """The directories of the batch's rows, each with its rows' indices in order; None for all of them.

        `sources` has each row's source index.
        """
        if not self._levels:
            yield "", None
            return
        codes, names = self._codes(batch, sources)
        if len(names) == 1:
            yield self._admitted(names[0]), None
            return
        groups: dict[str, list[pa.Array]] = {}
        order = pc.array_sort_indices(codes)
        start = 0
        for item in sorted(pc.value_counts(codes).to_pylist(), key=lambda item: int(item["values"])):
            rows = order.slice(start, item["counts"])
            start += item["counts"]
            groups.setdefault(self._admitted(names[item["values"]]), []).append(rows)
        for directory, parts in groups.items():
            yield directory, parts[0] if len(parts) == 1 else _in_order(pa.concat_arrays(parts))

    def _admitted(self, directory: str) -> str:
        if directory not in self._directories:
            if len(self._directories) >= PARTITIONS_MAX:
                return self.default
            self._directories.add(directory)
        return directory

    def _codes(self, batch: pa.RecordBatch, sources: pa.Array) -> tuple[pa.Array, list[str]]:
        """For each row the number of its directory, and the directories."""
        codes = pa.repeat(pa.scalar(0, pa.int64()), batch.num_rows)
        names = [""]
        for level in self._levels:
            labels = self._labels(level, batch, sources).dictionary_encode()
            values = [f"{level.directory}={directory_value(value)}" for value in labels.dictionary.to_pylist()]
            width = len(values)
            codes = pc.add(pc.multiply(codes, width), labels.indices.cast(pa.int64()))
            found = codes.dictionary_encode()
            pairs = [divmod(code, width) for code in found.dictionary.to_pylist()]
            names = [f"{names[high]}/{values[low]}".lstrip("/") for high, low in pairs]
            codes = found.indices.cast(pa.int64())
        return codes, names

    def _labels(self, level: Partition, batch: pa.RecordBatch, sources: pa.Array) -> pa.Array:
        """The level's value of each row as text; empty where it has none."""
        if level.key_regex is not None:
            by_source = {index: self._key_value(level.key_regex, index) for index in pc.unique(sources).to_pylist()}
            return pa.array([by_source[index] for index in sources.to_pylist()], pa.string())
        if level.ingestion:
            form = _FORMS[level.granularity or "day"]
            return pa.repeat(datetime.fromtimestamp(self._ingested_at, UTC).strftime(form), batch.num_rows)
        column = field_of(batch, level.field or "")
        if column is None:
            return pa.repeat("", batch.num_rows)
        labels = self._times(level, column) if level.granularity else _plain(column)
        return pc.fill_null(labels, "")

    def _key_value(self, regex: str, source: int) -> str:
        match = self._regexes[regex].search(self._keys[source])
        return "" if match is None else match[1] or ""

    def _times(self, level: Partition, column: pa.Array) -> pa.Array:
        times = _as_times(column)
        if times is None:
            return pa.repeat("", len(column))
        if level.window is not None:
            now = self._ingested_at
            earliest, latest = (_instant(now - level.window.past), _instant(now + level.window.future))
            inside = pc.and_(pc.greater_equal(times, earliest), pc.less_equal(times, latest))
            times = pc.if_else(inside, times, pa.scalar(None, UTC_MICROSECONDS))
        unit = level.granularity or "day"
        floors = pc.floor_temporal(times, unit=unit).dictionary_encode()
        texts = [None if floor is None else floor.strftime(_FORMS[unit]) for floor in floors.dictionary.to_pylist()]
        return pa.array(texts, pa.string()).take(floors.indices)


def _in_order(indices: pa.Array) -> pa.Array:
    return indices.take(pc.array_sort_indices(indices))


def _instant(seconds: float) -> pa.Scalar:
    bounded = min(max(seconds, -62_135_596_800.0), 253_402_300_799.0)
    return pa.scalar(round(bounded * 1_000_000), pa.int64()).cast(UTC_MICROSECONDS)


def field_of(batch: pa.RecordBatch, path: str) -> pa.Array | None:
    """The column that a setting names: a top-level one of that very name, else a member by dots; or None."""
    names = batch.schema.names
    if path in names:
        return batch.column(path)
    first, *rest = path.split(".")
    if first not in names:
        return None
    column = batch.column(first)
    for step in rest:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(step) < 0:
            return None
        column = pc.struct_field(column, step)
    return column


def _as_times(column: pa.Array) -> pa.Array | None:
    """The column as instants: timestamps, dates, or RFC 3339 text; None for other types."""
    type_ = column.type
    if pa.types.is_timestamp(type_):
        return column
    if pa.types.is_date(type_):
        return column.cast(pa.timestamp("us")).cast(UTC_MICROSECONDS)
    if not pa.types.is_string(type_):
        return None
    matches = pc.match_substring_regex(column, TIMESTAMP_FORM)
    texts = pc.if_else(matches, column, pa.scalar(None, pa.string()))
    try:
        return texts.cast(UTC_MICROSECONDS)
    except pa.ArrowInvalid:
        return pa.array([_time(text) for text in texts.to_pylist()], UTC_MICROSECONDS)


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _plain(column: pa.Array) -> pa.Array:
    """The values as text; nested ones have none."""
    if pa.types.is_nested(column.type):
        return pa.repeat("", len(column))
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    return column.cast(pa.string())
