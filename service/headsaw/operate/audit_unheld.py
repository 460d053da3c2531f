"""Landed objects that no batch of the audited time has: still on their way, settled earlier, or missing."""

from dataclasses import dataclass

from headsaw.core.model import BatchId, BatchState
from headsaw.operate.audit_book import AuditBook, LandedRow
from headsaw.operate.audit_queue import Underway
from headsaw.operate.audit_report import Findings, Kind
from headsaw.operate.site import Ports, each, iterated

LOOKUPS_AT_ONCE = 16


@dataclass(slots=True)
class Unheld:
    """How many are on their way, and how many a batch from before the audited time has."""

    pending: int = 0
    earlier: int = 0


async def judge_unheld(
    ports: Ports, book: AuditBook, findings: Findings, underway: Underway, *, now: float, grace_seconds: float
) -> Unheld:
    """Each was asked for again, consistently; those that are missing stand in `findings`."""
    counts = Unheld()

    async def judge(row: LandedRow) -> None:
        record = await ports.ledger.file(row.identity)
        if record is not None:
            await _judge_claimed(ports, findings, counts, row, record.batch)
        elif now - row.at < grace_seconds or underway.may_bring(*_named(row), row.at):
            counts.pending += 1
        else:
            book.lose(row)
            findings.add(
                Kind.MISSING,
                "file",
                f"s3://{row.scope}",
                f"it landed {round(now - row.at)} s ago, and neither the ledger nor the queue knows of it",
                "run the audit with --fix, or headsaw backfill, and see why S3 didn't notify",
            )

    await each(iterated(book.unheld()), LOOKUPS_AT_ONCE, judge)
    return counts


async def _judge_claimed(ports: Ports, findings: Findings, counts: Unheld, row: LandedRow, batch_id: BatchId) -> None:
    """The ledger says which batch has it: one that has begun or ended meanwhile, or one from before the time."""
    batch = await ports.ledger.batch(batch_id)
    if batch is None:
        why = f"the ledger gives it to batch {batch_id}, of which there is nothing"
        remedy = "land it again under another key: a notification would be taken for a duplicate"
        findings.add(Kind.MISSING, "file", f"s3://{row.scope}", why, remedy)
        return
    if not batch.state.terminal:
        counts.pending += 1
        return
    identities = {source.identity for source in await ports.ledger.sources(batch)}
    if row.identity in identities:
        counts.earlier += batch.state is not BatchState.FAILED
        return
    why = f"the ledger gives it to batch {batch_id}, which doesn't hold it"
    findings.add(Kind.MISSING, "file", f"s3://{row.scope}", why, "land it again under another key")


def _named(row: LandedRow) -> tuple[str, str, str]:
    bucket, _, key = row.scope.partition("/")
    return bucket, key, row.etag
