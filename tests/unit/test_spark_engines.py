"""What each engine's words mean: states, causes, sizes, and which of several runs is a job's."""

from collections.abc import Mapping
from typing import get_args

import botocore.session
import pytest

from headsaw.adapters import emr, emr_serverless, glue
from headsaw.adapters.engines import spark_engines
from headsaw.adapters.runs import best_run, client_token, size_of, status_of
from headsaw.adapters.spark_submit import options_of
from headsaw.config import EmrServerlessSettings, EmrSettings, EngineSettings, GlueSettings
from headsaw.core.delegation import RunState, RunStatus
from headsaw.core.model import BatchId
from headsaw.core.settings import Engine
from headsaw.ports import SparkJob

GIB = 1024**3
RUNNING, SUCCEEDED, FAILED, STOPPED = RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED
GLUE = GlueSettings(job_name="headsaw")
SERVERLESS = EmrServerlessSettings(
    application_id="app1",
    execution_role_arn="arn:aws:iam::111122223333:role/spark",
    entry_point="s3://code/job.py",
    archive="s3://code/environment.tar.gz",
)
CLUSTER = EmrSettings(cluster_id="j-1", entry_point="s3://code/job.py", archive="s3://code/environment.tar.gz")
JOB = SparkJob(BatchId("01k"), 2, "clicks", "s3://control/manifests/01k/2.json", 100 * GIB)


@pytest.mark.parametrize(
    ("states", "service", "operation", "path"),
    [
        pytest.param(glue.STATES, "glue", "GetJobRun", ("JobRun", "JobRunState"), id="glue"),
        pytest.param(emr_serverless.STATES, "emr-serverless", "GetJobRun", ("jobRun", "state"), id="emr-serverless"),
        pytest.param(emr.STATES, "emr", "DescribeStep", ("Step", "Status", "State"), id="emr"),
    ],
)
def test_every_state_that_aws_describes_means_something(
    states: Mapping[str, RunState], service: str, operation: str, path: tuple[str, ...]
) -> None:
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).output_shape
    for step in path:
        shape = shape.members[step]
    assert set(states) == set(shape.enum)


@pytest.mark.parametrize(
    ("states", "state", "means"),
    [
        *((glue.STATES, state, RUNNING) for state in ("STARTING", "RUNNING", "STOPPING", "WAITING")),
        (glue.STATES, "SUCCEEDED", SUCCEEDED),
        *((glue.STATES, state, FAILED) for state in ("FAILED", "TIMEOUT")),
        *((glue.STATES, state, STOPPED) for state in ("STOPPED", "ERROR", "EXPIRED")),
        *(
            (emr_serverless.STATES, state, RUNNING)
            for state in ("SUBMITTED", "QUEUED", "PENDING", "SCHEDULED", "RUNNING", "CANCELLING")
        ),
        (emr_serverless.STATES, "SUCCESS", SUCCEEDED),
        (emr_serverless.STATES, "FAILED", FAILED),
        (emr_serverless.STATES, "CANCELLED", STOPPED),
        *((emr.STATES, state, RUNNING) for state in ("PENDING", "RUNNING", "CANCEL_PENDING")),
        (emr.STATES, "COMPLETED", SUCCEEDED),
        *((emr.STATES, state, FAILED) for state in ("FAILED", "INTERRUPTED")),
        (emr.STATES, "CANCELLED", STOPPED),
    ],
)
def test_a_state_means_the_same_for_every_engine(states: Mapping[str, RunState], state: str, means: RunState) -> None:
    assert status_of(states, state) == RunStatus(means, state)


def test_a_state_that_is_new_is_waited_on() -> None:
    assert status_of(glue.STATES, "PONDERING", "out of memory") == RunStatus(RUNNING, "PONDERING")


@pytest.mark.parametrize(
    ("state", "said", "status"),
    [
        ("FAILED", "Exceeded maximum concurrent compute capacity for your account.", (STOPPED, "no capacity")),
        ("FAILED", "The job exceeded its maximum allowed concurrent runs", (STOPPED, "no capacity")),
        ("FAILED", "The specified subnet does not have enough free addresses", (STOPPED, "no capacity")),
        ("FAILED", "ApplicationMaxCapacityExceededException: Worker could not", (STOPPED, "no capacity")),
        ("FAILED", "We have INSUFFICIENT instance capacity now", (STOPPED, "no capacity")),
        ("FAILED", "An error: AccessDenied when calling GetObject", (STOPPED, "access denied")),
        ("FAILED", "is not authorized to perform: dynamodb:UpdateItem", (STOPPED, "access denied")),
        (
            "FAILED",
            "ModuleNotFoundError: No module named 'headsaw'",
            (STOPPED, "its package or environment is not there"),
        ),
        ("FAILED", "java.lang.OutOfMemoryError: Java heap space", (FAILED, "out of memory")),
        ("FAILED", "Container exited. ExitCode: 137. secret/key", (FAILED, "out of memory")),
        ("FAILED", "s3://landing/secret/key: ValueError", (FAILED, "")),
        ("FAILED", None, (FAILED, "")),
        ("CANCELLED", "Job run timed out", (FAILED, "its time was over")),
        ("CANCELLED", "Job run was cancelled by user", (STOPPED, "")),
        ("SUCCESS", "AccessDenied", (SUCCEEDED, "")),
    ],
)
def test_the_cause_says_whether_the_data_is_to_blame_and_nothing_is_quoted(
    state: str, said: str | None, status: tuple[RunState, str]
) -> None:
    found = status_of(emr_serverless.STATES, state, said)
    means, cause = status
    assert found == RunStatus(means, f"{state}, {cause}" if cause else state)


