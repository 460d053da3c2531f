"""AWS Glue: each attempt is a run of one job definition, told its manifest by an argument.

Glue takes no client token, so a run is recognised by that argument: a manifest belongs to one attempt.
"""

import math
from typing import Any, Final

from headsaw.adapters.runs import PAGES_MAX, Refused, ask, best_run, must_be_there, size_of, status_of
from headsaw.config import GlueSettings
from headsaw.core.delegation import RunState, RunStatus
from headsaw.ports import Busy, SparkJob

STATES: Final = {
    "STARTING": RunState.RUNNING,
    "RUNNING": RunState.RUNNING,
    "STOPPING": RunState.RUNNING,
    "WAITING": RunState.RUNNING,  # for capacity, FLEX up to twenty minutes
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "TIMEOUT": RunState.FAILED,
    "STOPPED": RunState.STOPPED,
    "ERROR": RunState.STOPPED,
    "EXPIRED": RunState.STOPPED,  # never began
}
"""Source: Glue API reference, JobRun.JobRunState; developer guide, "Glue job run statuses"."""

MANIFEST: Final = "--manifest"

_BUSY: Final = frozenset({"ConcurrentRunsExceededException", "ResourceNumberLimitExceededException"})
_WRONG: Final = frozenset({"EntityNotFoundException", "InvalidInputException"})
_PAGE: Final = 200


class GlueSpark:
    """`ports.SparkJobs` over one job definition. `client` is an aiobotocore Glue client that someone else closes."""

    def __init__(self, client: Any, settings: GlueSettings) -> None:
        self._client = client
        self._settings = settings
        self._name = settings.job_name

    async def check(self) -> None:
        """The job definition is there."""
        call = self._client.get_job_runs(JobName=self._name, MaxResults=1)
        answer = await ask(call, f"list runs of Glue job {self._name}", _WRONG)
        must_be_there(answer, f"spark.glue: the job {self._name}", "create it, or correct job_name and region")

    async def start(self, job: SparkJob) -> str | Busy:
        """One call, never repeated by itself. What seems too many runs may be this job's own, whose start was lost."""
        given = self._settings
        encryption = {"SecurityConfiguration": given.security_configuration} if given.security_configuration else {}
        call = self._client.start_job_run(
            JobName=self._name,
            Arguments={MANIFEST: job.manifest},
            ExecutionClass=given.execution_class,
            WorkerType=given.worker_type,
            NumberOfWorkers=workers(given, job.bytes),
            Timeout=math.ceil(given.timeout / 60),
            **encryption,
        )
        answer = await ask(call, f"start a run of Glue job {self._name}", _BUSY | _WRONG)
        if not isinstance(answer, Refused):
            return str(answer["JobRunId"])
        if answer.code in _BUSY and (own := await self.find(job)) is not None:
            return own
        return Busy(answer.reason)

    async def find(self, job: SparkJob) -> str | None:
        """Among the newest runs of the job definition."""
        token: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            call = self._client.get_job_runs(JobName=self._name, MaxResults=_PAGE, **token)
            page = await ask(call, f"list runs of Glue job {self._name}", _WRONG)
            if isinstance(page, Refused):
                return None
            mine = [run for run in page["JobRuns"] if run.get("Arguments", {}).get(MANIFEST) == job.manifest]
            if mine:
                return best_run((run["Id"], _status(run).state) for run in mine)
            if not page.get("NextToken"):
                return None
            token = {"NextToken": page["NextToken"]}
        return None

    async def status(self, run_id: str) -> RunStatus:
        """GONE where Glue doesn't know the run, or the job definition, any more."""
        call = self._client.get_job_run(JobName=self._name, RunId=run_id)
        answer = await ask(call, f"ask for a run of Glue job {self._name}", ("EntityNotFoundException",))
        if isinstance(answer, Refused):
            return RunStatus(RunState.GONE, "Glue doesn't know the run")
        return _status(answer["JobRun"])

    async def cancel(self, run_id: str) -> None:
        """Glue answers success for runs that it can't stop, too, and lists them as errors: they are over."""
        call = self._client.batch_stop_job_run(JobName=self._name, JobRunIds=[run_id])
        await ask(call, f"stop a run of Glue job {self._name}", _WRONG)


def workers(settings: GlueSettings, batch_bytes: int) -> int:
    """By the batch's size, and one more for the driver, within the bounds."""
    most = settings.workers_max - 1
    return size_of(batch_bytes, int(settings.bytes_per_worker), settings.workers_min - 1, most) + 1


def _status(run: dict[str, Any]) -> RunStatus:
    """Only FAILED leaves open who is to blame."""
    state = run["JobRunState"]
    return status_of(STATES, state, run.get("ErrorMessage") if state == "FAILED" else None)
