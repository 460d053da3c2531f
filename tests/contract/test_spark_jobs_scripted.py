"""What the Spark engines of AWS are asked, and what is made of answers that no local AWS gives."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from benches import shared_session
from engine_benches import SCRIPT, job_of
from scripted import Request, Scripted, answer, json_error, scripted

from headsaw.adapters.aws import Aws
from headsaw.adapters.emr import EmrSpark
from headsaw.adapters.emr_serverless import EmrServerlessSpark
from headsaw.adapters.engines import Engine, check_engines
from headsaw.adapters.glue import GlueSpark
from headsaw.adapters.runs import PAGES_MAX
from headsaw.config import EmrServerlessSettings, EmrSettings, GlueSettings
from headsaw.core.delegation import RunState, RunStatus
from headsaw.errors import AccessDenied, Outage, Throttled, Unreachable
from headsaw.ports import Busy, SparkJobs

ROLE = "arn:aws:iam::111122223333:role/headsaw-spark"
GLUE = GlueSettings(job_name="headsaw", security_configuration="encrypted", timeout=5430.0)
SERVERLESS = EmrServerlessSettings.model_validate(
    {
        "application_id": "app1",
        "execution_role_arn": ROLE,
        "entry_point": SCRIPT,
        "timeout": 5430,
        "logs": "s3://logs/headsaw/",
    }
)
CLUSTER = EmrSettings(cluster_id="j-1", entry_point=SCRIPT, execution_role_arn=ROLE)
JOB = job_of("b1", 2)
OTHER = job_of("b1", 1)
ENGINES = ("glue", "emr-serverless", "emr")

STARTED = {
    "glue": {"JobRunId": "run1"},
    "emr-serverless": {"applicationId": "app1", "jobRunId": "run1", "arn": "arn"},
    "emr": {"StepIds": ["run1"]},
}
NO_RUNS: dict[str, dict[str, Any]] = {"glue": {"JobRuns": []}, "emr-serverless": {"jobRuns": []}, "emr": {"Steps": []}}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "111122223333")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@asynccontextmanager
async def speaking(
    engine: str, *answers: bytes | Callable[[Request], bytes], tries: int = 1
) -> AsyncIterator[tuple[Engine, Scripted]]:
    async with scripted(*answers) as server, Aws(endpoint_url=server.url, tries=tries, session=shared_session()) as aws:
        client = await aws.client(engine)
        match engine:
            case "glue":
                yield GlueSpark(client, GLUE), server
            case "emr-serverless":
                yield EmrServerlessSpark(client, SERVERLESS), server
            case _:
                yield EmrSpark(client, CLUSTER), server


def says(document: dict[str, Any]) -> bytes:
    return answer(200, json.dumps(document), "Content-Type: application/json")


def run_as(engine: str, run_id: str, state: str, said: str = "", of: str = JOB.manifest) -> dict[str, Any]:
    """The run as the engine's own lists and answers show it."""
    name = JOB.name if of == JOB.manifest else OTHER.name
    match engine:
        case "glue":
            return {"Id": run_id, "JobRunState": state, "ErrorMessage": said, "Arguments": {"--manifest": of}}
        case "emr-serverless":
            return {"id": run_id, "state": state, "stateDetails": said, "name": name}
        case _:
            status = {"State": state, "FailureDetails": {"Message": said}, "StateChangeReason": {}}
            return {"Id": run_id, "Name": name, "Status": status}


def one(engine: str, run: dict[str, Any]) -> bytes:
    return says({{"glue": "JobRun", "emr-serverless": "jobRun", "emr": "Step"}[engine]: run})


def listed(engine: str, *runs: dict[str, Any], more: bool = False) -> bytes:
    items, token = {
        "glue": ("JobRuns", "NextToken"),
        "emr-serverless": ("jobRuns", "nextToken"),
        "emr": ("Steps", "Marker"),
    }[engine]
    return says({items: list(runs), **({token: "more"} if more else {})})


def sent(request: Request) -> Any:
    return json.loads(request[1])


