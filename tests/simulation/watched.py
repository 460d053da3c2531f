"""The in-memory services, which tell the watch of each effect at the moment when it is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.simulation.watch import Watch

from headsaw.adapters.memory.object_store import MemoryObjectStore
from headsaw.adapters.memory.queue import MemoryQueue
from headsaw.adapters.memory.table import MemoryTable
from headsaw.adapters.table import Cancelled, ConditionFailed, Value, Write, Written
from headsaw.ports import Outgoing


class WatchedStore(MemoryObjectStore):
    """Tells who makes an upload, and of every object that becomes visible."""

    def __init__(self, clock: Any, buckets: Sequence[str], watch: Watch) -> None:
        super().__init__(clock, buckets, on_created=watch.appeared)
        self._watch = watch

    async def create_upload(self, bucket: str, key: str, metadata: Mapping[str, str]) -> str:
        upload_id = await super().create_upload(bucket, key, metadata)
        self._watch.made_by[upload_id] = self._watch.actor
        return upload_id


class WatchedTable(MemoryTable):
    """Tells of every write that took effect."""

    def __init__(self, clock: Any, watch: Watch) -> None:
        super().__init__(clock)
        self._watch = watch

    async def write(self, write: Write) -> Written | ConditionFailed:
        old = self._items.get(write.key)
        result = await super().write(write)
        if isinstance(result, Written):
            self._tell([write], [old])
        return result

    async def transact(self, writes: Sequence[Write], token: str) -> Written | Cancelled:
        olds = [self._items.get(write.key) for write in writes]
        result = await super().transact(writes, token)
        if isinstance(result, Written) and any(
            self._items[w.key] is not old for w, old in zip(writes, olds, strict=True)
        ):
            self._tell(writes, olds)
        return result

    def _tell(self, writes: Sequence[Write], olds: Sequence[Mapping[str, Value] | None]) -> None:
        claims: set[str] = set()
        for write, old in zip(writes, olds, strict=True):
            new = self._items[write.key]
            self._watch.wrote(write.key, old, new)
            if write.key.pk.startswith("file#"):
                claims.add(str(new["batch"]))
        self._watch.claimed_together(sorted(claims))


class WatchedQueue(MemoryQueue):
    """Tells of every message that is deleted; messages come in any order."""

    def __init__(self, clock: Any, watch: Watch) -> None:
        super().__init__(clock, "landing")
        self._watch = watch
        self.sent_steps: dict[str, int] = {}

    def _accept(self, message: Any) -> None:
        self.sent_steps[message.id] = self._watch.step
        super()._accept(message)

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        before = [self._messages.get(receipt.rpartition("#")[0]) for receipt in receipts]
        failed = await super().delete(receipts)
        for message in before:
            if message is not None and message.id not in self._messages:
                self._watch.deleted(message, self.sent_steps[message.id])
        return failed


class WatchedDlq(MemoryQueue):
    """Tells of every message that it takes."""

    def __init__(self, clock: Any, watch: Watch) -> None:
        super().__init__(clock, "dlq")
        self._watch = watch

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        failed = await super().send(messages)
        for message in messages:
            if message.id not in failed:
                self._watch.dead_lettered(message)
        return failed
