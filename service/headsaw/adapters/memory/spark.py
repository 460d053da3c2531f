"""A Spark engine in memory: its drivers are coroutines that keep the delegated job's protocol, and go wrong as told.

A driver reads the manifest, registers, converts and writes its report, through the same ports as the real job. How each
start goes is the business of `behave`, so that a test or a simulator scripts it.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from random import Random
from typing import TypeVar

from headsaw.core.delegation import GaveUp, Manifest, RunState, RunStatus, SparkReport, Trouble, report_json
from headsaw.core.model import Batch
from headsaw.core.naming import report_name
from headsaw.errors import HeadsawError, Outage, Unreachable
from headsaw.ports import Busy, Clock, ConvertedBatch, Converter, Ledger, ObjectStore, SparkJob

PATIENCE_SECONDS = 3600.0
"""For how long a driver tries a call that meets an outage."""

RETRY_SECONDS = 5.0

Answer = TypeVar("Answer")


class Start(Enum):
    """What becomes of a call of `start`."""

    ANSWERED = "answered"
    BUSY = "busy"
    LOST = "lost"
    """The run was started, and the answer was lost."""

    UNREACHED = "unreached"
    """Nothing was started, and nobody knows."""


class End(StrEnum):
    """How a run ends, once its driver has had its time."""

    REPORT = "report"
    """With a result, or with what the conversion met."""

    GIVES_UP_OUTAGE = "gives up: outage"
    GIVES_UP_DATA = "gives up: data"
    FAILED = "failed"
    """The engine says so, and there is no report; what was uploaded stays pending."""

    STOPPED = "stopped"
    GONE = "gone"
    """Dead, and the engine has forgotten it."""

    SILENT = "silent"
    """The engine says that it ended well, but there is no report."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One start, and the run that comes of it."""

    start: Start = Start.ANSWERED
    end: End = End.REPORT
    queued_seconds: float = 0.0
    """Before the driver begins."""

    seconds: float = 0.0
    """Of the driver's work, on top of what the conversion takes."""

    registers: bool = True
    """False: it ends before it has registered, and does nothing else."""

    knows_itself: bool = True
    """The driver can tell the ledger what the engine calls its run."""

    hidden: bool = False
    """`find` doesn't tell of it."""

    deaf: bool = False
    """It goes on when it is cancelled."""


@dataclass(slots=True)
class Run:
    """A run as the engine knows it."""

    id: str
    job: SparkJob
    behaviour: Behaviour
    status: RunStatus = field(default_factory=lambda: RunStatus(RunState.RUNNING))
    driver: "asyncio.Task[None] | None" = None
    asked_to_stop: bool = False


def well_behaved(_job: SparkJob, _starts: int) -> Behaviour:
    """Every start is answered, and every run ends with its report."""
    return Behaviour()


