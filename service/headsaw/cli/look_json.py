"""The `--json` objects of `status`, `batches` and `describe`; docs/commands.md is their schema."""

from typing import Any

from headsaw.core.conversion import FileCounts
from headsaw.core.model import Batch, BatchState, RecordRange, Source, SourceFile, SparkRun
from headsaw.operate.describe import BatchStory, FileStory, SourceStory, VersionStory
from headsaw.operate.look import QueueStatus, Status

Document = dict[str, Any]


def status(seen: Status) -> Document:
    """`headsaw status`."""
    return {
        "checked_at": seen.checked_at,
        "queues": [_queue(queue) for queue in seen.queues],
        "dlq": _queue(seen.dlq),
        "batches": {state.value: seen.states[state] for state in BatchState},
        "delegated": dict(sorted(seen.engines.items())),
        "unfinished": seen.unfinished,
        "oldest_unfinished": {"id": seen.oldest.id, "created_at": seen.oldest.created_at} if seen.oldest else None,
        "datasets": [
            {
                "name": dataset.name,
                "configured": dataset.configured,
                "batches": {state.value: dataset.states[state] for state in BatchState},
                "files": dataset.files,
                "rows": dataset.rows,
                "unfinished_files": dataset.unfinished_files,
                "oldest_unfinished_at": dataset.oldest_unfinished_at,
                "last_done_at": dataset.last_done_at,
            }
            for dataset in seen.datasets
        ],
    }


def _queue(queue: QueueStatus) -> Document:
    depth = queue.depth
    return {"url": queue.url, "visible": depth.visible, "in_flight": depth.in_flight, "delayed": depth.delayed}


def batch(item: Batch) -> Document:
    """One batch, in lists and alone."""
    lease = item.lease
    return {
        "id": item.id,
        "dataset": item.dataset,
        "state": item.state.value,
        "files": item.files,
        "bytes": item.bytes,
        "rows": item.rows,
        "attempt": item.attempt,
        "failures": item.failures,
        "reason": item.reason,
        "created_at": item.created_at,
        "due_at": item.due_at,
        "finished_at": item.finished_at,
        "lease": {"owner": lease.owner, "epoch": lease.epoch, "until": lease.until},
        "settings": item.settings,
        "schema_version": item.schema_version,
        "route": item.route,
        "run": _run(item.run) if item.run else None,
        "commit": {"key": item.commit.key, "sha256": item.commit.sha256} if item.commit else None,
        "root": item.span.root,
        "parent": item.parent,
        "children": list(item.children),
    }


def _run(run: SparkRun) -> Document:
    return {
        "engine": run.engine,
        "since": run.since,
        "id": run.id,
        "driver": run.driver,
        "driver_run": run.driver_run,
    }


def batch_story(story: BatchStory) -> Document:
    """`headsaw describe BATCH_ID`."""
    record = story.record
    outputs = [
        {
            "uri": f"s3://{output.upload.bucket}/{output.upload.key}",
            "kind": output.upload.kind.value,
            "partition": output.upload.partition,
            "rows": output.upload.rows,
            "bytes": output.upload.size,
            "schema_version": output.upload.schema_version,
            "visible": output.visible,
        }
        for output in story.outputs
    ]
    return {
        "batch": batch(story.batch),
        "reported": story.reported,
        "counts": _counts(record.counts) if record else None,
        "engine": record.engine if record else None,
        "rescued_values": record.rescued_values if record else None,
        "bytes_in": record.bytes_in if record else None,
        "outputs": outputs,
        "sources": [_source_story(source) for source in story.sources],
        "trouble": story.trouble,
    }


def file_story(story: FileStory) -> Document:
    """`headsaw describe s3://BUCKET/KEY`."""
    head = story.head
    there = {"etag": head.etag, "size": head.size, "modified_at": head.modified_at} if head else None
    return {
        "file": story.name,
        "dataset": story.dataset,
        "object": there,
        "versions": [_version(version) for version in story.versions],
    }


def _version(version: VersionStory) -> Document:
    record = version.record
    return {
        "version": record.identity.version,
        "claimed_at": record.claimed_at,
        "root_batch": record.batch,
        "batch": version.holder.id if version.holder else None,
        "state": version.holder.state.value if version.holder else None,
        "mark": record.mark.value if record.mark else None,
        "reason": record.reason,
        "rejected": version.story.rejected if version.story else None,
        "counts": _counts(version.story.counts) if version.story and version.story.counts else None,
        "outputs": list(version.outputs),
        "trouble": version.trouble,
    }


def _source_story(story: SourceStory) -> Document:
    counts = _counts(story.counts) if story.counts is not None else None
    return {**_source(story.source), "counts": counts, "rejected": story.rejected}


def _source(source: Source) -> Document:
    match source:
        case SourceFile(_, _, etag, size, version_id):
            return {"file": source.name, "etag": etag, "size": size, "version_id": version_id}
        case RecordRange(_, bucket, key, offset, length):
            return {"file": source.name, "spool": f"s3://{bucket}/{key}", "offset": offset, "size": length}


def _counts(counts: FileCounts) -> Document:
    return {
        "lines": counts.lines,
        "rows": counts.rows,
        "quarantined": counts.quarantined,
        "blank": counts.blank,
        "filtered": counts.filtered,
    }