# ------------------------------------------------------------------------------------------------- what they are asked


async def test_glue_is_told_the_manifest_the_size_and_when_to_end() -> None:
    async with speaking("glue", says(STARTED["glue"])) as (engine, server):
        assert await engine.start(JOB) == "run1"
    assert sent(server.requests[0]) == {
        "JobName": "headsaw",
        "Arguments": {"--manifest": JOB.manifest},
        "ExecutionClass": "FLEX",
        "WorkerType": "G.1X",
        "NumberOfWorkers": 5,
        "Timeout": 91,
        "SecurityConfiguration": "encrypted",
    }


async def test_emr_serverless_is_told_a_token_that_names_the_attempt() -> None:
    async with speaking("emr-serverless", says(STARTED["emr-serverless"])) as (engine, server):
        assert await engine.start(JOB) == "run1"
        assert await engine.start(JOB) == "run1"
        await engine.start(OTHER)
    first, again, other = (sent(request) for request in server.requests)
    assert server.requests[0][0].startswith("POST /applications/app1/jobruns ")
    assert first == again
    assert first["clientToken"] == JOB.name != other["clientToken"]
    assert first["name"] == JOB.name
    assert first["executionRoleArn"] == ROLE
    assert first["executionTimeoutMinutes"] == 91
    assert first["jobDriver"]["sparkSubmit"]["entryPoint"] == SCRIPT
    assert first["jobDriver"]["sparkSubmit"]["entryPointArguments"] == ["--manifest", JOB.manifest]
    assert "spark.dynamicAllocation.maxExecutors=4" in first["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]
    to_s3 = first["configurationOverrides"]["monitoringConfiguration"]["s3MonitoringConfiguration"]
    assert to_s3 == {"logUri": "s3://logs/headsaw/"}


async def test_a_cluster_is_told_to_go_on_after_a_failed_step() -> None:
    async with speaking("emr", says(STARTED["emr"])) as (engine, server):
        assert await engine.start(JOB) == "run1"
    told = sent(server.requests[0])
    assert told["JobFlowId"] == "j-1"
    assert told["ExecutionRoleArn"] == ROLE
    (step,) = told["Steps"]
    assert (step["Name"], step["ActionOnFailure"]) == (JOB.name, "CONTINUE")
    assert step["HadoopJarStep"]["Jar"] == "command-runner.jar"
    assert step["HadoopJarStep"]["Args"][-3:] == [SCRIPT, "--manifest", JOB.manifest]


@pytest.mark.parametrize(
    ("engine", "reply", "words"),
    [
        ("glue", {"SuccessfulSubmissions": []}, "BatchStopJobRun"),
        ("emr-serverless", {"applicationId": "app1", "jobRunId": "run1"}, "DELETE /applications/app1/jobruns/run1"),
        ("emr", {"CancelStepsInfoList": []}, "CancelSteps"),
    ],
)
async def test_a_run_is_cancelled_by_its_id(engine: str, reply: dict[str, Any], words: str) -> None:
    async with speaking(engine, says(reply)) as (jobs, server):
        await jobs.cancel("run1")
    head, body = server.requests[0]
    assert words in unquote(head)
    assert "run1" in head + body.decode()


@pytest.mark.parametrize(
    ("engine", "code"),
    [
        ("glue", "EntityNotFoundException"),
        ("glue", "InvalidInputException"),
        ("emr-serverless", "ResourceNotFoundException"),
        ("emr-serverless", "ValidationException"),
        ("emr", "InvalidRequestException"),
    ],
)
async def test_cancelling_what_is_not_there_is_no_error(engine: str, code: str) -> None:
    async with speaking(engine, json_error(400, code)) as (jobs, server):
        await jobs.cancel("run1")
    assert len(server.requests) == 1


# ------------------------------------------------------------------------------------- starts that don't go well


@pytest.mark.parametrize(
    ("engine", "status", "code"),
    [
        ("glue", 400, "ConcurrentRunsExceededException"),
        ("glue", 400, "ResourceNumberLimitExceededException"),
        ("glue", 400, "EntityNotFoundException"),
        ("glue", 400, "InvalidInputException"),
        ("emr-serverless", 402, "ServiceQuotaExceededException"),
        ("emr-serverless", 409, "ConflictException"),
        ("emr-serverless", 400, "ValidationException"),
        ("emr-serverless", 404, "ResourceNotFoundException"),
        ("emr", 400, "InvalidRequestException"),
        ("emr", 400, "ValidationException"),
    ],
)
async def test_an_engine_that_refuses_a_run_is_busy_and_nothing_was_started(
    engine: str, status: int, code: str
) -> None:
    async with speaking(engine, json_error(status, code), says(NO_RUNS[engine])) as (jobs, _):
        assert await jobs.start(JOB) == Busy(f"{code}: because")


@pytest.mark.parametrize(
    ("engine", "status", "code"),
    [
        ("glue", 400, "ConcurrentRunsExceededException"),
        ("emr-serverless", 409, "ConflictException"),
        ("emr-serverless", 400, "ValidationException"),  # its token came with another size before
    ],
)
async def test_an_engine_that_is_busy_with_the_attempts_own_run_has_started_it(
    engine: str, status: int, code: str
) -> None:
    own = run_as(engine, "own", "RUNNING")
    async with speaking(engine, json_error(status, code), listed(engine, own)) as (jobs, _):
        assert await jobs.start(JOB) == "own"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (json_error(400, "ThrottlingException"), Throttled),
        (json_error(400, "AccessDeniedException"), AccessDenied),
        (json_error(500, "InternalServiceException"), Unreachable),
        (json_error(400, "SomethingNew"), Outage),
        (json_error(400, "InvalidSomethingNew"), Outage),
        (b"", Unreachable),
    ],
)
async def test_whatever_else_goes_wrong_leaves_open_whether_a_run_was_started(
    engine: str, reply: bytes, expected: type[Outage]
) -> None:
    async with speaking(engine, reply) as (jobs, _):
        with pytest.raises(expected) as raised:
            await jobs.start(JOB)
    assert type(raised.value) is expected


