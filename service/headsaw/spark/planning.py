"""The first half of a run: the batch is divided, looked at as far as needed, and its table schema agreed on.

A first pass over the data finds where the lines of ranges begin, and what rows hold that the table schema lacks, so
that growth is agreed on before anything is written. What needs neither is only read when it is converted.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headsaw.adapters.inline import LedgerSchemaBook
from headsaw.adapters.inline_sources import PREFETCH_FILES
from headsaw.convert import HEAD_BYTES, Growth, is_plain
from headsaw.core.delegation import Manifest
from headsaw.core.inference import NODES_MAX, Rules
from headsaw.core.model import Source, SourceFile
from headsaw.core.splits import Portion, Range, Split, Together, Weighed, align, divisible, plan_splits, split_bytes
from headsaw.core.table_schema import TableSchema
from headsaw.errors import AccessDenied, SourceUnreadable
from headsaw.ports import ObjectStore
from headsaw.spark.assembly import InParts
from headsaw.spark.reach import Connection
from headsaw.spark.rounds import Rounds
from headsaw.spark.work import Look, Looked, Work

LOOKS_NODES_MAX = 4 * NODES_MAX
"""Distinct paths that all looks of a run may tell of: they come to the driver at once, at 75 bytes each in Spark's
memory and four times as much in Python's, before what they have in common is merged."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to convert, the sources that are converted in parts, and the accepted table schema."""

    portions: tuple[Portion, ...]
    in_parts: dict[int, InParts]
    schema: TableSchema


class Planning:
    """`split_bytes_max` overrides the size of splits."""

    def __init__(
        self, manifest: Manifest, connection: Connection, rounds: Rounds, split_bytes_max: int | None = None
    ) -> None:
        self._manifest = manifest
        self._connection = connection
        self._rounds = rounds
        self._split_bytes_max = split_bytes_max

    def plan(self, work: Work) -> Plan:
        """See the class. Raises GivingUp."""
        splits = self._splits()
        ledger = self._connection.reach.ledger
        head = self._rounds.retried(lambda: self._connection.call(ledger.schema_head(work.batch.dataset)))
        observing = head.version == 0 or self._manifest.settings.table_schema.mode == "evolve"
        looked = [split for split in splits if observing or isinstance(split, Range)]
        schema = head if observing else None
        nodes_max = looked_nodes(len(looked), self._manifest.settings.table_schema.max_columns)
        tasks = [Look(split, sources_of(self._manifest, split), schema, nodes_max) for split in looked]
        looks = self._rounds.run(work, tasks, Looked)
        agreed = self._agreed(work, looks) if observing else head
        in_parts, portions = _lines(list(zip(looked, looks, strict=True)))
        whole = [split for split in splits if isinstance(split, Together)]
        return Plan((*portions, *whole), in_parts, agreed)

    def _splits(self) -> list[Split]:
        sources = self._manifest.sources
        total = sum(source.stored_bytes for source in sources)
        bytes_max = self._split_bytes_max or split_bytes(total, self._rounds.cores)
        store = self._connection.reach.store
        weighed = self._rounds.retried(lambda: self._connection.call(_weighed(store, sources, bytes_max)))
        splits = plan_splits(weighed, bytes_max)
        ranges = sum(isinstance(split, Range) for split in splits)
        self._rounds.say("splits planned", splits=len(splits), ranges=ranges, bytes=total, split_bytes=bytes_max)
        return splits

    def _agreed(self, work: Work, looks: Iterable[Looked]) -> TableSchema:
        """The table schema has grown by what was seen, in the order of the splits, by the same rules as in a worker."""
        settings = self._manifest.settings
        directories = [level.directory for level in settings.partition_by]

        def agreed() -> TableSchema:
            book = LedgerSchemaBook(self._connection.bridge(), self._connection.reach.ledger, work.batch.dataset)
            growth = Growth(book, Rules.of(settings.table_schema, directories))
            for look in looks:
                growth.collect(look.seen)
            return growth.agree()

        schema = self._rounds.retried(agreed)
        self._rounds.say("table schema agreed", version=schema.version, columns=schema.leaves)
        return schema


def looked_nodes(looks: int, columns_max: int) -> int:
    """How many distinct paths each of so many looks may tell of: all columns that a table can have, and structs."""
    return max(2 * columns_max, LOOKS_NODES_MAX // max(looks, 1))


def sources_of(manifest: Manifest, item: Split | Portion) -> tuple[Source, ...]:
    """The sources of which a task gets bytes."""
    indexes = item.sources if isinstance(item, Together) else (item.source,)
    return tuple(manifest.sources[index] for index in indexes)


async def _weighed(store: ObjectStore, sources: Sequence[Source], bytes_max: int) -> list[Weighed]:
    """Whether a source is plain is asked only of those that might be divided."""
    at_once = asyncio.Semaphore(PREFETCH_FILES)

    async def weigh(source: Source) -> Weighed:
        if not isinstance(source, SourceFile):
            return Weighed(source.length)
        if not divisible(source.size, bytes_max):
            return Weighed(source.size)
        async with at_once:
            return Weighed(source.size, plain=await _is_plain(store, source))

    return await asyncio.gather(*map(weigh, sources))


async def _is_plain(store: ObjectStore, source: SourceFile) -> bool:
    """False also where it can't be read: the task that gets it finds out why."""
    try:
        head = await store.read_all(
            source.bucket, source.key, etag=source.etag, version_id=source.version_id, length=HEAD_BYTES
        )
    except (SourceUnreadable, AccessDenied):
        return False
    return is_plain(head, source.key)


def _lines(looked: Sequence[tuple[Split, Looked]]) -> tuple[dict[int, InParts], list[Portion]]:
    """Of each source that was divided: what was found in it, and the runs of lines that it becomes."""
    divided: dict[int, list[tuple[Range, Looked]]] = {}
    for split, look in looked:
        if isinstance(split, Range):
            divided.setdefault(split.source, []).append((split, look))
    in_parts: dict[int, InParts] = {}
    portions: list[Portion] = []
    for index, parts in divided.items():
        rejection = next((look.rejection for _, look in parts if look.rejection is not None), None)
        found = [look.found for _, look in parts if look.found is not None]
        in_parts[index] = InParts(sum(item.lines for item in found), rejection)
        if rejection is None:
            portions += align([split for split, _ in parts], found)
    return in_parts, portions
