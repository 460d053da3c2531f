"""What comes of a batch, as values: its commit record, and the facts that are told of it."""

from collections.abc import Sequence

from headsaw.core.commit import CommitRecord, RejectedSource
from headsaw.core.facts import BatchConverted, BatchDone
from headsaw.core.model import Batch, Source
from headsaw.core.settings import DatasetSettings
from headsaw.ports import ConvertedBatch


def commit_record(
    batch: Batch, settings: DatasetSettings, sources: Sequence[Source], converted: ConvertedBatch
) -> CommitRecord:
    """What publishing the batch will need, and what the commit point will accept."""
    report = converted.report
    return CommitRecord(
        batch=batch.id,
        dataset=batch.dataset,
        attempt=batch.attempt,
        lease_epoch=batch.lease.epoch,
        engine=batch.run.engine if batch.run else "inline",
        settings=settings.hash,
        schema_version=report.schema.version,
        sources=tuple(sources),
        files=report.files,
        rejected=tuple(RejectedSource(r.index, r.reason, r.detail) for r in report.rejections),
        uploads=converted.uploads,
        oldest_upload_at=converted.oldest_upload_at,
        rescued_values=report.rescued_values,
        bytes_in=report.bytes_in,
    )


def converted_fact(batch: Batch, converted: ConvertedBatch) -> BatchConverted:
    """An attempt is complete, and still invisible."""
    return BatchConverted(
        batch=batch,
        counts=converted.report.counts,
        rescued_values=converted.report.rescued_values,
        bytes_in=converted.report.bytes_in,
        bytes_out=sum(upload.size for upload in converted.uploads),
        outputs=len(converted.uploads),
        seconds=converted.seconds,
        cpu_seconds=converted.cpu_seconds,
    )


def done_fact(batch: Batch, record: CommitRecord, now: float) -> BatchDone:
    """The canonical line of a batch."""
    return BatchDone(
        batch=batch,
        counts=record.counts,
        rejected=len(record.rejected),
        rescued_values=record.rescued_values,
        bytes_in=record.bytes_in,
        bytes_out=sum(upload.size for upload in record.uploads),
        outputs=len(record.uploads),
        age_seconds=max(0.0, now - batch.created_at),
    )
