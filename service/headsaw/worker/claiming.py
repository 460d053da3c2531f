"""From a flushed buffer to batches: claims chunk after chunk, and says which sources were somebody else's.

A batch of one chunk is claimed READY in one transaction; a larger one is OPEN, extended, then sealed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headsaw.core.lifecycle import Seal, advance
from headsaw.core.model import Batch, BatchId, BatchState, DatasetName, Lease, SettingsHash, Source, SourceSpan
from headsaw.ports import CHUNK_SOURCES_MAX, Accepted, Claimed, Overlap, Refused
from headsaw.worker.context import Context

FIRST_EPOCH = 1


@dataclass(frozen=True, slots=True)
class ClaimOutcome:
    """Every source (by position) is either in `batch` or a duplicate; or, after a refusal, `unsettled`."""

    batch: Batch | None
    claimed: tuple[int, ...]
    duplicates: tuple[int, ...]
    unsettled: tuple[int, ...]


async def claim(
    context: Context, dataset: DatasetName, settings: SettingsHash, sources: Sequence[Source]
) -> ClaimOutcome:
    """Each source is claimed for one new batch, or known to be another's.

    An Outage leaves all of it unknown: what was claimed is in the ledger and will be recovered, and the messages, being
    redelivered, will find themselves duplicates.
    """
    chunks = [range(at, min(at + CHUNK_SOURCES_MAX, len(sources))) for at in range(0, len(sources), CHUNK_SOURCES_MAX)]
    batch: Batch | None = None
    claimed: list[int] = []
    duplicates: list[int] = []
    for chunk in chunks:
        wanted = list(chunk)
        while wanted:
            chosen = [sources[position] for position in wanted]
            result: Claimed | Overlap | Refused
            if batch is None:
                result = await context.world.ledger.claim(
                    _new_batch(context, dataset, settings, chosen, last=chunk is chunks[-1]), chosen
                )
            else:
                result = await context.world.ledger.extend(batch, chosen, context.lease_until())
            match result:
                case Claimed(grown):
                    claimed += wanted
                    if not _ours(context, grown):
                        return _rest_unsettled(len(sources), claimed, duplicates)
                    batch = grown
                    wanted = []
                case Overlap(owners):
                    duplicates += [wanted[position] for position in owners]
                    wanted = [source for position, source in enumerate(wanted) if position not in owners]
                case Refused(_):
                    return _rest_unsettled(len(sources), claimed, duplicates)
    if batch is not None and batch.state is BatchState.OPEN:
        batch = await _seal(context, batch)
    return ClaimOutcome(batch, tuple(claimed), tuple(duplicates), ())


def _ours(context: Context, batch: Batch) -> bool:
    """The lease is the one that this worker's claim gave it."""
    return batch.lease.owner == context.worker and batch.lease.epoch == FIRST_EPOCH and not batch.state.terminal


def _rest_unsettled(sources: int, claimed: Sequence[int], duplicates: Sequence[int]) -> ClaimOutcome:
    """Somebody sealed and took the batch over: what it has is safe with them, the rest is for a later delivery."""
    settled = {*claimed, *duplicates}
    rest = tuple(position for position in range(sources) if position not in settled)
    return ClaimOutcome(None, tuple(claimed), tuple(duplicates), rest)


async def _seal(context: Context, batch: Batch) -> Batch | None:
    """READY, or None if it is no longer ours (whoever took it over has sealed it)."""
    match await context.world.ledger.apply(batch, advance(batch, Seal())):
        case Accepted(sealed):
            return sealed
        case Refused(_):
            return None


def _new_batch(
    context: Context, dataset: DatasetName, settings: SettingsHash, sources: Sequence[Source], *, last: bool
) -> Batch:
    """A fresh id for each payload: a claim hidden by a lost answer is a batch of its own, which recovery finds."""
    batch_id = BatchId(context.new_id())
    until = context.lease_until()
    return Batch(
        id=batch_id,
        dataset=dataset,
        settings=settings,
        state=BatchState.READY if last else BatchState.OPEN,
        span=SourceSpan(batch_id, 0, len(sources)),
        bytes=sum(source.stored_bytes for source in sources),
        chunks=1,
        created_at=context.world.clock.now(),
        lease=Lease(context.worker, FIRST_EPOCH, until),
        due_at=until,
    )
