"""Names of everything that the service writes to S3. One place, so that audits and writers can't disagree."""

from headsaw.core.model import Batch, BatchId

COMMITS = "commits/"
SPOOL = "spool/"
SCHEMAS = "schemas/"
SPARK = "spark/"


def output_stem(batch: Batch, task: int, number: int) -> str:
    """`<batch>-<attempt>-<task>-<n>`: unique per attempt, since only one epoch's uploads of an attempt get committed.

    A zombie of the same attempt can't exist: whoever takes a RUNNING batch over raises its attempt.
    """
    return f"{batch.id}-{batch.attempt}-{task}-{number}"


def commit_record_name(batch: Batch) -> str:
    """Under the control prefix. Holds the epoch too: two holders of one attempt never overwrite each other's record."""
    return f"{COMMITS}{batch.id}/{batch.attempt}-{batch.lease.epoch}.json"


def repair_record_name(batch: Batch) -> str:
    """Under the control prefix: the record that takes the place of an accepted one, by its own attempt and epoch."""
    return f"{COMMITS}{batch.id}/{batch.attempt}-{batch.lease.epoch}-repair.json"


def manifest_name(batch: BatchId, attempt: int) -> str:
    """Under the control prefix: what the Spark run of an attempt is to convert."""
    return f"{SPARK}{batch}/{attempt}/manifest.json"


def report_name(batch: BatchId, attempt: int, driver: str) -> str:
    """Under the control prefix: what the driver of that token did; only the registered driver's is ever read."""
    return f"{SPARK}{batch}/{attempt}/report-{driver}.json"


def probe_name(batch: BatchId, attempt: int, driver: str) -> str:
    """Under the control prefix, beside the report: written to find out whether a report could be."""
    return f"{SPARK}{batch}/{attempt}/probe-{driver}.json"


def spool_name(spool_id: str) -> str:
    """Under the control prefix: the NDJSON object that holds the bodies of record messages."""
    return f"{SPOOL}{spool_id}.ndjson"


def dlq_id(batch: BatchId, index: int) -> str:
    """The stable id of the DLQ message for the index-th source of a batch, the same however often it is sent."""
    return f"{batch}-{index}"
