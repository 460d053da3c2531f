"""Whether a tool's Parquet says what the NDJSON said. A wrong answer has no speed.

Right means: as many rows as lines; in 2,000 lines drawn by a seed, every value as in tests/conformance (none missing,
none added, numbers compared as decimals, a text that was read as the same point in time counts); and over all rows,
every top-level column holds as many values as there are, integers with the same sum, texts with as many characters.
Rows may come in another order. What Headsaw rescued counts as present. An empty list where the line had nothing, or a
key under another name, is another value.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tests.conformance.peer_readers import as_text
from tests.conformance.peers import same
from tests.conformance.reading import bare, collect, loads

from benchmarks.corpora import Column, Prepared
from headsaw.core.table_schema import RESCUED, RESERVED, TableSchema
from headsaw.core.table_types import Field, parse_type

SAMPLE_ROWS = 2000
_SAME_KEY_MAX = 64
_WORD = 1 << 64

Records = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's Parquet files, in order; Headsaw's have the schema that its report names."""

    paths: tuple[Path, ...]
    schema: list[dict[str, str]] | None = None


def fault(corpus: Prepared, answer: Answer) -> str:
    """What is wrong with the answer, in a few words; empty if it is right."""
    rows = sum(pq.read_metadata(path).num_rows for path in answer.paths)
    if rows != corpus.rows:
        return f"{abs(corpus.rows - rows):,} rows {'missing' if rows < corpus.rows else 'too many'}"
    return _sample_fault(corpus, answer) or _columns_fault(corpus, answer)


# ------------------------------------------------------------------------------------------------------ sampled lines


def _sample_fault(corpus: Prepared, answer: Answer) -> str:
    wanted = _sample(corpus)
    try:
        found = _headsaw_rows(answer, wanted) if answer.schema is not None else _rows_at(answer.paths, set(wanted))
        differing = _differing(found, wanted)
        if answer.schema is None and differing:
            found |= _rows_by_key(corpus.key, answer.paths, {place: wanted[place] for place in differing})
            differing = _differing(found, wanted)
    except (ValueError, pa.ArrowException) as error:
        return f"unreadable: {error}"
    if not differing:
        return ""
    reasons = Counter(difference(found.get(place, {}), wanted[place]) for place in differing)
    return f"{len(differing):,} of {len(wanted):,} rows differ, most often at {reasons.most_common(1)[0][0]}"


def _differing(found: Records, wanted: Records) -> list[int]:
    return [place for place, record in wanted.items() if not same(found.get(place), record)]


def _sample(corpus: Prepared) -> Records:
    """Lines by place, from 0, as records."""
    places = set(Random(corpus.rows).sample(range(corpus.rows), min(SAMPLE_ROWS, corpus.rows)))
    with corpus.plain.open("rb") as stream:
        return {place: bare(loads(line.decode())) for place, line in enumerate(stream) if place in places}


def _headsaw_rows(answer: Answer, wanted: Records) -> Records:
    fields = [Field(column["name"], parse_type(column["type"])) for column in answer.schema or ()]
    records: dict[tuple[str, int], Any] = {}
    query = "select * from read_parquet(?, hive_partitioning=false, union_by_name=true)"
    query += " where list_contains(?, _source_line)"
    with duckdb.connect() as connection:
        cursor = connection.execute(query, [list(map(str, answer.paths)), [place + 1 for place in wanted]])
        names = [column[0] for column in cursor.description or ()]
        for row in cursor.fetchall():
            collect(dict(zip(names, row, strict=True)), TableSchema(columns=tuple(fields)), records)
    return {line - 1: record for (_, line), record in records.items()}


def _rows_at(paths: tuple[Path, ...], places: set[int]) -> Records:
    """The rows at these places, as records."""
    found: Records = {}
    first = 0
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches():
            here = sorted(place for place in places if first <= place < first + batch.num_rows)
            found.update(zip(here, _records(batch, [place - first for place in here]), strict=True))
            first += batch.num_rows
    return found


def _records(batch: pa.RecordBatch, indices: list[int]) -> Iterator[Any]:
    taken = pa.Table.from_batches([batch]).take(indices)
    taken = taken.cast(
        pa.schema([pa.field(item.name, _in_microseconds(item.type)) for item in taken.schema]), safe=False
    )
    for row in taken.to_pylist():
        record = {item.name: _plain(row[item.name], item.type) for item in taken.schema}
        yield bare(loads(as_text(record)))


