"""Record messages become part of a batch by way of one NDJSON object under the control prefix.

Their bodies are stored before anything is claimed; the claim is message id and byte range, and only claimed ranges are
converted, so a spool object that a crash left behind, or a duplicate delivery, adds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headsaw.core.model import FileIdentity, RecordRange
from headsaw.core.naming import spool_name
from headsaw.worker.context import Context

SPOOL_BYTES_MAX = 32 * 1024**2
"""Record messages wait in memory, unlike notifications: a spool object is cut at this size."""


@dataclass(frozen=True, slots=True)
class RecordBody:
    """The body of one record message, identified by the message; it waits to be spooled."""

    message_id: str
    body: str

    @property
    def identity(self) -> FileIdentity:
        """As the range of the spool object will have it."""
        return RecordRange(self.message_id, "", "", 0, 0).identity

    @property
    def stored_bytes(self) -> int:
        """About as many as the spool object will hold of it."""
        return len(self.body)


async def spool(context: Context, bodies: Sequence[RecordBody]) -> list[RecordRange]:
    """All bodies are stored in one object; returns where each stands, in their order."""
    key = context.control.key(spool_name(context.new_id()))
    ranges: list[RecordRange] = []
    content = bytearray()
    for record in bodies:
        data = record.body.encode("utf-8", errors="surrogatepass")
        ranges.append(RecordRange(record.message_id, context.control.bucket, key, len(content), len(data)))
        content += data
        content += b"\n"
    await context.world.store.put(context.control.bucket, key, bytes(content))
    return ranges
