"""NDJSON → Parquet, exactly: `convert` reads sources and writes table files and quarantine.

Plain synchronous code, free of AWS and asyncio; `core.conversion` has the protocols through which it reads and writes.
"""

from collections.abc import Sequence

from headsaw.convert.accounts import over_budget
from headsaw.convert.choice import ParserChoice, parser_choice
from headsaw.convert.conversion import run
from headsaw.convert.decode import HEAD_BYTES, is_plain
from headsaw.convert.expressions import check_expressions
from headsaw.convert.growth import Growth
from headsaw.convert.job import Job
from headsaw.convert.parser import Parser, ParseRules
from headsaw.convert.survey import Observer, RangeLines, range_begins
from headsaw.core.conversion import ConversionReport, Outputs, SchemaBook, SourceStream
from headsaw.core.settings import DatasetSettings

__all__ = [
    "HEAD_BYTES",
    "MEMORY_BYTES",
    "Growth",
    "Observer",
    "ParserChoice",
    "RangeLines",
    "check_expressions",
    "convert",
    "is_plain",
    "over_budget",
    "parser_choice",
    "range_begins",
]

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
    threads: int = 1,
) -> ConversionReport:
    """Every line of every source is a row, quarantined, blank or filtered, or its source is rejected as a whole.

    All outputs in the report are closed; any other output that was opened is aborted. `memory_bytes` bounds the data
    that is held at once (lines over it excepted). More `threads` parse and encode side by side, with the
    same outputs. What the protocols raise passes through, after the abort.
    """
    rules = ParseRules(settings.line.max_depth, infer_timestamps=settings.table_schema.timestamps == "infer")
    parser: Parser = parser_choice().parser(rules)
    return run(Job(sources, settings, batch, ingested_at, schema, outputs, memory_bytes, parser, threads))