def _in_microseconds(type_: pa.DataType) -> pa.DataType:
    """The type with moments as Python can hold them."""
    if pa.types.is_timestamp(type_):
        return pa.timestamp("us", type_.tz)
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(item.name, _in_microseconds(item.type)) for item in type_])
    return pa.list_(_in_microseconds(type_.value_type)) if pa.types.is_list(type_) else type_


def _plain(value: Any, type_: pa.DataType) -> Any:
    """The value with maps as objects, and JSON text as what it says."""
    if value is None:
        return None
    if pa.types.is_struct(type_):
        return {item.name: _plain(value[item.name], item.type) for item in type_}
    if pa.types.is_map(type_):
        return {key: _plain(member, type_.item_type) for key, member in value}
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return [_plain(item, type_.value_type) for item in value]
    is_json = isinstance(type_, pa.BaseExtensionType) and type_.extension_name == "arrow.json"
    return loads(value) if is_json else value


def _rows_by_key(key: str, paths: tuple[Path, ...], wanted: Records) -> Records:
    """For each wanted record the row that has its key, wherever it stands: an equal one, if there are several."""
    if any(key not in pq.read_schema(path).names for path in paths):
        return {}
    keys = {record.get(key) for record in wanted.values()} - {None}
    places: dict[Any, list[int]] = {}
    column = pa.chunked_array([chunk for path in paths for chunk in pq.read_table(path, columns=[key])[key].chunks])
    for place, value in enumerate(column.to_pylist()):
        if value in keys and len(places.setdefault(value, [])) < _SAME_KEY_MAX:
            places[value].append(place)
    rows = _rows_at(paths, {place for same_key in places.values() for place in same_key})
    found = {}
    for place, record in wanted.items():
        candidates = [rows[other] for other in places.get(record.get(key), ())]
        if candidates:
            found[place] = next((row for row in candidates if same(row, record)), candidates[0])
    return found


def difference(found: Any, wanted: Any, path: str = "") -> str:
    """Where two records first differ, and how."""
    for name in wanted | found:
        mine, theirs, here = found.get(name), wanted.get(name), f"{path}.{name}".lstrip(".")
        if same(mine, theirs):
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            return difference(mine, theirs, here)
        return here + (" (missing)" if name not in found else " (added)" if name not in wanted else "")
    return path


# ----------------------------------------------------------------------------------------------------- whole columns


def _columns_fault(corpus: Prepared, answer: Answer) -> str:
    files = [pq.ParquetFile(path) for path in answer.paths]
    rescued = _rescued(files) if answer.schema is not None else Counter()
    names = {name for file in files for name in file.schema_arrow.names}
    for name in sorted(names | corpus.columns.keys()):
        if answer.schema is not None and name in RESERVED:
            continue
        chunks = [file.read(columns=[name])[name] for file in files if name in file.schema_arrow.names]
        if problem := _column_fault(corpus.columns.get(name, Column()), chunks, rescued[name]):
            return f"column {name}: {problem}"
    return ""


def _rescued(files: list[pq.ParquetFile]) -> Counter[str]:
    """How many values of each top-level column stand in the rescued data."""
    counts: Counter[str] = Counter()
    for file in files:
        for text in file.read(columns=[RESCUED])[RESCUED].drop_null().to_pylist():
            tops = (pointer[1:] for pointer in loads(text) if "/" not in pointer[1:])
            counts.update(name.replace("~1", "/").replace("~0", "~") for name in tops)
    return counts


def _column_fault(wanted: Column, chunks: list[pa.ChunkedArray], rescued: int) -> str:
    present = sum(len(chunk) - chunk.null_count for chunk in chunks) + rescued
    if present != wanted.present:
        return f"{present:,} of {wanted.present:,} values"
    if rescued or not present:
        return ""
    if wanted.integers == present and all(pa.types.is_integer(chunk.type) for chunk in chunks):
        total = sum(pc.sum(chunk).as_py() or 0 for chunk in chunks)
        return "" if (total - wanted.integer_sum) % _WORD == 0 else "another sum"
    if wanted.texts == present and all(_is_text(chunk.type) for chunk in chunks):
        characters = sum(pc.sum(pc.utf8_length(chunk)).as_py() or 0 for chunk in chunks)
        return "" if characters == wanted.characters else "another number of characters"
    return ""


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))
