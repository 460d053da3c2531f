"""The worker's life: start, named tasks, drain, stop. The death of any task stops the worker with an error.

`stop` (SIGTERM) sets an event and never raises: polls end, buffered messages go back to the queue at once, running
conversions get the grace period, everything else is released. `abort` (a second SIGTERM) stops waiting.
"""

import asyncio
from collections.abc import Sequence

from headsaw.core.facts import BacklogSampled, DrainBegan, OutageMet, Where, WorkerStopped
from headsaw.core.model import Batch
from headsaw.core.settings import DatasetSettings
from headsaw.errors import HeadsawError
from headsaw.worker.context import Context
from headsaw.worker.expected import Expected
from headsaw.worker.inboxes import Inboxes
from headsaw.worker.intake import Intake
from headsaw.worker.leases import LeaseKeeper
from headsaw.worker.recovery import Recovery
from headsaw.worker.runner import Runner
from headsaw.worker.settling import Settling

SAMPLE_SECONDS = 15.0
SHUTDOWN_MARGIN_SECONDS = 5.0


class Worker:
    """One worker process over its context."""

    def __init__(
        self, context: Context, datasets: Sequence[DatasetSettings], default_dataset: str | None = None
    ) -> None:
        self._context = context
        self._datasets = tuple(datasets)
        self._keeper = LeaseKeeper(context)
        expected = Expected(context.world.clock)
        self._runner = Runner(context, self._keeper, expected)
        self._recovery = Recovery(context, self._keeper, self._runner, expected)
        self._claimed: asyncio.Queue[Batch] = asyncio.Queue(maxsize=1)
        settling = Settling(context)
        self._inboxes = Inboxes(context, datasets, settling, self._claimed)
        self._intake = Intake(context, datasets, default_dataset, self._inboxes, settling, self._runner.has_room)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Drain, then `run` returns."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether the worker drains."""
        return self._stopping.is_set()

    async def run(self) -> None:
        """Until `stop`: everything at once. Raises what any of its tasks died of."""
        for dataset in self._datasets:
            await self._context.world.ledger.put_settings(dataset)
        pollers = [
            asyncio.create_task(self._intake.poll(queue, self._stopping), name=f"poller-{number}")
            for queue in self._context.world.queues
            for number in range(self._context.limits.pollers)
        ]
        flusher = asyncio.create_task(self._inboxes.flush_when_due(self._stopping), name="flusher")
        background = [
            asyncio.create_task(run(), name=name)
            for name, run in {
                "leases": self._keeper.run,
                "recovery": self._recovery.run,
                "expected": self._recovery.run_expected,
                "runner": lambda: self._runner.take_claimed(self._claimed),
                "batches": self._runner.watch,
                "sampler": self._sample,
            }.items()
        ]
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await _until_one_dies({*pollers, flusher, *background}, stop)
            await self._drain([*pollers, flusher], background)
        finally:
            await _cancel([stop, flusher, *pollers, *background])

    async def _drain(self, intake: "Sequence[asyncio.Task[None]]", background: "Sequence[asyncio.Task[None]]") -> None:
        """Intake ends by itself, giving back what a long poll may still bring; leases are renewed to the very end."""
        grace = self._context.limits.drain_seconds
        self._context.tell(DrainBegan(len(self._keeper), len(self._inboxes), grace))
        deadline = self._context.world.clock.monotonic() + grace - min(SHUTDOWN_MARGIN_SECONDS, grace / 4)

        def left() -> float:
            return max(0.0, deadline - self._context.world.clock.monotonic())

        await _cancel([task for task in background if task.get_name() in ("recovery", "expected", "sampler")])
        await self._inboxes.return_all()
        finishing = asyncio.create_task(self._runner.drain(left()), name="drain")
        await asyncio.wait(intake, timeout=left())
        await _cancel(intake)
        await self._inboxes.return_all()
        await finishing
        # A flush that was under way may have claimed one more batch since.
        while not self._claimed.empty():
            self._runner.take(self._claimed.get_nowait())
        await self._runner.drain(0.0)
        self._context.tell(WorkerStopped(self._runner.finished, self._runner.released))

    async def _sample(self) -> None:
        """For ever: how much there is to do."""
        world = self._context.world
        while True:
            try:
                depths = [await queue.depth() for queue in world.queues]
                unfinished = await world.ledger.unfinished()
            except HeadsawError as error:
                self._context.tell(OutageMet(Where.QUEUE, type(error).__name__, str(error)))
            else:
                self._context.observed.sampled(sum(depth.visible for depth in depths))
                self._inboxes.changed()  # a backlog is gathered in bulk
                self._context.tell(
                    BacklogSampled(
                        visible=sum(depth.visible for depth in depths),
                        in_flight=sum(depth.in_flight for depth in depths),
                        delayed=sum(depth.delayed for depth in depths),
                        unfinished=unfinished,
                        held=len(self._keeper),
                        buffered=len(self._inboxes),
                    )
                )
            await world.clock.sleep(SAMPLE_SECONDS)


async def _until_one_dies(tasks: "set[asyncio.Task[None]]", stop: "asyncio.Task[bool]") -> None:
    """Returns when `stop` is done; raises if any of the tasks ends before, since none of them should."""
    done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
    if stop in done:
        return
    for task in done:
        error = task.exception() if not task.cancelled() else None
        raise RuntimeError(f"the task {task.get_name()} ended") from error


async def _cancel(tasks: "Sequence[asyncio.Task[None] | asyncio.Task[bool]]") -> None:
    """None of them runs any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