class MemorySpark:
    """`ports.SparkJobs`: see the module. `behave` is asked at every call of `start`, with the job and how often it was
    called for that job before. `runs` is what was started, oldest first, forgotten ones included.

    `client_tokens`: a second start of a job is answered with its first run, as EMR Serverless does.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ObjectStore,
        clock: Clock,
        random: Random,
        converter: Converter,
        behave: Callable[[SparkJob, int], Behaviour] = well_behaved,
        *,
        client_tokens: bool = False,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._random = random
        self._converter = converter
        self._client_tokens = client_tokens
        self._asked: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self.behave = behave
        self.runs: list[Run] = []

    # ------------------------------------------------------------------------------------------------------ the port

    async def start(self, job: SparkJob) -> str | Busy:
        """By what `behave` says."""
        await asyncio.sleep(0)
        if self._client_tokens and (known := self._known(job.name)) is not None:
            return known.id
        asked = self._asked.get(job.name, 0)
        self._asked[job.name] = asked + 1
        behaviour = self.behave(job, asked)
        if behaviour.start is Start.BUSY:
            return Busy("too many runs at once")
        if behaviour.start is Start.UNREACHED:
            raise Unreachable("start a Spark run: no connection")
        run = self._begin(job, behaviour)
        if behaviour.start is Start.LOST:
            raise Unreachable("start a Spark run: no answer")
        return run.id

    async def find(self, job: SparkJob) -> str | None:
        """The newest run of that name."""
        await asyncio.sleep(0)
        run = self._known(job.name)
        return run.id if run is not None and not run.behaviour.hidden else None

    async def status(self, run_id: str) -> RunStatus:
        """GONE where no such run is known."""
        await asyncio.sleep(0)
        return next((run.status for run in self.runs if run.id == run_id), RunStatus(RunState.GONE))

    async def cancel(self, run_id: str) -> None:
        """The driver is stopped, unless it is deaf, or its run over."""
        await asyncio.sleep(0)
        for run in self.runs:
            if run.id == run_id and run.status.state is RunState.RUNNING:
                run.asked_to_stop = True
                if run.driver is not None and not run.behaviour.deaf:
                    run.driver.cancel()

    # ------------------------------------------------------------------------------------------------------ for tests

    def stop_all(self) -> None:
        """What an engine does when it loses its machines: every run ends as STOPPED."""
        for run in self.runs:
            if run.driver is not None:
                run.driver.cancel()

    async def finished(self) -> None:
        """Every run that was started is over."""
        while drivers := [run.driver for run in self.runs if run.driver is not None and not run.driver.done()]:
            await asyncio.wait(drivers)

    # ------------------------------------------------------------------------------------------------------- the runs

    def _known(self, name: str) -> Run | None:
        return next(
            (run for run in reversed(self.runs) if run.job.name == name and run.status.state is not RunState.GONE), None
        )

    def _begin(self, job: SparkJob, behaviour: Behaviour) -> Run:
        run = Run(f"run-{next(self._numbers)}", job, behaviour)
        self.runs.append(run)
        run.driver = asyncio.create_task(self._live(run), name=f"spark-{run.id}")
        run.driver.add_done_callback(lambda driver: _note_death(run, driver))
        return run

    async def _live(self, run: Run) -> None:
        """The run's status says how it ended."""
        try:
            run.status = await self._drive(run)
        except asyncio.CancelledError:
            run.status = RunStatus(RunState.STOPPED, "cancelled")
        except Exception as error:  # noqa: BLE001 - an engine tells of any crash in one way
            run.status = RunStatus(RunState.FAILED, f"{type(error).__name__}: {error}")

    async def _drive(self, run: Run) -> RunStatus:
        behaviour = run.behaviour
        await self._clock.sleep(behaviour.queued_seconds)
        if not behaviour.registers:
            return _ended(behaviour.end)
        bucket, _, key = run.job.manifest.removeprefix("s3://").partition("/")
        manifest = Manifest.from_json(await self._patiently(lambda: self._store.read_all(bucket, key)))
        token = f"{self._random.getrandbits(64):016x}"
        batch = await self._registered(run, manifest, token)
        if batch is None:
            return RunStatus(RunState.SUCCEEDED, "another driver has the attempt, or it is over")
        await self._clock.sleep(behaviour.seconds)
        result = await self._result(behaviour.end, batch, manifest)
        if result is None:
            return _ended(behaviour.end)
        name = manifest.control.key(report_name(manifest.batch, manifest.attempt, token))
        await self._patiently(lambda: self._store.put(manifest.control.bucket, name, report_json(result)))
        return RunStatus(RunState.SUCCEEDED)

    async def _registered(self, run: Run, manifest: Manifest, token: str) -> Batch | None:
        """None also where the ledger can't be reached: a driver without registration does nothing."""
        own_name = run.id if run.behaviour.knows_itself else None
        try:
            return await self._patiently(
                lambda: self._ledger.register_driver(manifest.batch, manifest.attempt, token, own_name)
            )
        except Outage:
            return None

    async def _result(self, end: End, batch: Batch, manifest: Manifest) -> SparkReport | GaveUp | None:
        """What the report will say; None if there won't be one."""
        match end:
            case End.GIVES_UP_OUTAGE:
                return GaveUp(Trouble.OUTAGE, "scripted outage")
            case End.GIVES_UP_DATA:
                return GaveUp(Trouble.DATA, "scripted failure")
            case _:
                pass
        try:
            converted = await self._converter.convert(batch, manifest.settings, manifest.sources)
        except Outage as outage:
            return GaveUp(Trouble.OUTAGE, str(outage))
        except HeadsawError as error:
            return GaveUp(Trouble.DATA, str(error))
        return _report(converted) if end is End.REPORT else None

    async def _patiently(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The call's answer; its outage, if that lasts."""
        deadline = self._clock.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await call()
            except Outage:
                if self._clock.monotonic() >= deadline:
                    raise
            await self._clock.sleep(RETRY_SECONDS)


def _note_death(run: Run, driver: "asyncio.Task[None]") -> None:
    """A driver that was cancelled before its first step never got to say so."""
    if driver.cancelled():
        run.status = RunStatus(RunState.STOPPED, "cancelled")


def _ended(end: End) -> RunStatus:
    """What the engine tells of a run that left no report."""
    match end:
        case End.FAILED:
            return RunStatus(RunState.FAILED, "scripted failure")
        case End.STOPPED:
            return RunStatus(RunState.STOPPED, "no capacity")
        case End.GONE:
            return RunStatus(RunState.GONE)
        case _:
            return RunStatus(RunState.SUCCEEDED)


def _report(converted: ConvertedBatch) -> SparkReport:
    """The conversion as a driver tells it."""
    report = converted.report
    return SparkReport(
        files=report.files,
        rejections=report.rejections,
        uploads=converted.uploads,
        schema_version=report.schema.version,
        rescued_values=report.rescued_values,
        bytes_in=report.bytes_in,
        oldest_upload_at=converted.oldest_upload_at,
        seconds=converted.seconds,
        cpu_seconds=converted.cpu_seconds,
        tasks=1,
        notices=report.notices,
    )
