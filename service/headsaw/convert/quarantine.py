"""Quarantined lines → one NDJSON.zst object per conversion: bytes, place and reason of each.

An entry is `{"file", "line", "offset", "reason", "detail"?, "text" | "base64" | "length"}`: line from 1, offset in
bytes of the decompressed file, `text` where the line is valid UTF-8, `length` instead of content for a line over the
limit.
"""

import base64
import json
from dataclasses import dataclass

import zstandard

from headsaw.core.conversion import LineReason, Output, OutputFile, OutputKind, Outputs

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One line: `line` from 1, its bytes without the newline; None where they weren't kept."""

    line: int
    offset: int
    reason: LineReason
    detail: str
    data: bytes | None
    length: int


def entry(name: str, item: Quarantined) -> str:
    """The line's JSON text."""
    body: dict[str, object] = {"file": name, "line": item.line, "offset": item.offset, "reason": item.reason}
    if item.detail:
        body["detail"] = item.detail
    if item.data is None:
        body["length"] = item.length
    else:
        try:
            body["text"] = item.data.decode()
        except UnicodeDecodeError:
            body["base64"] = base64.b64encode(item.data).decode()
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


class QuarantineWriter:
    """Writes the entries; the object is opened with the first one."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._output: Output | None = None
        self._compress = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._lines = 0
        self._bytes = 0

    def add(self, name: str, item: Quarantined) -> None:
        """The line is in the object."""
        if self._output is None:
            self._output = self._outputs.open(OutputKind.QUARANTINE, "")
        self._lines += 1
        self._put(self._compress.compress(entry(name, item).encode() + b"\n"))

    def close(self) -> OutputFile | None:
        """The object is complete; None if there was nothing to write."""
        if self._output is None:
            return None
        self._put(self._compress.flush())
        self._drain()
        self._output.close()
        return OutputFile(self._output.name, OutputKind.QUARANTINE, "", self._lines, self._bytes, 0)

    def abort(self) -> None:
        """Nothing of it will be seen."""
        if self._output is not None:
            self._output.abort()

    def _put(self, data: bytes) -> None:
        if data:
            self._pending.append(data)
            self._pending_bytes += len(data)
            self._bytes += len(data)
        if self._pending_bytes >= PIECE_BYTES:
            self._drain()

    def _drain(self) -> None:
        if self._output is not None and self._pending:
            self._output.write(b"".join(self._pending))
        self._pending, self._pending_bytes = [], 0
