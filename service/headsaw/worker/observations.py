"""What a worker has seen of its datasets, its queues and the Spark engines, and how it routes batches by that.

Nothing here is shared or stored: every worker learns by itself, and routes as well as it knows. The rules are those of
`core.routing`, `core.pace` and `core.breaker`; this holds their values, and tells when an engine's health changes.
"""

from collections.abc import Callable, Container
from dataclasses import replace
from random import Random

from headsaw.core.breaker import Breaker, Health, engine_to_blame
from headsaw.core.delegation import GaveUp, RunStatus, SparkReport
from headsaw.core.facts import BatchRouted, EngineHealth, Fact
from headsaw.core.model import Batch, BatchId, SparkRun
from headsaw.core.pace import Pace
from headsaw.core.routing import BulkTarget, Inline, Later, Observed, ToEngine, bulk_target, choose
from headsaw.core.settings import DatasetSettings
from headsaw.ports import Clock, ConvertedBatch

DATASETS_MAX = 1000
"""Datasets whose pace is remembered: removed ones may have batches for a long time, and new ones may come."""

LEFT_SECONDS = 1.0
"""Until others may find a batch whose engine this worker doesn't have."""

LEFT_MAX = 1000


class Observations:
    """See the module. `conversions` is how many batches this worker converts at a time, `engines` those it has."""

    def __init__(
        self, clock: Clock, random: Random, tell: Callable[[Fact], None], conversions: int, engines: Container[str]
    ) -> None:
        self._clock = clock
        self._random = random
        self._tell = tell
        self._conversions = conversions
        self._engines = engines
        self._paces: dict[str, Pace] = {}
        self._breakers: dict[str, Breaker] = {}
        self._behind: set[str] = set()
        self._visible = 0
        self._left: dict[BatchId, float] = {}

    # --- routing

    def route(self, batch: Batch, settings: DatasetSettings) -> Inline | ToEngine | Later:
        """Where the batch goes; if that is an engine which was left alone, the batch is its trial."""
        observed = self._observed(settings, batch.files, batch.bytes)
        observed = replace(observed, age_seconds=self._clock.now() - batch.created_at)
        route = choose(batch, settings, observed)
        match route:
            case ToEngine(engine, reason):
                self.engine_asked(engine, batch)
                self._tell(BatchRouted(batch, engine, reason))
            case Inline(reason):
                self._tell(BatchRouted(batch, "inline", reason))
            case Later(seconds, reason):
                self._tell(BatchRouted(batch, "later", reason))
                pause = seconds * (1 + self._random.random() / 2)  # not all at once
                left = not observed.engine_known and self._leave(batch.id, pause)
                return Later(LEFT_SECONDS if left else pause, reason)
        return route

    def left_to_others(self, batch: BatchId) -> bool:
        """This worker has just given it back for want of its engine, and shall not be the one who finds it again."""
        return self._left.get(batch, 0.0) > self._clock.now()

    def _leave(self, batch: BatchId, seconds: float) -> bool:
        """False if there is no room to remember it."""
        now = self._clock.now()
        if len(self._left) >= LEFT_MAX:
            self._left = {left: until for left, until in self._left.items() if until > now}
        if len(self._left) >= LEFT_MAX:
            return False
        self._left[batch] = now + seconds
        return True

    def bulk(self, settings: DatasetSettings, buffered: int) -> BulkTarget | None:
        """What the dataset's buffer gathers instead of its own limits; `buffered` messages wait in this worker."""
        if settings.spark.engine not in self._engines:
            return None
        pace, name = self._pace(settings.name), settings.name
        waiting = self._visible + buffered
        takes = self._conversions * pace.files_within(settings.spark.inline_max)
        if waiting > takes:
            self._behind.add(name)
        elif waiting < takes / 2:
            self._behind.discard(name)
        return bulk_target(settings, self._observed(settings, 0, 0))

    def ndjson_bytes(self, batch: Batch) -> int:
        """About how much NDJSON the batch holds."""
        return round(batch.bytes * self._pace(batch.dataset).expansion)

    def _observed(self, settings: DatasetSettings, files: int, stored: int) -> Observed:
        pace = self._pace(settings.name)
        return Observed(
            expansion=pace.expansion,
            inline_seconds=pace.inline_seconds(files, stored * pace.expansion),
            backlog=self._visible if settings.name in self._behind else 0,
            engine_wait=self.engine_wait(settings.spark.engine),
            engine_known=settings.spark.engine in self._engines,
        )

    # --- learning

    def sampled(self, visible: int) -> None:
        """So many messages wait in the queues."""
        self._visible = visible

    def converted(self, batch: Batch, converted: ConvertedBatch) -> None:
        """An attempt is complete, here or on an engine."""
        pace, report = self._pace(batch.dataset), converted.report
        if not report.rejections:
            pace.read(batch.bytes, report.bytes_in)
        if batch.run is None:
            pace.converted(batch.files, report.bytes_in, converted.seconds)

    def _pace(self, dataset: str) -> Pace:
        if dataset not in self._paces and len(self._paces) >= DATASETS_MAX:
            self._paces.clear()
        return self._paces.setdefault(dataset, Pace())

    # --- engines

    def engine_wait(self, engine: str) -> float | None:
        """For how long it is left alone; None if it may be asked."""
        return self._breaker(engine).wait(self._clock.now())

    def engine_asked(self, engine: str, batch: Batch) -> None:
        """The batch's attempt goes to it."""
        self._note(engine, self._breaker(engine).asked(_job(batch), self._clock.now()))

    def engine_failed(self, engine: str) -> None:
        """It didn't answer, or had no capacity."""
        self._note(engine, self._breaker(engine).failed(self._clock.now(), self._random.random()))

    def run_at_work(self, engine: str, batch: Batch) -> None:
        """A driver of the batch's attempt has registered."""
        self._note(engine, self._breaker(engine).at_work(_job(batch)))

    def run_ended(self, run: SparkRun, status: RunStatus | None, report: SparkReport | GaveUp | None) -> None:
        """A run is over, with this status, and with this report or none."""
        if engine_to_blame(run, status, report):
            self.engine_failed(run.engine)
        else:
            self._note(run.engine, self._breaker(run.engine).delivered())

    def _breaker(self, engine: str) -> Breaker:
        return self._breakers.get(engine, Breaker())

    def _note(self, engine: str, breaker: Breaker) -> None:
        before = self._breaker(engine).health
        self._breakers[engine] = breaker
        if breaker.health is not before:
            pause = max(0.0, breaker.until - self._clock.now()) if breaker.health is Health.OPEN else 0.0
            self._tell(EngineHealth(engine, breaker.health, breaker.failures, pause))


def _job(batch: Batch) -> str:
    """Names an attempt, as its Spark job does."""
    return f"{batch.id}-{batch.attempt}"
