"""What the service as a whole can be told; what one dataset can be told is `headsaw.core.settings`'s.

Durations are seconds and sizes bytes once they are read. Every field's description is its entry in the documentation.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, WithJsonSchema

from headsaw.config.engines import EngineSettings
from headsaw.config.suggest import closest
from headsaw.core.settings import DatasetSettings, Duration, S3Prefix, Settings, Size, Text, refusal
from headsaw.errors import UsageError

DAY = 86400.0

QUEUE_RETENTION_SECONDS_MAX = 14 * DAY
"""SQS keeps no message longer."""

CLAIM_MARGIN_SECONDS = 120.0
"""What claiming a flushed buffer may take before its messages are delivered again."""

VISIBILITY_SECONDS_MAX = 12 * 3600.0
"""SQS's limit of a visibility timeout."""


def available_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many CPUs this process may use: its affinity, or the container's quota (cgroup v2) where that is lower."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(affinity, int(share) // int(period)))
    except (OSError, ValueError):  # no container, no limit ("max"), or another kind of cgroup
        return affinity


_ONE_OR_MANY = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}


def _one_or_many(value: object) -> object:
    """A single queue is written as itself."""
    return (value,) if isinstance(value, str) else value


def _url(value: str) -> str:
    if not value.startswith(("https://", "http://")) or any(char.isspace() or char == "," for char in value):
        raise refusal(
            f"{value!r} is no queue URL",
            "copy it from the queue, such as https://sqs.eu-west-1.amazonaws.com/111122223333/landing",
        )
    return value


QueueUrl = Annotated[Text, BeforeValidator(lambda value: _url(value) if isinstance(value, str) else value)]
"""The URL of an SQS queue."""


class LeaseSettings(Settings):
    """The right of one worker to advance one batch."""

    length: Duration = Field(
        60.0,
        ge=3,
        le=3600,
        description="How long a lease lasts unless it is renewed, which happens at a third of it. "
        "The work of a dead worker is taken over after it.",
    )


class DrainSettings(Settings):
    """What happens at SIGTERM."""

    grace: Duration = Field(
        50.0,
        le=3600,
        description="How long running work may take to finish after SIGTERM; the rest is released to other workers. "
        "Keep it below the pod's termination grace period.",
    )


class HttpSettings(Settings):
    """Where /metrics, /livez and /readyz are served."""

    host: Text = Field("0.0.0.0", description="The address to listen on.")  # noqa: S104 - probes come from outside the pod
    port: int = Field(8080, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")


class LogSettings(Settings):
    """What is logged, and how."""

    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = Field("INFO", description="The least severe level that is logged. `DEBUG` needs `allow_debug`.")
    format: Literal["json", "console"] = Field("json", description="One JSON object a line, or text for people.")
    allow_debug: bool = Field(
        False,
        description="Permits `level: DEBUG`, at which object keys may appear in the log.",
    )


class ServiceSettings(Settings):
    """Everything a worker needs to know."""

    queue_urls: Annotated[tuple[QueueUrl, ...], BeforeValidator(_one_or_many), WithJsonSchema(_ONE_OR_MANY)] = Field(
        alias="queue_url",
        min_length=1,
        description="The SQS queue or queues that bring notifications and record messages: one URL, or a list.",
    )
    dlq_url: QueueUrl = Field(
        description="The SQS queue for what can't be processed: bad messages, rejected files, failed batches."
    )
    region: str | None = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="The AWS region. Default: what the AWS environment says (`AWS_REGION`, profile).",
    )
    ledger_table: str = Field(
        "headsaw-ledger",
        pattern=r"^[A-Za-z0-9_.-]{3,255}$",
        description="The DynamoDB table of files, batches and leases.",
    )
    ledger_retention: Duration = Field(
        90 * DAY,
        ge=QUEUE_RETENTION_SECONDS_MAX + DAY,
        le=3650 * DAY,
        description="How long the ledger remembers a file; `audit` and `backfill` refuse older objects. "
        "It must outlive every message, and SQS keeps them up to 14 days.",
    )
    control: S3Prefix = Field(
        description="Where commit records, spooled record messages and large table schemas are kept, "
        "outside of every source and destination."
    )
    quarantine: S3Prefix = Field(
        description="Where malformed lines are kept byte for byte, outside of every source and destination."
    )
    default_dataset: str | None = Field(
        None, description="The dataset of record messages without a `dataset` attribute. Default: they go to the DLQ."
    )
    datasets: tuple[DatasetSettings, ...] = Field(min_length=1, description="The streams to convert.")
    pollers: int = Field(4, ge=1, le=64, description="Concurrent long polls.")
    conversions: int = Field(
        default_factory=available_cpus,
        ge=1,
        le=256,
        description="Batches converted at a time, each in a thread. Default: the CPUs that the process may use.",
    )
    memory_bytes: Size = Field(
        ByteSize(256 * 1024**2), ge=16 * 1024**2, description="The memory that all conversions of a worker share."
    )
    visibility: Duration | None = Field(
        None,
        gt=0,
        le=VISIBILITY_SECONDS_MAX,
        description="How long SQS hides a received message; longer than any dataset's `batch.max_age`. "
        "Default: computed from the datasets.",
    )
    poll_wait: Duration = Field(
        20.0, le=20, description="How long a poll waits for messages; 20 s, the longest, makes the fewest requests."
    )
    attempts_max: int = Field(
        3, ge=1, le=100, description="Failures after which a batch is split, or a batch of one file is failed."
    )
    foreign_after: Duration = Field(
        3600.0,
        le=QUEUE_RETENTION_SECONDS_MAX - DAY,
        description="How old a notification for a prefix that no dataset names gets before it goes to the DLQ; "
        "until then another version of the configuration may know it.",
    )
    lease: LeaseSettings = Field(LeaseSettings(), description="How long a worker's right to a batch lasts.")
    drain: DrainSettings = Field(DrainSettings(), description="What happens at SIGTERM.")
    http: HttpSettings = Field(HttpSettings(), description="Where metrics and probes are served.")
    log: LogSettings = Field(LogSettings(), description="What is logged, and how.")
    spark: EngineSettings = Field(EngineSettings(), description="Where Spark runs that take large batches.")

    @property
    def visibility_seconds(self) -> float:
        """How long SQS hides a received message: for longer than any buffer may age, as nothing renews it."""
        oldest = max(dataset.batch.max_age for dataset in self.datasets)
        return self.visibility or min(oldest + CLAIM_MARGIN_SECONDS, VISIBILITY_SECONDS_MAX)

    @property
    def lease_seconds(self) -> float:
        """How long a lease lasts unless renewed."""
        return self.lease.length

    @property
    def drain_seconds(self) -> float:
        """How long work may go on after SIGTERM."""
        return self.drain.grace

    def dataset(self, name: str) -> DatasetSettings:
        """The dataset of that name; raises UsageError that names the known ones."""
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        names = [dataset.name for dataset in self.datasets]
        raise UsageError(f"dataset {name!r} is not configured ({closest(name, names) or 'known: ' + ', '.join(names)})")
