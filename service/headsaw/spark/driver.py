"""The driver of a delegated batch: it registers, has the batch planned and converted, and writes the report.

What a task answers counts only if the cluster hands it over: failed and speculative task attempts are never seen here.
Uploads are aborted where they can't be committed, which is certain only before a report was offered to the store.
"""

import time
from collections.abc import Sequence
from enum import StrEnum

from headsaw.core.commit import PendingUpload
from headsaw.core.delegation import GaveUp, Manifest, SparkReport, Trouble, report_json
from headsaw.core.model import Batch, BatchState
from headsaw.core.naming import report_name
from headsaw.errors import HeadsawError, UsageError
from headsaw.spark.assembly import Assembled, assemble
from headsaw.spark.planning import Planning, sources_of
from headsaw.spark.reach import Connection, Site
from headsaw.spark.rounds import GivingUp, Rounds
from headsaw.spark.tasks import abort_in_time
from headsaw.spark.work import Convert, Converted, Work

PROBES_MAX = 16
"""Sources that each task knows besides its own, to tell a forbidden one from an outage of all access."""


class Ending(StrEnum):
    """How a driver ended."""

    REPORTED = "reported"
    GAVE_UP = "gave up"
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
            batch = self._registered()
            if batch is None:
                return Ending.NOT_REGISTERED
            report = self._report(batch, started)
            if not self._wanted():
                self._abort(self._rounds.uploads)
                return Ending.NOT_WANTED
        except GivingUp as giving_up:
            return self._give_up(giving_up.why)
        except UsageError as error:  # an operator must act, and nothing is wrong with the data
            return self._give_up(GaveUp(Trouble.OUTAGE, f"{type(error).__name__}: {error}"))
        except HeadsawError as error:
            return self._give_up(GaveUp(Trouble.DATA, f"{type(error).__name__}: {error}"))
        except Exception as error:
            self._give_up(GaveUp(Trouble.DATA, type(error).__name__))
            raise
        return self._store(report)

    def _registered(self) -> Batch | None:
        """The batch, if it waits for this attempt and no other driver has registered."""
        manifest, ledger = self._manifest, self._connection.reach.ledger
        batch = self._rounds.retried(
            lambda: self._connection.call(
                ledger.register_driver(manifest.batch, manifest.attempt, self._token, self._run_id)
            )
        )
        if batch is not None:
            self._rounds.say("driver registered", sources=len(manifest.sources), cores=self._rounds.cores)
        return batch

    def _report(self, batch: Batch, started: float) -> SparkReport:
        manifest, rounds = self._manifest, self._rounds
        step = max(len(manifest.sources) // PROBES_MAX, 1)
        probes = manifest.sources[manifest.attempt % step :: step][: PROBES_MAX + 1]
        work = Work(self._site, batch, manifest.settings, manifest.quarantine, manifest.ingested_at, probes)
        plan = self._planning.plan(work)
        tasks = [Convert(portion, sources_of(manifest, portion)) for portion in plan.portions]
        converted = list(zip(plan.portions, rounds.run(work, tasks, Converted), strict=True))
        whole = assemble(len(manifest.sources), manifest.settings, plan.in_parts, converted)
        self._abort(whole.left_out)
        report = self._assembled(whole, plan.schema.version, len(tasks), time.monotonic() - started)
        rounds.say("batch converted", tasks=len(tasks), bytes_in=report.bytes_in, cpu_seconds=report.cpu_seconds)
        return report

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
        """The batch still waits for this very driver."""
        manifest, ledger = self._manifest, self._connection.reach.ledger
        batch = self._rounds.retried(lambda: self._connection.call(ledger.batch(manifest.batch)))
        if batch is None or batch.state is not BatchState.DELEGATED or batch.run is None:
            return False
        return (batch.attempt, batch.run.driver) == (manifest.attempt, self._token)

    def _give_up(self, why: GaveUp) -> Ending:
        """Also where registering met an outage: only the registered driver's report is ever read."""
        self._rounds.say("giving up", trouble=why.trouble.value, reason=why.reason)
        self._abort(self._rounds.uploads)
        return Ending.GAVE_UP if self._store(why) is Ending.REPORTED else Ending.UNHEARD

    def _store(self, report: SparkReport | GaveUp) -> Ending:
        """Unanswered, the report may be there all the same, so its uploads stay."""
        manifest, store = self._manifest, self._connection.reach.store
        key = manifest.control.key(report_name(manifest.batch, manifest.attempt, self._token))
        body = report_json(report)
        try:
            self._rounds.retried(lambda: self._connection.call(store.put(manifest.control.bucket, key, body)))
        except GivingUp as giving_up:
            self._rounds.say("report not stored", reason=str(giving_up))
            return Ending.UNHEARD
        return Ending.REPORTED

    def _abort(self, uploads: Sequence[PendingUpload]) -> None:
        if uploads:
            found = [(upload.bucket, upload.key, upload.upload_id) for upload in uploads]
            self._connection.call(abort_in_time(self._connection.reach.store, found))
