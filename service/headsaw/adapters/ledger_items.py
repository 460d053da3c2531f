"""How the ledger's items look: the only place that knows attribute names.

    pk                     sk           what
    file#<scope>           <version>    one source: which root batch has it, or why it may be claimed again
    batch#<id>             batch        the batch (under 1 KB); due_shard and due_at while unfinished
    batch#<id>             chunk#NNNNN  up to 98 sources, in order; immutable
    schema#<dataset>       head         the newest table schema, whole
    schema#<dataset>       vNNNNNN      what a version added
    settings#<hash>        settings     a configuration snapshot

Every item carries `format`; TTL in `expires_at` (Unix seconds).
"""

import json
import zlib
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from headsaw.adapters.table import Absent, Condition, Either, Equals, Item, Key, Put, Update, Value
from headsaw.core.commit import decode_source, encode_source
from headsaw.core.model import (
    FORMAT,
    Batch,
    BatchId,
    BatchState,
    CommitPointer,
    DatasetName,
    FileIdentity,
    FileMark,
    FileRecord,
    Lease,
    SettingsHash,
    Source,
    SourceSpan,
    SparkRun,
    WorkerId,
)
from headsaw.errors import ProtocolViolation
from headsaw.ports import DUE_SHARDS

BATCH = "batch"
REASON_CHARS_MAX = 300
ROUTE_CHARS_MAX = 160

REGISTRATION = ("driver", "driver_run")
"""What a Spark driver writes beside the batch's holder, who never changes it but by rolling the attempt back."""


def file_key(identity: FileIdentity) -> Key:
    """Where the item of a source stands."""
    return Key(f"file#{identity.scope}", identity.version)


def batch_key(batch_id: BatchId) -> Key:
    """Where a batch stands."""
    return Key(f"batch#{batch_id}", BATCH)


def chunk_key(batch_id: BatchId, number: int) -> Key:
    """Where the number-th chunk of a root batch stands."""
    return Key(f"batch#{batch_id}", f"chunk#{number:05d}")


def due_shard(batch_id: BatchId) -> int:
    """The shard of the due index that a batch is in, for life."""
    return crc32(batch_id.encode()) % DUE_SHARDS


CLAIMABLE: Condition = Either((Absent(), Equals({"mark": FileMark.REJECTED}), Equals({"mark": FileMark.FAILED})))
"""A source nobody has, or whose last owner rejected or failed it."""


def put_file(source: Source, batch: Batch, retention_seconds: float) -> Put:
    """The claim of one source."""
    key = file_key(source.identity)
    item: dict[str, Value] = {
        "pk": key.pk,
        "sk": key.sk,
        "format": FORMAT,
        "batch": batch.span.root,
        "at": _time(batch.created_at),
        "expires_at": int(batch.created_at + retention_seconds),
    }
    return Put(item, CLAIMABLE)


def read_file(item: Item) -> FileRecord:
    """The record in a file item."""
    mark = item.get("mark")
    return FileRecord(
        identity=FileIdentity(str(item["pk"]).removeprefix("file#"), str(item["sk"])),
        batch=BatchId(str(item["batch"])),
        claimed_at=float(_number(item["at"])),
        mark=FileMark(str(mark)) if mark is not None else None,
        reason=_optional_text(item, "reason"),
    )


def put_chunk(batch_id: BatchId, number: int, sources: Sequence[Source], expires_at: int) -> Put:
    """An immutable list of sources, compressed: keys of one prefix shrink to a few bytes each."""
    key = chunk_key(batch_id, number)
    return Put(
        {
            "pk": key.pk,
            "sk": key.sk,
            "format": FORMAT,
            "sources": compress([encode_source(source) for source in sources]),
            "expires_at": expires_at,
        },
        Absent(),
    )


def read_chunk(item: Item) -> tuple[Source, ...]:
    """The sources of a chunk item, in order."""
    return tuple(decode_source(fields) for fields in decompress(item["sources"]))


def batch_attributes(batch: Batch, retention_seconds: float) -> dict[str, Value]:
    """The batch's attributes but the key; absent where None."""
    commit, run = batch.commit, batch.run
    optional: dict[str, Value | None] = {
        "lease_owner": batch.lease.owner,
        "due_shard": str(due_shard(batch.id)) if batch.due_at is not None else None,
        "due_at": _time(batch.due_at) if batch.due_at is not None else None,
        "commit_key": commit.key if commit else None,
        "commit_sha256": commit.sha256 if commit else None,
        "parent": batch.parent,
        "children": tuple(batch.children) or None,
        "reason": batch.reason[:REASON_CHARS_MAX] if batch.reason else None,
        "finished_at": _time(batch.finished_at) if batch.finished_at is not None else None,
        "rows": batch.rows,
        "route": batch.route[:ROUTE_CHARS_MAX] if batch.route else None,
        "run_engine": run.engine if run else None,
        "run_since": _time(run.since) if run else None,
        "run_id": run.id if run else None,
        "driver": run.driver if run else None,
        "driver_run": run.driver_run if run else None,
        "expires_at": int(batch.finished_at + retention_seconds) if batch.finished_at is not None else None,
    }
    return {
        "format": FORMAT,
        "dataset": batch.dataset,
        "settings": batch.settings,
        "state": batch.state.value,
        "root": batch.span.root,
        "start": batch.span.start,
        "stop": batch.span.stop,
        "bytes": batch.bytes,
        "chunks": batch.chunks,
        "created_at": _time(batch.created_at),
        "lease_epoch": batch.lease.epoch,
        "lease_until": _time(batch.lease.until),
        "attempt": batch.attempt,
        "failures": batch.failures,
        "schema_version": batch.schema_version,
        **{name: value for name, value in optional.items() if value is not None},
    }


