"""What a driver asks of its tasks and what they answer: values that travel between processes."""

from dataclasses import dataclass

from headsaw.core.commit import PendingUpload
from headsaw.core.conversion import FileCounts, Notice, Rejection
from headsaw.core.delegation import Trouble
from headsaw.core.inference import NODES_MAX, Seen
from headsaw.core.model import Batch, Source
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.core.splits import Found, Portion, Split
from headsaw.core.table_schema import TableSchema
from headsaw.spark.reach import Site


@dataclass(frozen=True, slots=True)
class Work:
    """What all tasks of a run have in common. `probes` are some of the batch's sources, to tell a forbidden one."""

    site: Site
    batch: Batch
    settings: DatasetSettings
    quarantine: S3Prefix
    ingested_at: float
    probes: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Do what every task needs, and nothing else: come to life, connect, parse a line."""


@dataclass(frozen=True, slots=True)
class Look:
    """Find where the lines of a range begin and, given a `schema`, what the split holds beyond it.

    `sources` are those of the split, in its order; here and in Convert. `nodes_max` bounds what is told of the latter.
    """

    split: Split
    sources: tuple[Source, ...]
    schema: TableSchema | None
    nodes_max: int = NODES_MAX


@dataclass(frozen=True, slots=True)
class Convert:
    """Convert these lines into pending uploads."""

    portion: Portion
    sources: tuple[Source, ...]


Task = Rehearse | Look | Convert


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The cluster can do the job; with which `parser`, it says."""

    parser: str
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Looked:
    """`found` is None for whole sources. A `rejection` is of a range's source, which can't be read."""

    found: Found | None
    rejection: Rejection | None
    seen: Seen
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Converted:
    """One conversion's part of the batch's report, in the batch's indexes; a run of lines counts only its own."""

    files: dict[int, FileCounts]
    rejections: tuple[Rejection, ...]
    uploads: tuple[PendingUpload, ...]
    schema_version: int
    rescued_values: int
    bytes_in: int
    oldest_upload_at: float
    cpu_seconds: float
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """The task has no result, and its uploads are aborted. The reason holds nothing of any record."""

    trouble: Trouble
    reason: str
    cpu_seconds: float


Outcome = Rehearsed | Looked | Converted | Failed
