"""EMR Serverless: each attempt is a job run of one application, under a client token that names the attempt."""

import math
from typing import Any, Final

from headsaw.adapters.runs import PAGES_MAX, Refused, ask, best_run, client_token, must_be_there, status_of
from headsaw.adapters.spark_submit import ENVIRONMENT, PYTHON, arguments, options_of
from headsaw.config import EmrServerlessSettings
from headsaw.core.delegation import RunState, RunStatus
from headsaw.ports import Busy, SparkJob

STATES: Final = {
    "SUBMITTED": RunState.RUNNING,
    "QUEUED": RunState.RUNNING,
    "PENDING": RunState.RUNNING,
    "SCHEDULED": RunState.RUNNING,
    "RUNNING": RunState.RUNNING,
    "CANCELLING": RunState.RUNNING,
    "SUCCESS": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "CANCELLED": RunState.STOPPED,  # also when its time was over: stateDetails tells
}
"""Source: EMR Serverless user guide, "Job run states"."""

_UNKNOWN: Final = "ResourceNotFoundException"
_BUSY: Final = frozenset({"ConflictException", "ServiceQuotaExceededException"})
_WRONG: Final = frozenset({_UNKNOWN, "ValidationException"})
_PAGE: Final = 50


class EmrServerlessSpark:
    """`ports.SparkJobs` over one application. `client` is an aiobotocore client that someone else closes."""

    def __init__(self, client: Any, settings: EmrServerlessSettings) -> None:
        self._client = client
        self._settings = settings
        self._application = settings.application_id

    async def check(self) -> None:
        """The application is there."""
        call = self._client.list_job_runs(applicationId=self._application, maxResults=1)
        answer = await ask(call, f"list job runs of EMR application {self._application}", _WRONG)
        what = f"spark.emr_serverless: the application {self._application}"
        must_be_there(answer, what, "create it, or correct application_id and region")

    async def start(self, job: SparkJob) -> str | Busy:
        """The token makes repeats harmless, as long as EMR remembers it.

        A repeat that asks for another size, as workers' estimates differ, is refused: the first one counts.
        """
        given = self._settings
        call = self._client.start_job_run(
            applicationId=self._application,
            clientToken=client_token(job.name),
            name=job.name,
            executionRoleArn=given.execution_role_arn,
            executionTimeoutMinutes=math.ceil(given.timeout / 60),
            jobDriver={
                "sparkSubmit": {
                    "entryPoint": given.entry_point,
                    "entryPointArguments": ["--manifest", job.manifest],
                    "sparkSubmitParameters": submit_parameters(given, job.bytes),
                }
            },
            **_logs(given),
        )
        answer = await ask(call, f"start a job run of EMR application {self._application}", _BUSY | _WRONG)
        if not isinstance(answer, Refused):
            return str(answer["jobRunId"])
        return await self.find(job) or Busy(answer.reason)

    async def find(self, job: SparkJob) -> str | None:
        """Among the newest job runs of the application."""
        token: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            call = self._client.list_job_runs(applicationId=self._application, maxResults=_PAGE, **token)
            page = await ask(call, f"list job runs of EMR application {self._application}", _WRONG)
            if isinstance(page, Refused):
                return None
            mine = [run for run in page["jobRuns"] if run.get("name") == job.name]
            if mine:
                return best_run((run["id"], _status(run).state) for run in mine)
            if not page.get("nextToken"):
                return None
            token = {"nextToken": page["nextToken"]}
        return None

    async def status(self, run_id: str) -> RunStatus:
        """GONE where EMR doesn't know the job run, or the application, any more."""
        call = self._client.get_job_run(applicationId=self._application, jobRunId=run_id)
        answer = await ask(call, f"ask for a job run of EMR application {self._application}", (_UNKNOWN,))
        if isinstance(answer, Refused):
            return RunStatus(RunState.GONE, "EMR doesn't know the job run")
        return _status(answer["jobRun"])

    async def cancel(self, run_id: str) -> None:
        """Nothing happens to a job run that is over."""
        call = self._client.cancel_job_run(applicationId=self._application, jobRunId=run_id)
        await ask(call, f"cancel a job run of EMR application {self._application}", _BUSY | _WRONG)


def submit_parameters(settings: EmrServerlessSettings, batch_bytes: int) -> str:
    """The options of spark-submit, in one line: none of them holds a space."""
    options = options_of(settings, batch_bytes)
    if settings.archive is not None:
        options["spark.archives"] = f"{settings.archive}#{ENVIRONMENT}"
        options["spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON"] = PYTHON
        options["spark.emr-serverless.driverEnv.PYSPARK_PYTHON"] = PYTHON
        options["spark.executorEnv.PYSPARK_PYTHON"] = PYTHON
    return " ".join(arguments(options))


def _logs(settings: EmrServerlessSettings) -> dict[str, Any]:
    if settings.logs is None:
        return {}
    to_s3 = {"s3MonitoringConfiguration": {"logUri": str(settings.logs)}}
    return {"configurationOverrides": {"monitoringConfiguration": to_s3}}


def _status(run: dict[str, Any]) -> RunStatus:
    return status_of(STATES, run["state"], run.get("stateDetails"))