def put_batch(batch: Batch, retention_seconds: float) -> Put:
    """A batch that doesn't exist yet."""
    key = batch_key(batch.id)
    return Put({"pk": key.pk, "sk": key.sk, **batch_attributes(batch, retention_seconds)}, Absent())


def update_batch(before: Batch, after: Batch, retention_seconds: float) -> Update:
    """The difference, on the condition that nobody else has advanced the batch since `before`."""
    old, new = batch_attributes(before, retention_seconds), batch_attributes(after, retention_seconds)
    gone = {name: None for name in old if name not in new}
    if before.run is not None and after.run is None:  # a driver may have registered since `before` was read
        gone |= dict.fromkeys(REGISTRATION)
    return Update(
        batch_key(before.id),
        set={name: value for name, value in new.items() if old.get(name) != value},
        remove=tuple(gone),
        condition=fence(before),
    )


def register_driver(batch_id: BatchId, attempt: int, driver: str, run_id: str | None) -> Update:
    """The driver is the attempt's, if the batch waits for that attempt's run and no other driver was first."""
    here: dict[str, Value | None] = {"state": BatchState.DELEGATED.value, "attempt": attempt}
    return Update(
        batch_key(batch_id),
        set={"driver": driver} | ({"driver_run": run_id} if run_id else {}),
        remove=(),
        condition=Either((Equals({**here, "driver": None}), Equals({**here, "driver": driver}))),
    )


def fence(batch: Batch) -> Equals:
    """What makes a write of this batch's holder valid: the lease_epoch above all."""
    return Equals(
        {
            "state": batch.state.value,
            "lease_epoch": batch.lease.epoch,
            "lease_owner": batch.lease.owner,
            "attempt": batch.attempt,
            "chunks": batch.chunks,
        }
    )


def read_batch(item: Item) -> Batch:
    """The batch in an item; raises ProtocolViolation for a newer format, which is left alone."""
    if item["format"] != FORMAT:
        raise ProtocolViolation(f"batch item {item['pk']!r} has format {item['format']!r}, newer than this worker")
    due_at, finished_at, rows = item.get("due_at"), item.get("finished_at"), item.get("rows")
    owner, parent = _optional_text(item, "lease_owner"), _optional_text(item, "parent")
    return Batch(
        id=BatchId(str(item["pk"]).removeprefix("batch#")),
        dataset=DatasetName(str(item["dataset"])),
        settings=SettingsHash(str(item["settings"])),
        state=BatchState(str(item["state"])),
        span=SourceSpan(BatchId(str(item["root"])), int(_number(item["start"])), int(_number(item["stop"]))),
        bytes=int(_number(item["bytes"])),
        chunks=int(_number(item["chunks"])),
        created_at=float(_number(item["created_at"])),
        lease=Lease(
            WorkerId(owner) if owner else None,
            int(_number(item["lease_epoch"])),
            float(_number(item["lease_until"])),
        ),
        attempt=int(_number(item["attempt"])),
        failures=int(_number(item["failures"])),
        due_at=float(_number(due_at)) if due_at is not None else None,
        schema_version=int(_number(item["schema_version"])),
        commit=CommitPointer(str(item["commit_key"]), str(item["commit_sha256"])) if "commit_key" in item else None,
        parent=BatchId(parent) if parent else None,
        children=tuple(BatchId(child) for child in _texts(item.get("children"))),
        reason=_optional_text(item, "reason"),
        finished_at=float(_number(finished_at)) if finished_at is not None else None,
        rows=int(_number(rows)) if rows is not None else None,
        run=_read_run(item),
        route=_optional_text(item, "route"),
    )


def _read_run(item: Item) -> SparkRun | None:
    engine = _optional_text(item, "run_engine")
    if engine is None:
        return None
    since, driver = float(_number(item["run_since"])), _optional_text(item, "driver")
    return SparkRun(engine, since, _optional_text(item, "run_id"), driver, _optional_text(item, "driver_run"))


def compress(document: Any) -> bytes:
    """JSON, deflated."""
    return zlib.compress(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(), 6)


def decompress(value: Value) -> Any:
    """What `compress` packed."""
    if not isinstance(value, bytes):
        raise ProtocolViolation("a compressed attribute that isn't binary")
    return json.loads(zlib.decompress(value))


def _time(seconds: float) -> float:
    """Milliseconds are kept."""
    return round(seconds, 3)


def _number(value: Value) -> int | float:
    if isinstance(value, int | float):
        return value
    raise ProtocolViolation(f"{value!r} isn't a number")


def _optional_text(item: Item, name: str) -> str | None:
    value = item.get(name)
    return str(value) if value is not None else None


def _texts(value: Value | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()