@pytest.mark.parametrize(("engine", "tries"), [("glue", 1), ("emr", 1), ("emr-serverless", 3)])
async def test_only_a_start_that_has_a_token_is_repeated_when_its_answer_is_lost(engine: str, tries: int) -> None:
    async with speaking(engine, b"", tries=3) as (jobs, server):
        with pytest.raises(Unreachable):
            await jobs.start(JOB)
        assert len(server.requests) == tries


@pytest.mark.parametrize("engine", ENGINES)
async def test_no_error_names_an_object(engine: str) -> None:
    message = "User is not authorized to read s3://landing/clicks/secret-key or arn:aws:s3:::landing/clicks/secret-key"
    code = {"glue": "InvalidInputException", "emr-serverless": "ValidationException", "emr": "InvalidRequestException"}
    refusal = answer(400, json.dumps({"__type": code[engine], "message": message}), "Content-Type: application/json")
    denial = answer(
        403, json.dumps({"__type": "AccessDeniedException", "message": message}), "Content-Type: application/json"
    )
    async with speaking(engine, refusal, says(NO_RUNS[engine])) as (jobs, _):
        busy = await jobs.start(JOB)
    async with speaking(engine, denial) as (jobs, _):
        with pytest.raises(AccessDenied) as raised:
            await jobs.start(JOB)
    assert isinstance(busy, Busy)
    for text in (busy.reason, str(raised.value)):
        assert "landing/…" in text
        assert "secret-key" not in text


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_worker_starts_though_its_engine_is_down_but_not_without_permission(engine: str) -> None:
    async with speaking(engine, json_error(500, "InternalServiceException")) as (jobs, server):
        await check_engines({engine: jobs}, [engine])
        assert len(server.requests) == 1
    async with speaking(engine, json_error(400, "AccessDeniedException")) as (jobs, _):
        with pytest.raises(AccessDenied):
            await check_engines({engine: jobs}, [engine])


