"""The life of a batch as a transition table: what may happen in which state, and the batch afterwards.

    OPEN ─▶ READY ─▶ RUNNING ───┬─▶ PUBLISHING ─▶ DONE        (from PUBLISHING on: roll forward only)
                └─▶ DELEGATED ──┘
    RUNNING or DELEGATED ─▶ READY with attempt + 1            (before it: roll back only)
    PUBLISHING ─▶ PUBLISHING with attempt + 1                 (an operator's repair: another commit record)
    READY, attempts exhausted ─▶ SPLIT   (parent terminal, two children)
                              └▶ FAILING ─▶ FAILED            (single file)

`advance` is the only way from one `Batch` value to the next; the ledger then writes the difference on the condition
that state, lease_epoch, attempt and owner are still those of the value it came from. An event that the table doesn't
know raises and changes nothing.
"""

from dataclasses import dataclass, replace

from headsaw.core.model import Batch, BatchId, BatchState, CommitPointer, Lease, SourceSpan, SparkRun, WorkerId

S = BatchState


class IllegalTransition(Exception):  # noqa: N818 - the state machine's usual word
    """The event isn't possible in this state; nothing changed."""


@dataclass(frozen=True, slots=True)
class Seal:
    """The holder has gathered enough: an OPEN batch becomes READY."""


@dataclass(frozen=True, slots=True)
class Start:
    """The holder begins to convert inline; `route` says why there, for people."""

    route: str | None = None


@dataclass(frozen=True, slots=True)
class Delegate:
    """The holder records its intent to start a Spark run on that engine. It keeps the lease until the run has an id."""

    engine: str
    since: float
    route: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Spark is at work, and the batch needs nobody until `poll_at`. `run_id` is recorded if it is new."""

    poll_at: float
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The commit point: this commit record is the batch's result."""

    pointer: CommitPointer
    rows: int
    schema_version: int


@dataclass(frozen=True, slots=True)
class Amend:
    """The operator's turn: uploads of the accepted commit are gone, and this record takes its place, whole."""

    pointer: CommitPointer
    rows: int
    schema_version: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything that the commit record promises is done."""

    now: float


@dataclass(frozen=True, slots=True)
class Release:
    """The holder gives the batch back, nothing being wrong with its data; it is due again at `due_at`."""

    due_at: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The data made the attempt fail: one failure more, due again at `due_at`."""

    due_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Attempts are exhausted down to a single file."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fission:
    """Attempts are exhausted: the parent ends, `children` carry on with a half of its files each."""

    children: tuple[BatchId, BatchId]
    now: float


@dataclass(frozen=True, slots=True)
class Take:
    """Somebody takes over a batch whose lease ended; the epoch rises, what was left half done rolls back."""

    owner: WorkerId
    until: float


@dataclass(frozen=True, slots=True)
class Renew:
    """The holder's lease lasts longer."""

    until: float


@dataclass(frozen=True, slots=True)
class Retry:
    """The operator's turn: a FAILED batch starts afresh."""

    due_at: float


Event = (
    Seal | Start | Delegate | Wait | Commit | Amend | Finish | Release | Fail | GiveUp | Fission | Take | Renew | Retry
)

_TABLE: dict[tuple[BatchState, type[Event]], BatchState] = {
    (S.OPEN, Seal): S.READY,
    (S.OPEN, Take): S.READY,  # sealed as it stands
    (S.OPEN, Release): S.READY,
    (S.OPEN, Renew): S.OPEN,
    (S.READY, Start): S.RUNNING,
    (S.READY, Delegate): S.DELEGATED,
    (S.READY, Take): S.READY,
    (S.READY, Renew): S.READY,
    (S.READY, Release): S.READY,
    (S.READY, Fission): S.SPLIT,
    (S.READY, GiveUp): S.FAILING,
    (S.RUNNING, Renew): S.RUNNING,
    (S.RUNNING, Commit): S.PUBLISHING,
    (S.RUNNING, Release): S.READY,
    (S.RUNNING, Fail): S.READY,
    (S.RUNNING, Take): S.READY,  # its process died or lost touch: rolled back, counted as a failure
    (S.DELEGATED, Take): S.DELEGATED,
    (S.DELEGATED, Renew): S.DELEGATED,
    (S.DELEGATED, Wait): S.DELEGATED,  # started, or polled: due again later
    (S.DELEGATED, Commit): S.PUBLISHING,
    (S.DELEGATED, Release): S.READY,
    (S.DELEGATED, Fail): S.READY,
    (S.PUBLISHING, Take): S.PUBLISHING,
    (S.PUBLISHING, Renew): S.PUBLISHING,
    (S.PUBLISHING, Release): S.PUBLISHING,
    (S.PUBLISHING, Amend): S.PUBLISHING,
    (S.PUBLISHING, Finish): S.DONE,
    (S.FAILING, Take): S.FAILING,
    (S.FAILING, Renew): S.FAILING,
    (S.FAILING, Release): S.FAILING,
    (S.FAILING, Finish): S.FAILED,
    (S.FAILED, Retry): S.READY,
}

