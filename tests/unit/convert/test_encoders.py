"""Parquet files: which encodings columns get, and that both encoders and any number of threads write the same rows."""

import io
import json
import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.convert.harness import run

from headsaw.convert import native
from headsaw.convert.encoders import Encoder, NativeEncoder, PyarrowEncoder
from headsaw.convert.encodings import encodings
from headsaw.convert.parquet import NATIVE_COLUMNS_MAX
from headsaw.core.settings import ParquetSettings

ROWS = 20_000


def table() -> pa.Table:
    """Columns that repeat, that count, that are random, and nested ones."""
    noise = random.Random(7)
    words = [f"word {noise.randrange(50)}" for _ in range(ROWS)]
    return pa.table(
        {
            "nested": [{"id": at, "tags": [word, word[::-1]]} for at, word in enumerate(words)],
            "word": words,
            "number": list(range(ROWS)),
            "random": [noise.randbytes(100).hex() for _ in range(ROWS)],
            "flag": [at % 3 == 0 if at % 5 else None for at in range(ROWS)],
            "share": [noise.random() for _ in range(ROWS)],
        }
    )


def encoders(schema: pa.Schema, settings: ParquetSettings, rows: pa.Table) -> Iterator[Encoder]:
    yield PyarrowEncoder(schema, settings, encodings(rows))
    if native.available():
        yield NativeEncoder(schema, settings, encodings(rows), threads=1)
        yield NativeEncoder(schema, settings, encodings(rows), threads=3)


def written(encoder: Encoder, rows: pa.Table) -> bytes:
    """Half of the rows in one row group, half in another."""
    parts = []
    for half in (rows.slice(0, ROWS // 2), rows.slice(ROWS // 2)):
        encoder.write(half)
        assert encoder.held > 0
        encoder.end_row_group()
        assert encoder.held == 0
        parts += encoder.take()
    encoder.finish({"answer": "42"})
    return b"".join(parts + encoder.take())


def test_values_that_repeat_have_a_dictionary_and_other_integers_are_delta_encoded() -> None:
    chosen = encodings(table())
    assert chosen.dictionary == ("nested.tags.list.element", "word")
    assert chosen.delta == ("nested.id", "number")


def test_a_small_table_has_dictionaries_for_everything() -> None:
    chosen = encodings(table().slice(0, 100))
    assert chosen.dictionary == ("nested.id", "nested.tags.list.element", "word", "number", "random", "share")
    assert chosen.delta == ()


def test_every_encoder_writes_the_same_rows_with_the_encodings_and_the_metadata() -> None:
    rows = table()
    files = [written(encoder, rows) for encoder in encoders(rows.schema, ParquetSettings(), rows)]
    for data in files:
        file = pq.ParquetFile(io.BytesIO(data))
        assert file.read().equals(rows)
        assert file.metadata.num_row_groups == 2
        assert file.metadata.metadata[b"answer"] == b"42"
        columns = {column.path_in_schema: column for column in map(file.metadata.row_group(1).column, range(7))}
        assert "RLE_DICTIONARY" in columns["word"].encodings
        assert set(columns["number"].encodings) == {"RLE", "DELTA_BINARY_PACKED"}
        assert set(columns["random"].encodings) == {"RLE", "PLAIN"}
        assert columns["number"].statistics.min == ROWS // 2
        assert not columns["nested.tags.list.element"].is_stats_set
        assert columns["number"].compression == "ZSTD"
    assert files[-1] == files[len(files) // 2], "threads make no difference"


@pytest.mark.skipif(not native.available(), reason="the native parser isn't built: `make native` builds it")
def test_long_texts_are_cut_in_statistics() -> None:
    rows = table()
    *_, encoder = encoders(rows.schema, ParquetSettings(), rows)
    file = pq.ParquetFile(io.BytesIO(written(encoder, rows)))
    column = next(c for c in map(file.metadata.row_group(0).column, range(7)) if c.path_in_schema == "random")
    texts = rows["random"][: ROWS // 2].to_pylist()
    assert column.statistics.min == min(texts)[:64]
    assert column.statistics.max >= max(texts)
    assert len(column.statistics.max) == 64 < len(texts[0])


def test_sorted_rows_say_so_by_the_place_of_the_parquet_column() -> None:
    rows = table()
    for encoder in encoders(rows.schema, ParquetSettings(sort_by=("number",)), rows):
        sorting = pq.ParquetFile(io.BytesIO(written(encoder, rows))).metadata.row_group(0).sorting_columns
        assert [column.column_index for column in sorting] == [3]


def test_threads_change_nothing_of_what_is_written() -> None:
    noise = random.Random(3)
    lines = [json.dumps({"at": at, "day": f"2026-11-{at % 3 + 1:02}", "x": noise.random()}) for at in range(200_000)]
    lines[150_000] = '{"late": 1}'
    body = "\n".join(lines)
    settings = {"partition_by": [{"field": "day"}], "parquet": {"row_group_bytes": "1MiB", "file_bytes": "1MiB"}}
    one, three = (run(body, body, memory_bytes=16 * 1024**2, threads=threads, **settings) for threads in (1, 3))
    assert one.report == three.report
    assert [file.data for file in one.outputs.files] == [file.data for file in three.outputs.files]
    assert len(one.outputs.tables) > 3


def test_a_very_wide_table_is_written_by_pyarrow() -> None:
    names = [f"c{at}" for at in range(NATIVE_COLUMNS_MAX)]
    by = {width: run(json.dumps(dict.fromkeys(names[:width], 1))) for width in (10, NATIVE_COLUMNS_MAX)}
    creators = {
        width: pq.ParquetFile(io.BytesIO(done.outputs.tables[0].data)).metadata.created_by for width, done in by.items()
    }
    assert ("parquet-rs" in creators[10]) == native.available()
    assert "parquet-cpp" in creators[NATIVE_COLUMNS_MAX]
