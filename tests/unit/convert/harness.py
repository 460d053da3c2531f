"""Runs conversions in memory, and reads back what they wrote."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from headsaw.convert import MEMORY_BYTES, convert
from headsaw.core.conversion import ConversionReport, OutputKind
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema

NOW = 1_795_417_200.0  # 2026-11-23T07:00:00Z


@dataclass
class Bytes:
    """A source in memory, handed out in pieces."""

    data: bytes
    name: str = "s3://landing/clicks/a.ndjson"
    piece: int = 65536

    @property
    def key(self) -> str:
        return self.name.removeprefix("s3://landing/")

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), self.piece):
            yield self.data[start : start + self.piece]


@dataclass
class File:
    """A source on disk."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def key(self) -> str:
        return self.path.name

    def chunks(self) -> Iterator[bytes]:
        with self.path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                yield piece


@dataclass
class Kept:
    """An output in memory."""

    name: str
    kind: OutputKind
    partition: str
    parts: list[bytes] = field(default_factory=list)
    closed: bool = False
    aborted: bool = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        assert not self.aborted
        self.parts.append(data)

    def close(self) -> None:
        assert not self.aborted
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)


@dataclass
class Memory:
    """Outputs in memory."""

    files: list[Kept] = field(default_factory=list)

    def open(self, kind: OutputKind, partition: str) -> Kept:
        self.files.append(Kept(f"{kind}-{len(self.files)}", kind, partition))
        return self.files[-1]

    @property
    def visible(self) -> list[Kept]:
        assert all(file.closed or file.aborted for file in self.files)
        return [file for file in self.files if not file.aborted]

    @property
    def tables(self) -> list[Kept]:
        return [file for file in self.visible if file.kind is OutputKind.TABLE]

    def quarantined(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        for file in self.visible:
            if file.kind is OutputKind.QUARANTINE:
                text = zstandard.ZstdDecompressor().decompressobj().decompress(file.data)
                lines += [json.loads(line) for line in text.decode().split("\n") if line]
        return lines

    def rows(self) -> list[dict[str, Any]]:
        return [row for file in self.tables for row in pq.read_table(io.BytesIO(file.data)).to_pylist()]

    def table(self) -> pa.Table:
        tables = [pq.read_table(io.BytesIO(file.data)) for file in self.tables]
        return pa.concat_tables(tables, promote_options="default")


@dataclass
class Book:
    """A schema book in memory. `rivals` are written by somebody else just before the next proposals."""

    versions: list[TableSchema] = field(default_factory=lambda: [TableSchema()])
    rivals: list[TableSchema] = field(default_factory=list)

    def head(self) -> TableSchema:
        return self.versions[-1]

    def propose(self, schema: TableSchema) -> TableSchema:
        if self.rivals:
            self.versions.append(self.rivals.pop(0))
        if schema.version == self.head().version + 1:
            schema.delta(self.head())
            self.versions.append(schema)
        return self.head()


def dataset(**settings: Any) -> DatasetSettings:
    base = {"name": "clicks", "source": "s3://landing/clicks/", "destination": "s3://lake/clicks/"}
    return DatasetSettings.model_validate({**base, **settings})


@dataclass
class Done:
    """A finished conversion."""

    report: ConversionReport
    outputs: Memory
    book: Book

    @property
    def types(self) -> dict[str, str]:
        return {column.name: str(column.type) for column in self.report.schema.columns}

    def rows(self, *names: str) -> list[dict[str, Any]]:
        """The rows as read back, by line, without nulls and lineage; or just these columns."""
        rows = sorted(self.outputs.rows(), key=lambda row: (row["_source_file"], row["_source_line"]))
        wanted = [{name: row.get(name) for name in names} if names else row for row in rows]
        hidden = ("_source_file", "_source_line", "_batch")
        return [
            {key: value for key, value in row.items() if (key in names or key not in hidden) and value is not None}
            for row in wanted
        ]

    def reasons(self) -> dict[int, str]:
        return {item["line"]: item["reason"] for item in self.outputs.quarantined()}


def run(
    *sources: bytes | str | Bytes | File,
    book: Book | None = None,
    outputs: Memory | None = None,
    memory_bytes: int = MEMORY_BYTES,
    threads: int = 1,
    **settings: Any,
) -> Done:
    """Converts in memory; plain bytes are files a, b, ..."""
    streams: Sequence[Any] = [
        source
        if not isinstance(source, bytes | str)
        else Bytes(source if isinstance(source, bytes) else source.encode(), f"s3://landing/clicks/{number:04}.ndjson")
        for number, source in enumerate(sources)
    ]
    outputs, book = outputs or Memory(), book or Book()
    report = convert(
        streams,
        settings=dataset(**settings),
        batch="b1",
        ingested_at=NOW,
        schema=book,
        outputs=outputs,
        memory_bytes=memory_bytes,
        threads=threads,
    )
    assert sorted(file.name for file in report.outputs) == sorted(file.name for file in outputs.visible)
    assert all(counts.conserved for counts in report.files.values())
    return Done(report, outputs, book)
