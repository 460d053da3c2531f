"""EMR on EC2: each attempt is a step of one running cluster, which runs spark-submit and is named after the attempt."""

from typing import Any, Final

from headsaw.adapters.runs import PAGES_MAX, Refused, ask, best_run, must_be_there, status_of
from headsaw.adapters.spark_submit import ENVIRONMENT, PYTHON, arguments, options_of
from headsaw.config import EmrSettings
from headsaw.core.delegation import RunState, RunStatus
from headsaw.ports import Busy, SparkJob

STATES: Final = {
    "PENDING": RunState.RUNNING,
    "RUNNING": RunState.RUNNING,
    "CANCEL_PENDING": RunState.RUNNING,
    "COMPLETED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "INTERRUPTED": RunState.FAILED,
    "CANCELLED": RunState.STOPPED,
}
"""Source: EMR API reference, StepStatus.State."""

_REFUSED: Final = frozenset({"InvalidRequestException", "ValidationException"})
"""The cluster has ended, or has 256 steps that aren't over, or isn't there: EMR says all of it by the same codes."""


class EmrSpark:
    """`ports.SparkJobs` over one cluster. `client` is an aiobotocore EMR client that someone else closes."""

    def __init__(self, client: Any, settings: EmrSettings) -> None:
        self._client = client
        self._settings = settings
        self._cluster = settings.cluster_id

    async def check(self) -> None:
        """The cluster is known, whether it still takes steps or not."""
        call = self._client.list_steps(ClusterId=self._cluster)
        answer = await ask(call, f"list steps of EMR cluster {self._cluster}", _REFUSED)
        must_be_there(answer, f"spark.emr: the cluster {self._cluster}", "correct cluster_id and region")

    async def start(self, job: SparkJob) -> str | Busy:
        """One call, never repeated by itself: steps have no client token."""
        given = self._settings
        role = {"ExecutionRoleArn": given.execution_role_arn} if given.execution_role_arn else {}
        step = {
            "Name": job.name,
            "ActionOnFailure": "CONTINUE",
            "HadoopJarStep": {"Jar": "command-runner.jar", "Args": submit(given, job)},
        }
        call = self._client.add_job_flow_steps(JobFlowId=self._cluster, Steps=[step], **role)
        answer = await ask(call, f"add a step to EMR cluster {self._cluster}", _REFUSED)
        return Busy(answer.reason) if isinstance(answer, Refused) else str(answer["StepIds"][0])

    async def find(self, job: SparkJob) -> str | None:
        """Among the newest steps of the cluster."""
        marker: dict[str, str] = {}
        for _ in range(PAGES_MAX):
            call = self._client.list_steps(ClusterId=self._cluster, **marker)
            page = await ask(call, f"list steps of EMR cluster {self._cluster}", _REFUSED)
            if isinstance(page, Refused):
                return None
            mine = [step for step in page["Steps"] if step["Name"] == job.name]
            if mine:
                return best_run((step["Id"], _status(step).state) for step in mine)
            if not page.get("Marker"):
                return None
            marker = {"Marker": page["Marker"]}
        return None

    async def status(self, run_id: str) -> RunStatus:
        """GONE where EMR doesn't know the step, or the cluster, any more."""
        call = self._client.describe_step(ClusterId=self._cluster, StepId=run_id)
        answer = await ask(call, f"ask for a step of EMR cluster {self._cluster}", _REFUSED)
        if isinstance(answer, Refused):
            return RunStatus(RunState.GONE, "EMR doesn't know the step")
        return _status(answer["Step"])

    async def cancel(self, run_id: str) -> None:
        """A waiting step never begins, a running one is killed; nothing happens to one that is over."""
        call = self._client.cancel_steps(
            ClusterId=self._cluster, StepIds=[run_id], StepCancellationOption="TERMINATE_PROCESS"
        )
        await ask(call, f"cancel a step of EMR cluster {self._cluster}", _REFUSED)


def submit(settings: EmrSettings, job: SparkJob) -> list[str]:
    """The step's command. YARN tries the driver once: a second one would be another driver, and lose."""
    options = options_of(settings, job.bytes) | {"spark.yarn.maxAppAttempts": "1"}
    archive: list[str] = []
    if settings.archive is not None:
        archive = ["--archives", f"{settings.archive}#{ENVIRONMENT}"]
        options["spark.yarn.appMasterEnv.PYSPARK_PYTHON"] = PYTHON
        options["spark.executorEnv.PYSPARK_PYTHON"] = PYTHON
    where = ["--master", "yarn", "--deploy-mode", "cluster"]
    return ["spark-submit", *where, *archive, *arguments(options), settings.entry_point, "--manifest", job.manifest]


def _status(step: dict[str, Any]) -> RunStatus:
    status = step["Status"]
    failure = status.get("FailureDetails", {})
    said = " ".join([failure.get("Reason", ""), failure.get("Message", ""), _change(status)])
    return status_of(STATES, status["State"], said)


def _change(status: dict[str, Any]) -> str:
    return str(status.get("StateChangeReason", {}).get("Message", ""))