# ---------------------------------------------------------------------------------------------------- looking for a run


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_run_is_found_on_a_later_page(engine: str) -> None:
    pages = [
        listed(engine, run_as(engine, "other", "RUNNING", of=OTHER.manifest), more=True),
        listed(engine, more=True),
        listed(engine, run_as(engine, "own", "FAILED")),
    ]
    async with speaking(engine, *pages) as (jobs, server):
        assert await jobs.find(JOB) == "own"
    assert "more" in str(server.requests[1])


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_search_for_a_run_is_bounded(engine: str) -> None:
    page = listed(engine, run_as(engine, "other", "RUNNING", of=OTHER.manifest), more=True)
    async with speaking(engine, page) as (jobs, server):
        assert await jobs.find(JOB) is None
        assert len(server.requests) == PAGES_MAX


@pytest.mark.parametrize("engine", ENGINES)
async def test_of_two_runs_of_an_attempt_the_one_at_work_is_found(engine: str) -> None:
    runs = [run_as(engine, "loser", "FAILED"), run_as(engine, "winner", "RUNNING")]
    async with speaking(engine, listed(engine, *runs)) as (jobs, _):
        assert await jobs.find(JOB) == "winner"


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_engine_that_cannot_be_asked_is_an_outage_and_no_answer(engine: str) -> None:
    asks: tuple[Callable[[SparkJobs], Awaitable[object]], ...] = (
        lambda jobs: jobs.find(JOB),
        lambda jobs: jobs.status("run1"),
        lambda jobs: jobs.cancel("run1"),
    )
    async with speaking(engine, json_error(400, "ThrottlingException")) as (jobs, _):
        for ask in asks:
            with pytest.raises(Throttled):
                await ask(jobs)


# --------------------------------------------------------------------------------------------------- what runs came to


@pytest.mark.parametrize(
    ("engine", "state", "said", "expected"),
    [
        ("glue", "WAITING", "", RunStatus(RunState.RUNNING, "WAITING")),
        ("glue", "FAILED", "secret", RunStatus(RunState.FAILED, "FAILED")),
        (
            "glue",
            "FAILED",
            "Exceeded maximum concurrent compute capacity for your account",
            RunStatus(RunState.STOPPED, "FAILED, no capacity"),
        ),
        ("glue", "STOPPED", "timed out", RunStatus(RunState.STOPPED, "STOPPED")),
        ("glue", "EXPIRED", "", RunStatus(RunState.STOPPED, "EXPIRED")),
        ("emr-serverless", "QUEUED", "", RunStatus(RunState.RUNNING, "QUEUED")),
        ("emr-serverless", "FAILED", "secret", RunStatus(RunState.FAILED, "FAILED")),
        (
            "emr-serverless",
            "CANCELLED",
            "Job run timed out",
            RunStatus(RunState.FAILED, "CANCELLED, its time was over"),
        ),
        ("emr", "CANCELLED", "Cancelled by user", RunStatus(RunState.STOPPED, "CANCELLED")),
        ("emr", "FAILED", "secret: OutOfMemoryError", RunStatus(RunState.FAILED, "FAILED, out of memory")),
    ],
)
async def test_a_runs_end_is_told_by_its_cause_and_never_in_the_engines_words(
    engine: str, state: str, said: str, expected: RunStatus
) -> None:
    async with speaking(engine, one(engine, run_as(engine, "run1", state, said))) as (jobs, _):
        assert await jobs.status("run1") == expected


@pytest.mark.parametrize(
    ("engine", "code"),
    [
        ("glue", "EntityNotFoundException"),
        ("emr-serverless", "ResourceNotFoundException"),
        ("emr", "InvalidRequestException"),
    ],
)
async def test_a_run_that_the_engine_has_forgotten_is_gone(engine: str, code: str) -> None:
    async with speaking(engine, json_error(400, code)) as (jobs, _):
        assert (await jobs.status("run1")).state is RunState.GONE
