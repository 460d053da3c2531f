"""Ways to be wrong that must not go unnoticed: each replaces one named function of the product while seeds run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from headsaw.adapters import ledger_items
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.table import Absent, Always, Cancelled, ConditionFailed, Equals, Reason, Update, Written
from headsaw.core.delegation import read_report
from headsaw.core.model import Batch, BatchState, FileMark
from headsaw.core.naming import report_name
from headsaw.errors import LeaseLost, Outage
from headsaw.ports import Accepted, Refused
from headsaw.worker.delegation import Delegation
from headsaw.worker.inboxes import Inboxes
from headsaw.worker.outcomes import commit_record
from headsaw.worker.publisher import UploadPublisher, dispose
from headsaw.worker.recovery import Recovery
from headsaw.worker.runner import Runner

Make = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`owner.name` becomes what `make` makes of the original. `seeds` is where to look first, `by` what catches it."""

    name: str
    owner: Any
    attribute: str
    make: Make
    start: int
    guarantees: frozenset[str]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product is wrong in this one way, until the block ends."""
        original = getattr(self.owner, self.attribute)
        setattr(self.owner, self.attribute, self.make(original))
        try:
            yield
        finally:
            setattr(self.owner, self.attribute, original)


def _commit_on_state_alone(original: Any) -> Any:
    def update(before: Batch, after: Batch, retention_seconds: float) -> Update:
        made: Update = original(before, after, retention_seconds)
        if after.state is BatchState.PUBLISHING and before.state is BatchState.RUNNING:
            return Update(made.key, made.set, made.remove, Equals({"state": before.state.value}))
        return made

    return update


def _state_alone(_: Any) -> Any:
    return lambda batch: Equals({"state": batch.state.value})


def _acknowledge_first(original: Any) -> Any:
    async def claim(self: Inboxes, settings: Any, entries: Any, cause: Any) -> None:
        await self._settling._delete([delivery for entry in entries for delivery in entry.receipts])
        await original(self, settings, entries, cause)

    return claim


def _publish_first(original: Any) -> Any:
    async def commit(self: Runner, held: Any, settings: Any, sources: Any, converted: Any) -> Any:
        await self._context.world.publisher.publish(commit_record(held.batch, settings, sources, converted))
        return await original(self, held, settings, sources, converted)

    return commit


def _one_by_one(original: Any) -> Any:
    async def transact(self: TableLedger, writes: Any) -> Written | Cancelled:
        if isinstance(writes[0], Update):
            return await original(self, writes)  # type: ignore[no-any-return]
        reasons = []
        for write in writes:
            result = await self._table.write(write)
            failed = isinstance(result, ConditionFailed)
            reasons.append((Reason.CONDITION, result.old) if failed else (Reason.NONE, None))  # type: ignore[union-attr]
        return Cancelled(tuple(reasons)) if any(reason is Reason.CONDITION for reason, _ in reasons) else Written()

    return transact


def _trust_the_timer(_: Any) -> Any:
    """Whoever sees that a lease ended takes the batch; whoever sees that its own lasts may write."""

    async def apply(self: TableLedger, before: Batch, after: Batch) -> Any:
        now = self._clock.now()
        taking = after.lease.owner is not None and after.lease.owner != before.lease.owner
        if not taking and before.lease.until <= now:
            return Refused(await self.batch(before.id))
        fence, ledger_items.fence = ledger_items.fence, lambda _: Always()  # type: ignore[assignment]
        update = ledger_items.update_batch(before, after, self._retention)
        ledger_items.fence = fence
        await self._patiently(lambda: self._table.write(update))
        return Accepted(after)

    return apply


def _never_roll_forward(original: Any) -> Any:
    return lambda self, batch: batch.state is not BatchState.PUBLISHING and original(self, batch)


def _abort_if_unanswered(original: Any) -> Any:
    async def commit(self: Runner, held: Any, settings: Any, sources: Any, converted: Any) -> Any:
        try:
            return await original(self, held, settings, sources, converted)
        except Outage:
            await self._context.world.converter.discard(converted)
            raise

    return commit


def _discard_own_commit(original: Any) -> Any:
    async def commit(self: Runner, held: Any, settings: Any, sources: Any, converted: Any) -> Any:
        try:
            return await original(self, held, settings, sources, converted)
        except LeaseLost:
            await self._context.world.converter.discard(converted)
            raise

    return commit


def _gone_is_done(_: Any) -> Any:
    async def complete(self: UploadPublisher, upload: Any) -> bool:
        await self._store.complete_upload(upload)
        return True

    return complete


def _letters_first(original: Any) -> Any:
    async def commit(self: Runner, held: Any, settings: Any, sources: Any, converted: Any) -> Any:
        for rejected in converted.report.rejections:
            source, reason = sources[rejected.index], rejected.reason.value
            await dispose(self._context, held.batch, rejected.index, source, FileMark.REJECTED, reason)
        return await original(self, held, settings, sources, converted)

    return commit


def _whoever_comes(_: Any) -> Any:
    return lambda batch, attempt, driver, run_id: _registration(batch, driver, run_id, {"attempt": attempt})


def _whatever_attempt(_: Any) -> Any:
    return lambda batch, attempt, driver, run_id: _registration(batch, driver, run_id, {"driver": None})


def _registration(batch: Any, driver: str, run_id: str | None, condition: dict[str, Any]) -> Update:
    changes = {"driver": driver} | ({"driver_run": run_id} if run_id else {})
    return Update(
        ledger_items.batch_key(batch), changes, (), Equals({"state": BatchState.DELEGATED.value, **condition})
    )


def _any_report(_: Any) -> Any:
    async def report(self: Delegation, batch: Batch, run: Any) -> Any:
        place = self._context.place.control
        folder = place.key(report_name(batch.id, batch.attempt, "")).removesuffix(".json")
        found = [head.key async for head in self._context.world.store.list(place.bucket, folder)]
        found.sort(key=lambda key: str(run.driver) in key)
        return read_report(await self._context.world.store.read_all(place.bucket, found[0])) if found else None

    return report


def _start_first(original: Any) -> Any:
    async def delegate(self: Delegation, held: Any, settings: Any, sources: Any, route: Any) -> None:
        if (engine := self._context.world.engines.get(route.engine)) is not None:
            await engine.start(self._job(held.batch))
        await original(self, held, settings, sources, route)

    return delegate


def _whosever_they_are(_: Any) -> Any:
    async def discard(self: Runner, converted: Any, attempted: Batch) -> None:
        await self._context.world.converter.discard(converted)

    return discard


def _g(*numbers: int) -> frozenset[str]:
    return frozenset(f"G{number}" for number in numbers)


MUTANTS = (
    # owner and attempt tell holders apart too, so the epoch is only gone when they are
    Mutant("commit without the lease_epoch", ledger_items, "update_batch", _commit_on_state_alone, 161, _g(3)),
    Mutant("fence every transition by the state alone", ledger_items, "fence", _state_alone, 1, _g(3)),
    Mutant("acknowledge before the claim", Inboxes, "_claim", _acknowledge_first, 0, _g(1)),
    Mutant("complete uploads before the commit point", Runner, "_commit", _publish_first, 0, _g(4)),
    Mutant("claim without the transaction", TableLedger, "_transact", _one_by_one, 0, _g(1, 2)),
    Mutant("trust expiry alone", TableLedger, "apply", _trust_the_timer, 0, _g(3)),
    Mutant("forget the roll-forward", Recovery, "_wanted", _never_roll_forward, 1, _g(6)),
    Mutant("abort uploads after an unanswered commit", Runner, "_commit", _abort_if_unanswered, 21, _g(4, 6)),
    Mutant("discard after a commit that somebody rolls forward", Runner, "_commit", _discard_own_commit, 55, _g(4, 6)),
    Mutant("take NoSuchUpload for success", UploadPublisher, "_complete", _gone_is_done, 10, _g(4)),
    Mutant("mark a redriven file a duplicate", ledger_items, "CLAIMABLE", lambda _: Absent(), 1, _g(1)),
    Mutant("send the DLQ message before the commit", Runner, "_commit", _letters_first, 0, _g(3)),
    Mutant("register whichever driver comes", ledger_items, "register_driver", _whoever_comes, 7, _g(3)),
    Mutant("register a driver for another attempt", ledger_items, "register_driver", _whatever_attempt, 26, _g(3)),
    Mutant("take the report of a driver that isn't registered", Delegation, "_report", _any_report, 7, _g(3)),
    Mutant("keep the registration of an attempt that is over", ledger_items, "REGISTRATION", lambda _: (), 200, _g(6)),
    Mutant("start a run before its intent is recorded", Delegation, "delegate", _start_first, 4, _g(6)),
    Mutant("abort what a Spark run uploaded", Runner, "_discard", _whosever_they_are, 41, _g(4)),
)
