"""What is wrong in the end, in sentences: ids looked up one by one, the queue, the DLQ, the batches, and the audit.

Nothing of the service is believed: rows are read back from Parquet and broken lines from quarantine.
"""

import io
import re
from collections import Counter
from collections.abc import AsyncIterator

import pyarrow.parquet as pq
import zstandard
from tests.chaos.marked import ID, Truth

from headsaw.adapters.connect import Connected
from headsaw.config import ServiceSettings
from headsaw.core.model import BatchState
from headsaw.core.notification import Landed, parse_notification
from headsaw.core.settings import S3Prefix
from headsaw.operate.audit import AuditOptions, audit

NAMED_MAX = 5


async def drained(aws: Connected) -> bool:
    """No message is anywhere in the queues, and no batch is unfinished."""
    for queue in aws.queues:
        depth = await queue.depth()
        if depth.visible or depth.in_flight or depth.delayed:
            return False
    return all([batch.state.terminal async for batch in aws.ledger.batches()])


async def verdict(config: ServiceSettings, aws: Connected, truth: Truth) -> list[str]:
    """Empty if every id is found exactly once where it belongs, and everything else is in order too."""
    wrong = []
    if not await drained(aws):
        wrong.append("the queue or the ledger isn't drained")
    wrong += _compared("rows", truth.rows, await rows(config, aws))
    wrong += _compared("quarantined lines", truth.quarantined, await quarantined(config, aws))
    wrong += await _rejections(aws, truth)
    failed = [batch.id async for batch in aws.ledger.batches() if batch.state is BatchState.FAILED]
    if failed:
        wrong.append(f"{len(failed)} batches failed: {failed[:NAMED_MAX]}")
    for dataset in config.datasets:
        report = await audit(config, aws, dataset.name, AuditOptions(grace_seconds=0.0))
        wrong += [f"audit: {f.kind} {f.what} {f.where}: {f.why}" for f in report.findings[:NAMED_MAX]]
        if not report.clean or report.pending:
            wrong.append(
                f"audit of {dataset.name}: {report.missing} missing, {report.duplicated} duplicated, "
                f"{report.miscounted} miscounted, {report.pending} pending"
            )
    return wrong


async def rows(config: ServiceSettings, aws: Connected) -> Counter[str]:
    """How often each id is in the Parquet files that a reader sees."""
    found: Counter[str] = Counter()
    for dataset in config.datasets:
        async for body in _objects(aws, dataset.destination):
            found.update(pq.read_table(io.BytesIO(body), columns=["id"]).column("id").to_pylist())
    return found


async def quarantined(config: ServiceSettings, aws: Connected) -> Counter[str]:
    """How often each id is in the quarantine objects."""
    found: Counter[str] = Counter()
    async for body in _objects(aws, config.quarantine):
        text = zstandard.ZstdDecompressor().decompressobj().decompress(body).decode()
        found.update(re.findall(ID, text.replace('\\"', '"')))
    return found


async def _objects(aws: Connected, place: S3Prefix) -> AsyncIterator[bytes]:
    async for head in aws.store.list(place.bucket, place.prefix):
        yield await aws.store.read_all(place.bucket, head.key)


async def _rejections(aws: Connected, truth: Truth) -> list[str]:
    """The DLQ names each rejected file at least once, and nothing else."""
    names: set[str] = set()
    while letters := await aws.dlq.receive(limit=10, wait_seconds=0, visibility_seconds=600):
        for letter in letters:
            match parse_notification(letter.body, letter.attributes, None):
                case Landed(files, _):
                    names |= {file.name for file in files}
                case other:
                    names.add(f"{other} ({letter.attributes.get('reason')})")
    return _compared("dead letters", truth.rejected, Counter(names))


def _compared(what: str, expected: set[str], found: Counter[str]) -> list[str]:
    cases = {
        "missing": sorted(expected - found.keys()),
        "more than once": sorted(name for name, count in found.items() if count > 1),
        "unexpected": sorted(found.keys() - expected),
    }
    return [f"{what}: {len(names)} {case}: {names[:NAMED_MAX]}" for case, names in cases.items() if names]