@pytest.mark.parametrize(
    ("batch_bytes", "expected"),
    [(0, 2), (1, 2), (32 * GIB, 2), (32 * GIB + 1, 3), (100 * GIB, 5), (1024 * GIB, 33), (10**15, 40)],
)
def test_a_glue_run_has_a_driver_and_as_many_workers_as_its_bytes_ask_for(batch_bytes: int, expected: int) -> None:
    assert glue.workers(GLUE, batch_bytes) == expected


def test_a_glue_run_never_has_fewer_or_more_workers_than_allowed() -> None:
    bounded = GLUE.model_copy(update={"workers_min": 4, "workers_max": 6})
    sizes = [glue.workers(bounded, n * GIB) for n in range(0, 1000, 7)]
    assert sizes == sorted(sizes)
    assert (min(sizes), max(sizes)) == (4, 6)


def test_sizes_are_bounded_and_rise_with_the_bytes() -> None:
    sizes = [size_of(n, 10, 2, 5) for n in range(100)]
    assert sizes == sorted(sizes)
    assert [size_of(n, 10, 2, 5) for n in (0, 20, 21, 50, 51, 10**12)] == [2, 2, 3, 5, 5, 5]


def test_an_executors_memory_is_java_and_conversions_together() -> None:
    options = options_of(SERVERLESS, 100 * GIB)
    assert options["spark.executor.memory"] == "4096m"
    assert options["spark.executor.memoryOverhead"] == "12288m"
    assert options["spark.dynamicAllocation.maxExecutors"] == "4"
    assert options["spark.dynamicAllocation.initialExecutors"] == "4"


def test_a_serverless_run_brings_its_python_along() -> None:
    parameters = emr_serverless.submit_parameters(SERVERLESS, 1).split()
    assert parameters[::2] == ["--conf"] * (len(parameters) // 2)
    told = dict(parameter.split("=", 1) for parameter in parameters[1::2])
    assert told["spark.archives"] == "s3://code/environment.tar.gz#environment"
    assert told["spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON"] == "./environment/bin/python"
    assert told["spark.executorEnv.PYSPARK_PYTHON"] == "./environment/bin/python"
    without = emr_serverless.submit_parameters(SERVERLESS.model_copy(update={"archive": None}), 1)
    assert "PYSPARK" not in without


def test_a_step_runs_its_driver_in_the_cluster_and_once() -> None:
    command = emr.submit(CLUSTER, JOB)
    assert command[:5] == ["spark-submit", "--master", "yarn", "--deploy-mode", "cluster"]
    assert command[5:7] == ["--archives", "s3://code/environment.tar.gz#environment"]
    assert command[-3:] == ["s3://code/job.py", "--manifest", JOB.manifest]
    assert "spark.yarn.maxAppAttempts=1" in command
    assert "spark.yarn.appMasterEnv.PYSPARK_PYTHON=./environment/bin/python" in command


def test_a_token_is_what_emr_takes_and_tells_jobs_apart() -> None:
    names = [JOB.name, "x" * 65, "x" * 66, "a b", "ü"]
    tokens = [client_token(name) for name in names]
    assert tokens[0] == JOB.name
    assert len(set(tokens)) == len(names)
    shape = botocore.session.get_session().get_service_model("emr-serverless").operation_model("StartJobRun")
    assert all(len(token) <= shape.input_shape.members["clientToken"].metadata["max"] for token in tokens)
    assert tokens == [client_token(name) for name in names]


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([], None),
        ([("a", STOPPED)], "a"),
        ([("new", STOPPED), ("old", RUNNING)], "old"),
        ([("new", FAILED), ("old", SUCCEEDED)], "old"),
        ([("new", SUCCEEDED), ("old", RUNNING)], "old"),
        ([("new", RUNNING), ("old", RUNNING)], "new"),
        ([("new", FAILED), ("old", STOPPED)], "new"),
    ],
)
def test_of_a_jobs_runs_the_one_that_may_still_end_well_is_its_run(
    found: list[tuple[str, RunState]], best: str | None
) -> None:
    assert best_run(found) == best


async def test_each_engine_that_a_dataset_may_name_is_there_once_it_is_configured() -> None:
    asked = []

    async def client(service: str) -> object:
        asked.append(service)
        return object()

    assert set(await spark_engines(EngineSettings(), client)) == {"local"}
    assert asked == []
    every = EngineSettings(glue=GLUE, emr_serverless=SERVERLESS, emr=CLUSTER)
    assert set(await spark_engines(every, client)) == set(get_args(Engine)) - {"none"}
    assert asked == ["glue", "emr-serverless", "emr"]
