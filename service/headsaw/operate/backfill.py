"""Existing objects, enqueued as if they had just landed, unless the ledger knows them. It may be repeated."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from headsaw.config import ServiceSettings
from headsaw.core.model import SourceFile
from headsaw.core.routing import Excluded, Foreign, Routes
from headsaw.core.settings import S3Prefix, format_duration
from headsaw.errors import UsageError
from headsaw.operate.enqueue import enqueue
from headsaw.operate.site import Ports, Progress, silent
from headsaw.ports import Ledger, ObjectHead

LOOKUPS_AT_ONCE = 32

_Found = tuple[str, SourceFile]
"""An object, and the name of the dataset that it belongs to."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects under `place`. Globs match what follows it in the key; times in Unix seconds.

    `reprocess` takes objects that the ledger may have forgotten: they are published once more if they were before.
    `rejected` takes files that were rejected or failed, too.
    """

    place: S3Prefix
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    since: float | None = None
    until: float | None = None
    reprocess: bool = False
    rejected: bool = False


@dataclass(slots=True)
class Backfilled:
    """What became of every object that was listed: one of the counts, and `datasets` of those that were enqueued.

    `known` files have a batch; `rejected` ones had one that rejected them, or failed.
    """

    listed: int = 0
    enqueued: int = 0
    bytes: int = 0
    known: int = 0
    rejected: int = 0
    filtered: int = 0
    excluded: int = 0
    foreign: int = 0
    too_old: int = 0
    datasets: dict[str, int] = field(default_factory=dict)


async def backfill(
    config: ServiceSettings,
    ports: Ports,
    selection: Selection,
    *,
    dry_run: bool = False,
    rate: float | None = None,
    progress: Progress = silent,
    done: Backfilled | None = None,
) -> Backfilled:
    """Selected objects that the ledger doesn't know are notified of, at most `rate` a second; or counted (`dry_run`).

    `done` is kept up to date, for those who stop it. Raises UsageError for a prefix that no dataset has.
    """
    _refuse_foreign(config, selection.place)
    done = done if done is not None else Backfilled()
    files = _new(_selected(config, ports, selection, done), ports.ledger, selection, done, progress)
    if dry_run:
        async for _ in files:
            done.enqueued += 1
        return done

    def sent(count: int) -> None:
        done.enqueued += count
        progress("enqueuing", done.enqueued, None)

    await enqueue(ports.queues[0], ports.clock, files, rate=rate, sent=sent)
    return done


def _refuse_foreign(config: ServiceSettings, place: S3Prefix) -> None:
    if not any(d.source.contains(place) or place.contains(d.source) for d in config.datasets):
        known = ", ".join(f"{dataset.name} ({dataset.source})" for dataset in config.datasets)
        raise UsageError(f"{place}: no dataset has its source there, so nobody would convert it; sources are {known}")


async def _selected(
    config: ServiceSettings, ports: Ports, selection: Selection, done: Backfilled
) -> AsyncIterator[_Found]:
    routes = Routes(config.datasets)
    forgotten_at = ports.clock.now() - config.ledger_retention
    place = selection.place
    async for head in ports.store.list(place.bucket, place.prefix):
        done.listed += 1
        if not _wanted(selection, head):
            done.filtered += 1
            continue
        dataset = routes.route(place.bucket, head.key)
        if isinstance(dataset, Foreign):
            done.foreign += 1
        elif isinstance(dataset, Excluded):
            done.excluded += 1
        elif head.modified_at < forgotten_at and not selection.reprocess:
            done.too_old += 1
        else:
            by_key = dataset.identity == "key"
            yield dataset.name, SourceFile(place.bucket, head.key, head.etag, head.size, by_key=by_key)


async def _new(
    found: AsyncIterator[_Found], ledger: Ledger, selection: Selection, done: Backfilled, progress: Progress
) -> AsyncIterator[SourceFile]:
    """Those that the ledger doesn't know, or lets be claimed again."""
    async for some in _grouped(found):
        records = await asyncio.gather(*(ledger.file(file.identity) for _, file in some))
        for (dataset, file), record in zip(some, records, strict=True):
            if record is not None and record.mark is None:
                done.known += 1
            elif record is not None and not selection.rejected:
                done.rejected += 1
            else:
                done.datasets[dataset] = done.datasets.get(dataset, 0) + 1
                done.bytes += file.stored_bytes
                yield file
        progress("looking up", done.listed, None)


async def _grouped(found: AsyncIterator[_Found]) -> AsyncIterator[Sequence[_Found]]:
    group: list[_Found] = []
    async for item in found:
        group.append(item)
        if len(group) == LOOKUPS_AT_ONCE:
            yield group
            group = []
    yield group


def _wanted(selection: Selection, head: ObjectHead) -> bool:
    name = head.key[len(selection.place.prefix) :]
    if selection.include and not any(fnmatchcase(name, glob) for glob in selection.include):
        return False
    if any(fnmatchcase(name, glob) for glob in selection.exclude):
        return False
    late_enough = selection.since is None or head.modified_at >= selection.since
    return late_enough and (selection.until is None or head.modified_at < selection.until)


def retention_remedy(config: ServiceSettings) -> str:
    """What to say of objects that are too old."""
    return (
        f"they landed more than {format_duration(config.ledger_retention)} ago, and the ledger may have forgotten that "
        "they were converted; with --reprocess they are converted, perhaps again"
    )
