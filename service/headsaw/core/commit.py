"""The commit record: everything that publishing a batch needs, and everything that a reader may ask about it later.

It is written before the commit point and never changed; the ledger stores its key and SHA-256. Its JSON form has
`"format": 1`; docs/guarantees.md and the audit rely on it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headsaw.core.conversion import FileCounts, OutputKind, RejectReason
from headsaw.core.model import FORMAT, Batch, BatchId, RecordRange, Source, SourceFile

TOKEN_METADATA = "headsaw-token"  # noqa: S105 - a metadata key, not a secret
"""The object metadata key that identifies which upload an object came from."""


@dataclass(frozen=True, slots=True)
class UploadedPart:
    """One part of a pending upload, numbered from 1."""

    number: int
    etag: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class PendingUpload:
    """An S3 multipart upload that has all its parts and is not completed: invisible to every reader."""

    bucket: str
    key: str
    upload_id: str
    token: str
    parts: tuple[UploadedPart, ...]
    kind: OutputKind
    partition: str = ""
    rows: int = 0
    schema_version: int = 0

    @property
    def size(self) -> int:
        """Bytes of the object to be."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class RejectedSource:
    """A source of the batch (by index within it) of which nothing is published, and why."""

    index: int
    reason: RejectReason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """A batch's result. `files` has the counts of each source that was read, by index within the batch.

    `replaces` are the uploads of records that a repair put this one in the place of: none of them may be visible, or
    ever become so, when the first of `uploads` is.
    """

    batch: BatchId
    dataset: str
    attempt: int
    lease_epoch: int
    engine: str
    settings: str
    schema_version: int
    sources: tuple[Source, ...]
    files: Mapping[int, FileCounts]
    rejected: tuple[RejectedSource, ...]
    uploads: tuple[PendingUpload, ...]
    oldest_upload_at: float
    rescued_values: int
    bytes_in: int
    replaces: tuple[PendingUpload, ...] = ()

    @property
    def counts(self) -> FileCounts:
        """Totals over the files that were read."""
        return sum(self.files.values(), FileCounts())

    def to_json(self) -> bytes:
        """The stored form; `from_json` reads it back unchanged."""
        document = asdict(self)
        document["format"] = FORMAT
        document["sources"] = [encode_source(source) for source in self.sources]
        document["files"] = {str(index): asdict(counts) for index, counts in self.files.items()}
        if not self.replaces:
            del document["replaces"]
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, body: bytes) -> "CommitRecord":
        """The record that `to_json` wrote; raises ValueError for another format."""
        document = json.loads(body)
        if document.pop("format") != FORMAT:
            raise ValueError("a commit record of another format")
        document["sources"] = tuple(decode_source(source) for source in document["sources"])
        document["files"] = {int(index): FileCounts(**counts) for index, counts in document["files"].items()}
        document["rejected"] = tuple(
            RejectedSource(r["index"], RejectReason(r["reason"]), r["detail"]) for r in document["rejected"]
        )
        document["uploads"] = tuple(decode_upload(upload) for upload in document["uploads"])
        document["replaces"] = tuple(decode_upload(upload) for upload in document.get("replaces", ()))
        return cls(**document)


def decode_upload(document: dict[str, Any]) -> PendingUpload:
    """The upload in a JSON object that `asdict` made; the object isn't to be used any more."""
    document["parts"] = tuple(UploadedPart(**part) for part in document["parts"])
    document["kind"] = OutputKind(document["kind"])
    return PendingUpload(**document)


def encode_source(source: Source) -> list[Any]:
    """A short JSON form, used by commit records and chunk items alike."""
    match source:
        case SourceFile(bucket, key, etag, size, version_id, by_key):
            return ["f", bucket, key, etag, size, version_id, by_key]
        case RecordRange(message_id, bucket, key, offset, length):
            return ["m", message_id, bucket, key, offset, length]


def decode_source(fields: list[Any]) -> Source:
    """The source that `encode_source` wrote."""
    if fields[0] == "f":
        return SourceFile(*fields[1:])
    return RecordRange(*fields[1:])


def digest(body: bytes) -> str:
    """SHA-256 in hex, as the commit point stores it."""
    return hashlib.sha256(body).hexdigest()


def accepted_record(batch: Batch, body: bytes) -> CommitRecord:
    """The record in `body`, if it is the one that the batch's commit point accepted; raises ValueError if not."""
    if batch.commit is None or digest(body) != batch.commit.sha256:
        raise ValueError("it isn't the one that was accepted")
    return CommitRecord.from_json(body)


def violations(record: CommitRecord, batch: Batch) -> list[str]:
    """What forbids committing this record for this batch: empty, or one plain sentence each."""
    found = []
    if (record.batch, record.attempt, record.lease_epoch) != (batch.id, batch.attempt, batch.lease.epoch):
        found.append("the record belongs to another attempt or lease")
    if len(record.sources) != batch.files:
        found.append(f"{len(record.sources)} sources, the batch has {batch.files}")
    accounted = sorted([*record.files, *(r.index for r in record.rejected)])
    if accounted != list(range(batch.files)):
        found.append("not every source is either counted or rejected, once")
    found += [f"lines of source {index} aren't conserved" for index, c in record.files.items() if not c.conserved]
    for kind, expected in ((OutputKind.TABLE, record.counts.rows), (OutputKind.QUARANTINE, record.counts.quarantined)):
        written = sum(upload.rows for upload in record.uploads if upload.kind is kind)
        if written != expected:
            found.append(f"{written} {kind} rows written, {expected} counted")
    for upload in record.uploads:
        found += part_violations(upload)
    return found


PART_BYTES_MIN = 5 * 1024**2
"""Smallest part of a multipart upload but the last. Source: Amazon S3 multipart upload limits."""

PARTS_MAX = 10_000
"""Most parts of one upload. Source: Amazon S3 multipart upload limits."""


def part_violations(upload: PendingUpload) -> list[str]:
    """What S3 would refuse when this upload is completed."""
    found = []
    if not 1 <= len(upload.parts) <= PARTS_MAX:
        found.append(f"an upload with {len(upload.parts)} parts")
    if [part.number for part in upload.parts] != list(range(1, len(upload.parts) + 1)):
        found.append("part numbers that aren't 1, 2, 3 …")
    if any(part.size < PART_BYTES_MIN for part in upload.parts[:-1]):
        found.append("a part under 5 MiB that isn't the last")
    return found
