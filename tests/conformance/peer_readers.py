"""One NDJSON reader as a process: `python -m tests.conformance.peer_readers NAME`.

On each line of standard input, `version` or a source path, a tab and an output path: it answers with one line of JSON,
and writes the records that it read to the output path. It needs nothing installed but the reader itself.
"""

import json
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

Records = Iterable[Any]


def _duckdb(path: str) -> Records:
    import duckdb

    options = "format='newline_delimited', ignore_errors=true, sample_size=-1, maximum_object_size=134217728"
    return duckdb.sql(f"select * from read_json('{path}', {options})").to_arrow_table().to_pylist()


def _polars(path: str) -> Records:
    import polars as pl

    return pl.read_ndjson(path, infer_schema_length=None, ignore_errors=True).to_dicts()


def _pyarrow(path: str) -> Records:
    import pyarrow.json

    options = pyarrow.json.ReadOptions(block_size=1 << 27)
    return pyarrow.json.read_json(path, read_options=options).to_pylist()


def _chdb(path: str) -> Records:
    import chdb

    limits = "input_format_allow_errors_num=1000000, output_format_json_quote_64bit_integers=0, max_threads=1"
    done = chdb.query(f"select * from file('{path}', 'JSONEachRow') settings {limits}", "JSONEachRow")
    if done.has_error():
        raise ValueError(done.error_message())
    return [json.loads(line, parse_float=Decimal) for line in done.bytes().decode().split("\n") if line]


def _datafusion(path: str) -> Records:
    import datafusion

    kind = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}.get(Path(path).suffix)
    frame = datafusion.SessionContext().read_json(
        path, schema_infer_max_records=10_000_000, file_extension=Path(path).suffix, file_compression_type=kind
    )
    return [row for batch in frame.collect() for row in batch.to_pylist()]


def _headsaw(path: str) -> Records:
    import tempfile

    from tests.conformance.reading import read_back
    from tests.unit.convert.harness import File, run

    done = run(File(Path(path)), line={"max_bytes": "1GiB"})
    if done.report.rejections:
        raise ValueError(done.report.rejections[0].reason)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{number}.parquet" for number in range(len(done.outputs.tables))]
        for file, kept in zip(paths, done.outputs.tables, strict=True):
            file.write_bytes(kept.data)
        records = read_back(paths, done.report.schema)
    return [records[place] for place in sorted(records)]


READERS: dict[str, Callable[[str], Records]] = {
    "headsaw": _headsaw,
    "duckdb": _duckdb,
    "polars": _polars,
    "pyarrow": _pyarrow,
    "chdb": _chdb,
    "datafusion": _datafusion,
}


def as_text(value: Any) -> str:
    """The value as JSON, numbers in their shortest exact form."""
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(str(key))}:{as_text(member)}" for key, member in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(as_text, value)) + "]"
        case bool() | None | str() | int():
            return json.dumps(value)
        case float():
            return repr(value) if value == value and abs(value) != float("inf") else json.dumps(str(value))
        case Decimal():
            return str(value)
        case datetime() | date():
            return json.dumps(value.isoformat())
        case _:
            return json.dumps(str(value))


def _answer(name: str, request: str) -> dict[str, Any]:
    if request == "version":
        from importlib.metadata import version

        return {"version": version(name)}
    source, output = request.split("\t")
    rows = 0
    with Path(output).open("w") as stream:
        for record in READERS[name](source):
            stream.write(as_text(record) + "\n")
            rows += 1
    return {"rows": rows}


def main() -> None:
    """Answer until the input ends."""
    sys.setrecursionlimit(100_000)
    for line in sys.stdin:
        try:
            answer = _answer(sys.argv[1], line.rstrip("\n"))
        except Exception as error:  # noqa: BLE001 - whatever a reader raises is its answer
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
