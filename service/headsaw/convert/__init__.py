"""NDJSON → Parquet, exactly: `convert` reads sources and writes table files and quarantine.

Plain synchronous code, free of AWS and asyncio; `core.conversion` has the protocols through which it reads and writes.
"""

import os
from collections.abc import Sequence

from headsaw.convert import native
from headsaw.convert.conversion import run
from headsaw.convert.expressions import check_expressions
from headsaw.convert.job import Job
from headsaw.convert.native import NativeParser
from headsaw.convert.parser import Parser, ParseRules
from headsaw.convert.reference import ReferenceParser
from headsaw.core.conversion import ConversionReport, Outputs, SchemaBook, SourceStream
from headsaw.core.settings import DatasetSettings
from headsaw.errors import UsageError

__all__ = ["MEMORY_BYTES", "check_expressions", "convert", "parser_name"]

MEMORY_BYTES = 128 * 1024**2


def convert(
    sources: Sequence[SourceStream],
    *,
    settings: DatasetSettings,
    batch: str,
    ingested_at: float,
    schema: SchemaBook,
    outputs: Outputs,
    memory_bytes: int = MEMORY_BYTES,
) -> ConversionReport:
    """Every line of every source is a row, quarantined, blank or filtered, or its source is rejected as a whole.

    All outputs in the report are closed; any other output that was opened is aborted. `memory_bytes` bounds the data
    that is held at once (lines over it excepted). What the protocols raise passes through, after the abort.
    """
    rules = ParseRules(settings.line.max_depth, infer_timestamps=settings.table_schema.timestamps == "infer")
    parser: Parser = _parser()(rules)
    return run(Job(sources, settings, batch, ingested_at, schema, outputs, memory_bytes, parser))


def parser_name() -> str:
    """Which parser is in use."""
    return _parser().name


def _parser() -> type[NativeParser] | type[ReferenceParser]:
    """What HEADSAW_PARSER asks for, `native` or `reference` (the default).

    Raises UsageError for another name, and where the native parser is asked for and isn't installed.
    """
    wanted = os.environ.get("HEADSAW_PARSER", "")
    match wanted:
        case "" | "reference":
            return ReferenceParser
        case "native" if not native.available():
            raise UsageError("HEADSAW_PARSER=native, but headsaw_native isn't installed: `make native` builds it")
        case "native":
            return NativeParser
        case _:
            raise UsageError(f"HEADSAW_PARSER={wanted}: there are native and reference")
