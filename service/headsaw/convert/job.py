"""What one conversion is asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass

from headsaw.convert.parser import Parser
from headsaw.core.conversion import Outputs, SchemaBook, SourceStream
from headsaw.core.settings import DatasetSettings


@dataclass(frozen=True, slots=True)
class Job:
    """The arguments of `convert`, and the parser in use."""

    sources: Sequence[SourceStream]
    settings: DatasetSettings
    batch: str
    ingested_at: float
    book: SchemaBook
    outputs: Outputs
    memory_bytes: int
    parser: Parser
    threads: int
