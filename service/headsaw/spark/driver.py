"""The driver of a delegated batch: it checks its surroundings, registers, has the batch converted, writes the report.

What a task answers counts only if the cluster hands it over: failed and speculative task attempts are never seen here.
Uploads are aborted where they can't be committed, which is certain only before a report was offered to the store.
"""

import time
from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from headsaw.core.commit import PendingUpload
from headsaw.core.delegation import GaveUp, Manifest, SparkReport, Trouble, report_json
from headsaw.core.model import Batch, BatchState
from headsaw.core.naming import SPARK, probe_name, report_name
from headsaw.errors import HeadsawError, Outage, UsageError
from headsaw.spark.assembly import Assembled, assemble
from headsaw.spark.planning import Planning, sources_of
from headsaw.spark.reach import Connection, Site
from headsaw.spark.rounds import REPORT_SECONDS_MAX, START_SECONDS_MAX, GivingUp, Rounds
from headsaw.spark.tasks import abort_in_time, told
from headsaw.spark.work import Convert, Converted, Rehearse, Rehearsed, Work

PROBES_MAX = 16
"""Sources that each task knows besides its own, to tell a forbidden one from an outage of all access."""


class Ending(StrEnum):
    """How a driver ended."""

    REPORTED = "reported"
    GAVE_UP = "gave up"
    UNFIT = "unfit"
    """This run couldn't do it, which it said; nobody was registered, so no data is to blame."""
    NOT_REGISTERED = "not registered"
    """Another driver was first, or nobody waits for this run."""
    NOT_WANTED = "not wanted"
    """The batch was taken back meanwhile."""
    UNHEARD = "unheard"
    """Whether the report is stored is unknown."""


