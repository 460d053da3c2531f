"""The whole story of one batch, or of one file, from the ledger, the commit record and the buckets."""

from collections.abc import Sequence
from dataclasses import dataclass

from headsaw.config import ServiceSettings
from headsaw.core.commit import TOKEN_METADATA, CommitRecord, PendingUpload
from headsaw.core.conversion import FileCounts
from headsaw.core.model import Batch, BatchId, BatchState, FileIdentity, FileRecord, Source
from headsaw.core.naming import report_name
from headsaw.core.settings import S3Prefix
from headsaw.errors import HeadsawError, ProtocolViolation
from headsaw.operate.site import Ports, each, iterated, load_record
from headsaw.ports import ObjectHead

LOOKUPS_AT_ONCE = 16
MESSAGE = "message:"


class NotFound(HeadsawError):  # noqa: N818 - what is told
    """Nobody knows of it."""


@dataclass(frozen=True, slots=True)
class Output:
    """An object of a commit record, and whether readers see it."""

    upload: PendingUpload
    visible: bool


@dataclass(frozen=True, slots=True)
class SourceStory:
    """One source in one batch: counted, rejected with a reason, or neither yet."""

    source: Source
    counts: FileCounts | None
    rejected: str | None


@dataclass(frozen=True, slots=True)
class BatchStory:
    """A batch. `record` is None before the commit point; `trouble` says why it can't be read after it.

    `reported`: the registered driver of its Spark run has written its report; a worker takes it at its next look.
    """

    batch: Batch
    sources: tuple[SourceStory, ...]
    record: CommitRecord | None
    trouble: str | None
    outputs: tuple[Output, ...]
    reported: bool = False


@dataclass(frozen=True, slots=True)
class VersionStory:
    """One version of a file: who claimed it first, which batch really has it, what became of it there."""

    record: FileRecord
    root: Batch | None
    holder: Batch | None
    story: SourceStory | None
    outputs: tuple[str, ...]
    trouble: str | None


@dataclass(frozen=True, slots=True)
class FileStory:
    """Every version of a file that the ledger remembers; `head` is the object as it is now, None if there is none."""

    name: str
    dataset: str | None
    head: ObjectHead | None
    versions: tuple[VersionStory, ...]


async def describe_batch(config: ServiceSettings, ports: Ports, batch_id: str) -> BatchStory:
    """Raises NotFound for an id that the ledger doesn't have."""
    batch = await ports.ledger.batch(BatchId(batch_id))
    if batch is None:
        raise NotFound(
            f"batch {batch_id}: the ledger {config.ledger_table} has no such batch; `headsaw batches` lists the newest "
            "ones, and finished ones are forgotten after the ledger's retention"
        )
    sources = await ports.ledger.sources(batch)
    record, trouble = await _record(config, ports, batch)
    outputs = await _outputs(ports, record) if record is not None else ()
    stories = tuple(_source_story(source, index, record) for index, source in enumerate(sources))
    return BatchStory(batch, stories, record, trouble, outputs, await _reported(config, ports, batch))


async def _reported(config: ServiceSettings, ports: Ports, batch: Batch) -> bool:
    if batch.run is None or batch.run.driver is None:
        return False
    key = config.control.key(report_name(batch.id, batch.attempt, batch.run.driver))
    return await ports.store.head(config.control.bucket, key) is not None


async def describe_file(config: ServiceSettings, ports: Ports, place: S3Prefix) -> FileStory:
    """Raises NotFound for a file that is neither in the ledger nor in its bucket."""
    scope = f"{place.bucket}/{place.prefix}"
    versions = [await _version(config, ports, record) async for record in ports.ledger.files(scope)]
    head = await ports.store.head(place.bucket, place.prefix)
    dataset = next((d.name for d in config.datasets if d.source.contains(place)), None)
    if not versions and head is None:
        raise NotFound(
            f"{place}: neither the ledger {config.ledger_table} nor the bucket has it; check bucket and key (as they "
            "are, not URL-encoded)"
        )
    return FileStory(str(place), dataset, head, tuple(versions))


async def describe_message(config: ServiceSettings, ports: Ports, message_id: str) -> FileStory:
    """The same for a record message, by its SQS message id."""
    versions = [await _version(config, ports, record) async for record in ports.ledger.files(f"message/{message_id}")]
    if not versions:
        raise NotFound(f"message {message_id}: the ledger {config.ledger_table} has no such record message")
    return FileStory(f"{MESSAGE}{message_id}", None, None, tuple(versions))


async def _version(config: ServiceSettings, ports: Ports, record: FileRecord) -> VersionStory:
    root = await ports.ledger.batch(record.batch)
    if root is None:
        return VersionStory(record, None, None, None, (), "the ledger has nothing of the batch that claimed it")
    position = _position(await ports.ledger.sources(root), record.identity)
    if position is None:
        return VersionStory(record, root, None, None, (), "the batch that claimed it doesn't list it")
    holder = await find_holder(ports, root, root.span.start + position)
    commit, trouble = await _record(config, ports, holder)
    index = root.span.start + position - holder.span.start
    source = (await ports.ledger.sources(holder))[index]
    story = _source_story(source, index, commit)
    outputs = tuple(f"s3://{u.bucket}/{u.key}" for u in commit.uploads) if commit is not None and story.counts else ()
    return VersionStory(record, root, holder, story, outputs, trouble)


def _position(sources: Sequence[Source], identity: FileIdentity) -> int | None:
    return next((index for index, source in enumerate(sources) if source.identity == identity), None)


async def find_holder(ports: Ports, root: Batch, position: int) -> Batch:
    """The batch that isn't SPLIT and holds the root's source at `position`, through children and theirs."""
    batch = root
    while batch.state is BatchState.SPLIT:
        for child_id in batch.children:
            child = await ports.ledger.batch(child_id)
            if child is not None and child.span.start <= position < child.span.stop:
                batch = child
                break
        else:
            raise ProtocolViolation(f"batch {batch.id} is SPLIT, and no child holds source {position}")
    return batch


async def _record(config: ServiceSettings, ports: Ports, batch: Batch) -> tuple[CommitRecord | None, str | None]:
    if batch.commit is None:
        return None, None
    try:
        return await load_record(ports.store, config.control, batch), None
    except ProtocolViolation as error:
        return None, str(error)


def _source_story(source: Source, index: int, record: CommitRecord | None) -> SourceStory:
    if record is None:
        return SourceStory(source, None, None)
    for rejected in record.rejected:
        if rejected.index == index:
            detail = f": {rejected.detail}" if rejected.detail else ""
            return SourceStory(source, None, f"{rejected.reason.value}{detail}")
    return SourceStory(source, record.files.get(index), None)


async def _outputs(ports: Ports, record: CommitRecord) -> tuple[Output, ...]:
    visible: dict[PendingUpload, bool] = {}

    async def look(upload: PendingUpload) -> None:
        head = await ports.store.head(upload.bucket, upload.key)
        visible[upload] = (
            head is not None and head.size == upload.size and head.metadata.get(TOKEN_METADATA) == upload.token
        )

    await each(iterated(record.uploads), LOOKUPS_AT_ONCE, look)
    return tuple(Output(upload, visible[upload]) for upload in record.uploads)