_ROLLS_BACK = frozenset({S.RUNNING, S.DELEGATED})


def advance(batch: Batch, event: Event) -> Batch:
    """The batch after `event`; raises IllegalTransition where the table has no such arrow."""
    target = _TABLE.get((batch.state, type(event)))
    if target is None:
        raise IllegalTransition(f"{type(event).__name__} in {batch.state} (batch {batch.id})")
    moved = replace(batch, state=target)
    if target is S.READY and batch.state in _ROLLS_BACK:
        moved = replace(moved, attempt=batch.attempt + 1, run=None)
    return _applied(moved, event, came_from=batch.state)


def _applied(batch: Batch, event: Event, came_from: BatchState) -> Batch:
    """The event's own fields, on a batch that already is in its next state."""
    match event:
        case Seal():
            return batch
        case Start(route):
            return replace(batch, route=route)
        case Delegate(engine, since, route):
            return replace(batch, route=route, run=SparkRun(engine, since))
        case Take() | Renew():
            return _leased(batch, event, died=came_from is S.RUNNING)
        case Commit(pointer, rows, schema_version):
            return replace(batch, commit=pointer, rows=rows, schema_version=schema_version, reason=None)
        case Amend(pointer, rows, schema_version):
            amended = replace(batch, commit=pointer, rows=rows, schema_version=schema_version, reason=None)
            return replace(amended, attempt=batch.attempt + 1)  # names the new outputs
        case GiveUp(reason):
            return replace(batch, reason=reason)
        case _:
            return _unleased(batch, event)


def _leased(batch: Batch, event: Take | Renew, *, died: bool) -> Batch:
    """With a longer lease, or a new holder's; a RUNNING batch that had to be taken over has failed once more."""
    match event:
        case Renew(until):
            return replace(batch, lease=replace(batch.lease, until=until), due_at=until)
        case Take(owner, until) if died:
            reason = "the worker that converted it died or lost touch"
            lease = Lease(owner, batch.lease.epoch + 1, until)
            return replace(batch, lease=lease, due_at=until, failures=batch.failures + 1, reason=reason)
        case Take(owner, until):
            return replace(batch, lease=Lease(owner, batch.lease.epoch + 1, until), due_at=until)


def _unleased(batch: Batch, event: Wait | Release | Fail | Fission | Finish | Retry) -> Batch:
    """Nobody's, and due again when the event says; never, if it is over."""
    match event:
        case Wait(poll_at, run_id):
            return _ownerless(_with_run_id(batch, run_id), poll_at)
        case Release(due_at, reason):
            told = batch.reason if _failing(batch) else reason or batch.reason
            return replace(_ownerless(batch, due_at), reason=told)
        case Fail(due_at, reason):
            return replace(_ownerless(batch, due_at), failures=batch.failures + 1, reason=reason)
        case Fission(children, now):
            return replace(_ownerless(batch, None), children=children, finished_at=now)
        case Finish(now):
            return replace(_ownerless(batch, None), finished_at=now)
        case Retry(due_at):
            fresh = replace(_ownerless(batch, due_at), attempt=batch.attempt + 1, failures=0, run=None)
            return replace(fresh, finished_at=None, reason=None)


def _with_run_id(batch: Batch, run_id: str | None) -> Batch:
    if run_id is None or batch.run is None:
        return batch
    return replace(batch, run=replace(batch.run, id=run_id))


def _failing(batch: Batch) -> bool:
    """Its reason is why its data failed, which its dead letters will say, whatever delays them."""
    return batch.failures > 0 and batch.state is not S.PUBLISHING


def _ownerless(batch: Batch, due_at: float | None) -> Batch:
    return replace(batch, lease=Lease(None, batch.lease.epoch, 0.0), due_at=due_at)


def split(parent: Batch, ids: tuple[BatchId, BatchId], now: float, *, failures: int) -> tuple[Batch, Batch, Batch]:
    """The SPLIT parent and its two READY children, each with about half of the files, due at once and unowned.

    A child of several files has failed `failures` times already, so that it needn't fail as often as its parent did
    before it is split in turn. A single file starts afresh: it is given up only after attempts of its own.
    """
    middle = parent.span.start + parent.files // 2
    if not parent.span.start < middle < parent.span.stop:
        raise IllegalTransition(f"a batch of {parent.files} file can't be split (batch {parent.id})")
    ended = advance(parent, Fission(ids, now))

    def child(batch_id: BatchId, start: int, stop: int) -> Batch:
        return replace(
            parent,
            id=batch_id,
            state=S.READY,
            span=SourceSpan(parent.span.root, start, stop),
            bytes=parent.bytes * (stop - start) // parent.files,
            lease=Lease(None, 0, 0.0),
            attempt=1,
            failures=failures if stop - start > 1 else 0,
            due_at=now,
            created_at=now,
            parent=parent.id,
            children=(),
            reason=None,
            run=None,
            route=None,
        )

    return ended, child(ids[0], parent.span.start, middle), child(ids[1], middle, parent.span.stop)