class Driver:
    """`token` is this driver's alone; `run_id` is the engine's name for its run, where it is known."""

    def __init__(
        self,
        manifest: Manifest,
        token: str,
        run_id: str | None,
        site: Site,
        connection: Connection,
        rounds: Rounds,
        *,
        split_bytes_max: int | None = None,
    ) -> None:
        self._manifest = manifest
        self._token = token
        self._run_id = run_id
        self._site = site
        self._connection = connection
        self._rounds = rounds
        self._planning = Planning(manifest, connection, rounds, split_bytes_max)

    def run(self) -> Ending:
        """The report is stored; or this driver's result is of no use to anybody, and its uploads are aborted."""
        started = time.monotonic()
        try:
            batch = self._awaiting()
            if batch is None:
                return Ending.NOT_REGISTERED
            self._check(batch)
        except HeadsawError as error:
            self._rounds.say("run can't do its work", reason=str(error))
            return Ending.UNFIT
        return self._converted(started)

    def _awaiting(self) -> Batch | None:
        """The batch, if it waits for this attempt and no other driver has registered, as far as anybody knows yet."""
        batch = self._batch(START_SECONDS_MAX)
        return batch if batch is not None and batch.run is not None and batch.run.driver is None else None

    def _check(self, batch: Batch) -> None:
        """The report can be stored, and the cluster can do this package's tasks; raises GivingUp with what to mend.

        Once a driver has registered, whatever stands in its way may be taken for the data's doing.
        """
        control, rounds = self._manifest.control, self._rounds
        try:
            self._put(probe_name(self._manifest.batch, self._manifest.attempt, self._token), b"{}", START_SECONDS_MAX)
        except GivingUp as error:
            place = f"s3://{control.bucket}/{control.key(SPARK)}"
            raise GivingUp(
                Trouble.OUTAGE,
                f"no report could be written below {place}: {error}; let this run's role s3:PutObject there",
            ) from error
        try:
            (rehearsed,) = rounds.run(self._work(batch), [Rehearse()], Rehearsed, START_SECONDS_MAX)
        except GivingUp as error:
            raise GivingUp(
                Trouble.OUTAGE,
                f"the cluster's executors can't do a task: {error}; give them the Python and the packages that "
                "`make spark-dist` builds, and the driver's settings, as docs/spark.md says",
            ) from error
        rounds.say("cluster checked", parser=rehearsed.parser)

    def _converted(self, started: float) -> Ending:
        """As `run`, by whoever gets registered."""
        try:
            batch = self._registered()
            if batch is None:
                return Ending.NOT_REGISTERED
            report = self._report(batch, started)
            if not self._wanted():
                self._abort(self._rounds.uploads)
                return Ending.NOT_WANTED
        except GivingUp as giving_up:
            return self._give_up(giving_up.why)
        except (Outage, UsageError, OSError) as error:  # an operator may have to act: nothing is wrong with the data
            return self._give_up(GaveUp(Trouble.OUTAGE, told(error)))
        except HeadsawError as error:
            return self._give_up(GaveUp(Trouble.DATA, told(error)))
        except Exception as error:
            self._give_up(GaveUp(Trouble.DATA, told(error)))
            raise
        return self._store(report)

    def _registered(self) -> Batch | None:
        """The batch, if it waits for this attempt and no other driver has registered."""
        manifest, ledger = self._manifest, self._connection.reach.ledger
        batch = self._rounds.retried(
            lambda: self._connection.call(
                ledger.register_driver(manifest.batch, manifest.attempt, self._token, self._run_id)
            ),
            START_SECONDS_MAX,
        )
        if batch is not None:
            self._rounds.say("driver registered", sources=len(manifest.sources), cores=self._rounds.cores)
        return batch

    def _report(self, batch: Batch, started: float) -> SparkReport:
        manifest, rounds = self._manifest, self._rounds
        work = self._work(batch)
        plan = self._planning.plan(work)
        tasks = [Convert(portion, sources_of(manifest, portion)) for portion in plan.portions]
        converted = list(zip(plan.portions, rounds.run(work, tasks, Converted), strict=True))
        whole = assemble(len(manifest.sources), manifest.settings, plan.in_parts, converted)
        self._abort(whole.left_out)
        report = self._assembled(whole, plan.schema.version, len(tasks), time.monotonic() - started)
        rounds.say("batch converted", tasks=len(tasks), bytes_in=report.bytes_in, cpu_seconds=report.cpu_seconds)
        return report

    def _work(self, batch: Batch) -> Work:
        manifest = self._manifest
        step = max(len(manifest.sources) // PROBES_MAX, 1)
        probes = manifest.sources[manifest.attempt % step :: step][: PROBES_MAX + 1]
        return Work(self._site, batch, manifest.settings, manifest.quarantine, manifest.ingested_at, probes)

    def _assembled(self, whole: Assembled, schema_version: int, tasks: int, seconds: float) -> SparkReport:
        kept = whole.kept
        return SparkReport(
            files=whole.files,
            rejections=whole.rejections,
            uploads=tuple(upload for done in kept for upload in done.uploads),
            schema_version=max([schema_version, *(done.schema_version for done in kept)]),
            rescued_values=sum(done.rescued_values for done in kept),
            bytes_in=sum(done.bytes_in for done in kept),
            oldest_upload_at=min([self._connection.reach.clock.now(), *(done.oldest_upload_at for done in kept)]),
            seconds=seconds,
            cpu_seconds=self._rounds.cpu_seconds,
            tasks=tasks,
            notices=tuple(notice for done in kept for notice in done.notices),
        )

    def _wanted(self) -> bool:
        """The batch still waits for this very driver, or nobody can tell.

        If it doesn't, the report is never read: only the uploads would be left over. So an outage is no reason to end.
        """
        try:
            batch = self._batch(START_SECONDS_MAX)
        except GivingUp as giving_up:
            self._rounds.say("batch not read", reason=str(giving_up))
            return True
        return batch is not None and batch.run is not None and batch.run.driver == self._token

    def _batch(self, seconds_max: float) -> Batch | None:
        """The batch, if it is this attempt that it waits for."""
        manifest, ledger = self._manifest, self._connection.reach.ledger
        batch = self._rounds.retried(lambda: self._connection.call(ledger.batch(manifest.batch)), seconds_max)
        if batch is None or batch.state is not BatchState.DELEGATED or batch.attempt != manifest.attempt:
            return None
        return batch

    def _give_up(self, why: GaveUp) -> Ending:
        """Also where registering met an outage: only the registered driver's report is ever read."""
        self._rounds.say("giving up", trouble=why.trouble.value, reason=why.reason)
        self._abort(self._rounds.uploads)
        return Ending.GAVE_UP if self._store(why) is Ending.REPORTED else Ending.UNHEARD

    def _store(self, report: SparkReport | GaveUp) -> Ending:
        """Unanswered, the report may be there all the same, so its uploads stay."""
        name = report_name(self._manifest.batch, self._manifest.attempt, self._token)
        try:
            self._put(name, report_json(report), REPORT_SECONDS_MAX)
        except GivingUp as giving_up:
            self._rounds.say("report not stored", reason=str(giving_up))
            return Ending.UNHEARD
        return Ending.REPORTED

    def _put(self, name: str, body: bytes, seconds_max: float) -> None:
        """The object is below the control prefix; raises GivingUp."""
        control, store = self._manifest.control, self._connection.reach.store
        put = partial(store.put, control.bucket, control.key(name), body)
        self._rounds.retried(lambda: self._connection.call(put()), seconds_max)

    def _abort(self, uploads: Sequence[PendingUpload]) -> None:
        """As far as the store lets us: what is left over is the lifecycle rule's, and costs no run its result."""
        if not uploads:
            return
        found = [(upload.bucket, upload.key, upload.upload_id) for upload in uploads]
        try:
            self._connection.call(abort_in_time(self._connection.reach.store, found))
        except (HeadsawError, OSError) as error:
            self._rounds.say("uploads left over", reason=told(error))
