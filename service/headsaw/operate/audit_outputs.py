"""Objects under the outputs' prefixes against the commit records: each belongs to exactly one, with its size."""

import asyncio
import re
from collections.abc import Mapping, Sequence

from headsaw.core.model import BatchId, BatchState
from headsaw.core.settings import S3Prefix
from headsaw.errors import ProtocolViolation
from headsaw.operate.audit_batch import RESTORE, lacking_sentence
from headsaw.operate.audit_book import AuditBook, FoundRow
from headsaw.operate.audit_report import Findings, Kind
from headsaw.operate.site import Ports, each, iterated, load_record

LOOKUPS_AT_ONCE = 16
_OUTPUT = re.compile(r"(?:.*/)?([0-9a-z]{26})-\d+-\d+-\d+\.(?:parquet|ndjson\.zst)")


async def check_outputs(
    ports: Ports,
    control: S3Prefix,
    book: AuditBook,
    findings: Findings,
    lacking: Mapping[str, int],
    *,
    own: Sequence[S3Prefix],
    since: float,
) -> None:
    """Both directions were compared: every promised object is there, and every object there was promised once.

    `lacking` objects weren't there when their batches were read back; so many files lack lines for each.
    """
    returned = set(lacking)
    for promise in await asyncio.to_thread(lambda: list(book.broken_promises())):
        where, whose = f"s3://{promise.place}", f"batch {promise.batch} published it"
        if promise.actual is None:
            returned.discard(promise.place)
            why = f"{whose}, and it isn't there{lacking_sentence(lacking.get(promise.place, 0))}"
            findings.add(Kind.MISSING, "object", where, why, RESTORE)
        else:
            why = f"{whose} with {promise.size} bytes, and it has {promise.actual}"
            findings.add(Kind.MISCOUNTED, "object", where, why, RESTORE)
    for place in sorted(returned):
        findings.add(Kind.MISSING, "object", f"s3://{place}", "it came back while the audit ran", "audit again")
    for place, batches in await asyncio.to_thread(lambda: list(book.promised_twice())):
        why = f"the commit records of batches {batches} all list it"
        findings.add(Kind.DUPLICATED, "object", f"s3://{place}", why, "describe these batches")

    async def judge(row: FoundRow) -> None:
        if _is_output(row, own) and not await _published_meanwhile(ports, control, row):
            why = "no commit record lists it, so its rows are there besides those of a batch"
            findings.add(Kind.DUPLICATED, "object", f"s3://{row.place}", why, "find out who wrote it, and remove it")

    await each(iterated(book.unpromised(since)), LOOKUPS_AT_ONCE, judge)


def _is_output(row: FoundRow, own: Sequence[S3Prefix]) -> bool:
    """Readers of the dataset would take the object for the service's: it is below its prefixes, and of its kind."""
    bucket, _, key = row.place.partition("/")
    inside = any(place.bucket == bucket and key.startswith(place.prefix) for place in own)
    return inside and key.endswith((".parquet", ".ndjson.zst"))


async def _published_meanwhile(ports: Ports, control: S3Prefix, row: FoundRow) -> bool:
    """The batch that the key names has a commit record by now that lists it (or belongs to a dataset renamed since)."""
    match = _OUTPUT.fullmatch(row.place)
    batch = await ports.ledger.batch(BatchId(match[1])) if match else None
    if batch is None or batch.state not in (BatchState.PUBLISHING, BatchState.DONE):
        return False
    try:
        record = await load_record(ports.store, control, batch)
    except ProtocolViolation:
        return True  # that the record can't be read is a finding of its own
    return any(f"{upload.bucket}/{upload.key}" == row.place for upload in record.uploads)
