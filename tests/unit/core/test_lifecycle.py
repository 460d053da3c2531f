from dataclasses import replace

import pytest

from headsaw.core import lifecycle
from headsaw.core.lifecycle import (
    Amend,
    Commit,
    Delegate,
    Event,
    Fail,
    Finish,
    Fission,
    GiveUp,
    IllegalTransition,
    Release,
    Renew,
    Retry,
    Seal,
    Start,
    Take,
    Wait,
    advance,
)
from headsaw.core.model import (
    Batch,
    BatchId,
    BatchState,
    CommitPointer,
    DatasetName,
    Lease,
    SettingsHash,
    SourceSpan,
    WorkerId,
)

S = BatchState
POINTER = CommitPointer("commits/b/1-1.json", "00")
EVENTS: list[Event] = [
    Seal(),
    Start(),
    Delegate("glue", 5.0, "large"),
    Wait(8.0, "jr_1"),
    Commit(POINTER, 7, 1),
    Amend(CommitPointer("commits/b/3-4-repair.json", "11"), 7, 1),
    Finish(9.0),
    Release(8.0),
    Fail(8.0, "bad"),
    GiveUp("bad"),
    Fission((BatchId("x"), BatchId("y")), 9.0),
    Take(WorkerId("other"), 99.0),
    Renew(50.0),
    Retry(8.0),
]


def batch(state: BatchState = S.READY, files: int = 4) -> Batch:
    return Batch(
        id=BatchId("b"),
        dataset=DatasetName("clicks"),
        settings=SettingsHash("h"),
        state=state,
        span=SourceSpan(BatchId("b"), 0, files),
        bytes=400,
        chunks=1,
        created_at=1.0,
        lease=Lease(WorkerId("me"), 3, 10.0),
        attempt=2,
        due_at=10.0,
    )


def test_a_batch_goes_from_claim_to_done_in_four_steps() -> None:
    b = batch()
    for event, state in [(Start(), S.RUNNING), (Commit(POINTER, 7, 1), S.PUBLISHING), (Finish(9.0), S.DONE)]:
        b = advance(b, event)
        assert b.state is state
    assert (b.attempt, b.lease.owner, b.due_at, b.commit, b.finished_at) == (2, None, None, POINTER, 9.0)


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_an_illegal_event_raises_and_a_legal_one_never_touches_identity(state: BatchState, event: Event) -> None:
    before = batch(state)
    try:
        after = advance(before, event)
    except IllegalTransition:
        assert before == batch(state)
        return
    assert (after.id, after.span, after.created_at, after.settings) == (
        before.id,
        before.span,
        before.created_at,
        before.settings,
    )
    assert after.lease.epoch >= before.lease.epoch
    assert after.attempt >= before.attempt


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("state", [S.DONE, S.SPLIT])
def test_nothing_leaves_a_terminal_state(state: BatchState, event: Event) -> None:
    with pytest.raises(IllegalTransition):
        advance(batch(state), event)


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_a_committed_batch_only_rolls_forward(event: Event) -> None:
    before = replace(batch(S.PUBLISHING), commit=POINTER)
    try:
        after = advance(before, event)
    except IllegalTransition:
        return
    assert after.state in (S.PUBLISHING, S.DONE)
    if not isinstance(event, Amend):
        assert (after.commit, after.attempt) == (POINTER, before.attempt)


def test_an_amended_batch_has_another_commit_and_output_names_and_keeps_its_lease() -> None:
    before = replace(batch(S.PUBLISHING), commit=POINTER, rows=9, reason="2 uploads are gone")
    after = advance(before, Amend(CommitPointer("commits/b/3-4-repair.json", "11"), 7, 5))
    assert (after.state, after.attempt, after.lease) == (S.PUBLISHING, 3, before.lease)
    assert (after.commit, after.rows, after.schema_version, after.reason) == (
        CommitPointer("commits/b/3-4-repair.json", "11"),
        7,
        5,
        None,
    )


@pytest.mark.parametrize("state", [state for state in S if state is not S.PUBLISHING])
def test_only_a_publishing_batch_can_be_amended(state: BatchState) -> None:
    with pytest.raises(IllegalTransition):
        advance(batch(state), Amend(POINTER, 7, 1))


@pytest.mark.parametrize("state", list(S))
def test_every_takeover_raises_the_fencing_token(state: BatchState) -> None:
    if state.terminal:
        return
    taken = advance(batch(state), Take(WorkerId("other"), 99.0))
    assert (taken.lease.epoch, taken.lease.owner, taken.due_at) == (4, "other", 99.0)


def test_taking_over_a_running_batch_rolls_it_back_and_counts_a_failure() -> None:
    taken = advance(batch(S.RUNNING), Take(WorkerId("other"), 99.0))
    assert (taken.state, taken.attempt, taken.failures) == (S.READY, 3, 1)


def test_taking_over_a_ready_batch_counts_nothing() -> None:
    taken = advance(batch(S.READY), Take(WorkerId("other"), 99.0))
    assert (taken.state, taken.attempt, taken.failures) == (S.READY, 2, 0)


@pytest.mark.parametrize("state", [S.RUNNING, S.DELEGATED])
def test_an_outage_raises_the_attempt_but_counts_no_failure(state: BatchState) -> None:
    released = advance(batch(state), Release(20.0, "outage"))
    assert (released.state, released.attempt, released.failures, released.due_at) == (S.READY, 3, 0, 20.0)
    assert released.lease == Lease(None, 3, 0.0)


def test_an_open_batch_that_is_taken_over_is_sealed_as_it_stands() -> None:
    assert advance(batch(S.OPEN), Take(WorkerId("other"), 99.0)).state is S.READY


def test_the_children_of_a_split_cover_the_parents_files_once() -> None:
    parent = replace(batch(files=5), span=SourceSpan(BatchId("root"), 10, 15), failures=3)
    ended, left, right = lifecycle.split(parent, (BatchId("x"), BatchId("y")), 7.0, failures=0)
    assert (ended.state, ended.children, ended.due_at) == (S.SPLIT, ("x", "y"), None)
    assert (left.span, right.span) == (SourceSpan(BatchId("root"), 10, 12), SourceSpan(BatchId("root"), 12, 15))
    assert all((c.state, c.failures, c.attempt, c.due_at) == (S.READY, 0, 1, 7.0) for c in (left, right))


def test_a_half_of_several_files_has_one_attempt_and_a_single_file_starts_afresh() -> None:
    parent = replace(batch(files=3), failures=3)
    _, single, pair = lifecycle.split(parent, (BatchId("x"), BatchId("y")), 7.0, failures=2)
    assert (single.files, single.failures) == (1, 0)
    assert (pair.files, pair.failures) == (2, 2)


def test_a_single_file_cannot_be_split() -> None:
    with pytest.raises(IllegalTransition):
        lifecycle.split(batch(files=1), (BatchId("x"), BatchId("y")), 7.0, failures=0)


def test_a_retried_batch_starts_afresh_under_new_output_names() -> None:
    retried = advance(replace(batch(S.FAILED), failures=3, finished_at=5.0), Retry(8.0))
    assert (retried.state, retried.failures, retried.attempt, retried.finished_at) == (S.READY, 0, 3, None)
