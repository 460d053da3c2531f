"""One conversion by one tool, measured: `python -m benchmarks.conversions TOOL DIRECTORY SOURCE...`.

Needs nothing installed but the tool. A file of two lines is converted first, so that neither imports nor what a tool
sets up once are measured. Prints one line of JSON: CPU-seconds (user and system, all threads and children), seconds,
the process's peak of resident memory in bytes, the tool's version; or the error.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

PARSERS = {"headsaw native": "native", "headsaw reference": "reference"}
_BLOCK_BYTES = 16 << 20
_ALL = 1 << 30
_Facts = dict[str, Any]


def _headsaw(sources: list[Path], directory: Path, whole: bool) -> _Facts:
    """As `headsaw convert SOURCE... DIRECTORY` does it."""
    from headsaw.app_convert import Request, run_conversion
    from headsaw.cli.convert import default_settings, document

    request = Request(tuple(map(str, sources)), str(directory), default_settings("bench"))
    done = document(asyncio.run(run_conversion(request, lambda *_: None)))
    if done["rejected_files"] or done["quarantined"]:
        raise ValueError(f"{done['quarantined']} lines quarantined, rejected: {done['rejected_files']}")
    return {"schema": done["schema"]}


def _datafusion(sources: list[Path], directory: Path, whole: bool) -> _Facts:
    import datafusion

    frame = datafusion.SessionContext().read_json(
        sources[0],
        schema_infer_max_records=_ALL if whole else 1000,
        file_extension=sources[0].suffix,
        file_compression_type="gzip" if sources[0].suffix == ".gz" else None,
    )
    frame.write_parquet(directory / "out.parquet", compression="zstd", compression_level=1)
    return {}


def _polars(sources: list[Path], directory: Path, whole: bool) -> _Facts:
    import polars as pl

    frame = pl.scan_ndjson(sources[0], infer_schema_length=None if whole else 100)
    frame.sink_parquet(directory / "out.parquet", compression="zstd", compression_level=1)
    return {}


def _duckdb(sources: list[Path], directory: Path, whole: bool) -> _Facts:
    import duckdb

    options = "format='newline_delimited'" + (", sample_size=-1" if whole else "")
    target = f"'{directory}/out.parquet' (format parquet, compression zstd, compression_level 1)"
    with duckdb.connect() as connection:
        connection.execute(f"copy (select * from read_json('{sources[0]}', {options})) to {target}")
    return {}


def _pyarrow(sources: list[Path], directory: Path, whole: bool) -> _Facts:
    """By its streaming reader, whose schema is the first block's; by the one that reads a whole file if `whole`."""
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet

    pa.set_cpu_count(1)
    options = pyarrow.json.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    path = directory / "out.parquet"
    read = pyarrow.json.read_json if whole else pyarrow.json.open_json
    read_from = read(sources[0], read_options=options)
    with pyarrow.parquet.ParquetWriter(path, read_from.schema, compression="zstd", compression_level=1) as writer:
        for batch in read_from.to_batches() if whole else read_from:
            writer.write_batch(batch)
    return {}


def _chdb(sources: list[Path], directory: Path, whole: bool) -> _Facts:
    import chdb

    settings = {
        "output_format_parquet_compression_method": "'zstd'",
        "output_format_compression_level": 1,
        **({"input_format_max_rows_to_read_for_schema_inference": _ALL} if whole else {}),
        **({"input_format_max_bytes_to_read_for_schema_inference": 1 << 40} if whole else {}),
    }
    text = ", ".join(f"{name}={value}" for name, value in settings.items())
    target = f"file('{directory}/out.parquet', 'Parquet') settings {text}"
    done = chdb.query(f"insert into function {target} select * from file('{sources[0]}', 'JSONEachRow')")
    if done.has_error():
        raise ValueError(done.error_message())
    return {}


TOOLS: dict[str, Callable[[list[Path], Path, bool], _Facts]] = {
    "headsaw native": _headsaw,
    "headsaw reference": _headsaw,
    "datafusion": _datafusion,
    "polars": _polars,
    "duckdb": _duckdb,
    "pyarrow": _pyarrow,
    "chdb": _chdb,
}


def cpu_seconds() -> float:
    """Of this process and of its children that ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_bytes() -> int:
    """The most memory that this program had resident; ru_maxrss where /proc isn't, which may count its parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) << 10 for line in status.read_text().split("\n") if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _warm_up(tool: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, directory = Path(name) / "two.ndjson", Path(name) / "out"
        source.write_text('{"id":1,"name":"a"}\n{"id":2,"name":"b"}\n')
        directory.mkdir()
        TOOLS[tool]([source], directory, False)


def measured(tool: str, sources: list[Path], directory: Path, whole: bool) -> _Facts:
    """The sources are in the directory as Parquet, and what that took."""
    _warm_up(tool)
    started, cpu = time.monotonic(), cpu_seconds()
    facts = TOOLS[tool](sources, directory, whole)
    taken = {"cpu_seconds": cpu_seconds() - cpu, "wall_seconds": time.monotonic() - started}
    return {**taken, "peak_bytes": peak_bytes(), "version": version(tool.split()[0]), **facts}


def main() -> None:
    """Convert once, and say what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--whole", action="store_true", help="infer the schema from every line")
    parser.add_argument("--cores", type=int, help="run on that many cores alone")
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    if arguments.tool in PARSERS:
        os.environ["HEADSAW_PARSER"] = PARSERS[arguments.tool]
    try:
        answer = measured(arguments.tool, arguments.sources, arguments.directory, arguments.whole)
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises is its answer; Polars' panics are no Exception
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
