"""Where the suite of the Spark engines gets its engines from: moto's Glue and EMR, and this machine."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from benches import shared_session

from headsaw.adapters.aws import Aws
from headsaw.adapters.emr import EmrSpark
from headsaw.adapters.emr_serverless import EmrServerlessSpark
from headsaw.adapters.engines import Engine
from headsaw.adapters.glue import GlueSpark
from headsaw.adapters.spark_local import LocalSpark, _host
from headsaw.config import EmrServerlessSettings, EmrSettings, GlueSettings
from headsaw.core.model import BatchId
from headsaw.demo.emulator import Endpoint
from headsaw.detached import stop_all
from headsaw.ports import SparkJob

MOTO_ROLE = "arn:aws:iam::123456789012:role/headsaw-spark"
SCRIPT = "s3://code/headsaw/job.py"


@dataclass(frozen=True, slots=True)
class EngineBench:
    """An engine; one whose place in AWS, or whose Python, isn't there; and the id of a run that never was.

    `release` lets runs end, where they don't by themselves.
    """

    engine: Engine
    nowhere: Engine
    unknown: str
    release: Callable[[], Awaitable[object]]


def job_of(batch: str, attempt: int = 1) -> SparkJob:
    """The attempt's job. Batches of different tests never meet in one place."""
    manifest = f"s3://control/headsaw/manifests/{batch}/{attempt}.json"
    return SparkJob(BatchId(batch), attempt, "clicks", manifest, 100 * 1024**3)


@asynccontextmanager
async def local_bench(folder: Path) -> AsyncIterator[EngineBench]:
    released = folder / "released"
    waits = ("sh", "-c", f"until [ -e {released} ]; do sleep 0.02; done")
    engine = LocalSpark(folder / "runs", command=waits, stop_seconds=0.5)
    nowhere = LocalSpark(folder / "runs", python=str(folder / "no-python"))
    try:
        yield EngineBench(engine, nowhere, f"never.{_host()}", lambda: asyncio.to_thread(released.touch))
    finally:
        await asyncio.to_thread(stop_all, folder / "runs")


@asynccontextmanager
async def glue_bench(endpoint: Endpoint) -> AsyncIterator[EngineBench]:
    """Runs are STARTING, RUNNING and SUCCEEDED, each at the next time that somebody asks; two at once at most."""
    await asyncio.to_thread(_glue_runs_advance_when_asked, endpoint)
    name = f"headsaw-{uuid4().hex[:8]}"
    async with Aws(session=shared_session()) as aws:
        client = await aws.client("glue")
        command = {"Name": "glueetl", "ScriptLocation": SCRIPT, "PythonVersion": "3"}
        await client.create_job(
            Name=name, Role=MOTO_ROLE, Command=command, GlueVersion="5.0", ExecutionProperty={"MaxConcurrentRuns": 2}
        )
        engine = GlueSpark(client, GlueSettings(job_name=name))
        nowhere = GlueSpark(client, GlueSettings(job_name=f"no-{name}"))
        yield EngineBench(engine, nowhere, "jr_never", by_themselves)


def _glue_runs_advance_when_asked(endpoint: Endpoint) -> None:
    transition = {"model_name": "glue::job_run", "transition": {"progression": "manual", "times": 1}}
    request = urllib.request.Request(
        f"{endpoint.url}/moto-api/state-manager/set-transition",
        data=json.dumps(transition).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status < 300


@asynccontextmanager
async def emr_serverless_bench(_: Endpoint) -> AsyncIterator[EngineBench]:
    async with Aws(session=shared_session()) as aws:
        client = await aws.client("emr-serverless")
        made = await client.create_application(releaseLabel="emr-7.9.0", type="SPARK", clientToken=uuid4().hex)

        def engine(application: str) -> Engine:
            settings = {"application_id": application, "execution_role_arn": MOTO_ROLE, "entry_point": SCRIPT}
            return EmrServerlessSpark(client, EmrServerlessSettings.model_validate(settings))

        yield EngineBench(engine(made["applicationId"]), engine("00nowhere"), "00never", by_themselves)


@asynccontextmanager
async def emr_bench(_: Endpoint) -> AsyncIterator[EngineBench]:
    async with Aws(session=shared_session()) as aws:
        client = await aws.client("emr")
        instances: dict[str, Any] = {
            "MasterInstanceType": "m7g.xlarge",
            "SlaveInstanceType": "m7g.xlarge",
            "InstanceCount": 2,
            "KeepJobFlowAliveWhenNoSteps": True,
        }
        made = await client.run_job_flow(
            Name="headsaw", ReleaseLabel="emr-7.9.0", Instances=instances, JobFlowRole="r", ServiceRole="s"
        )

        def engine(cluster: str) -> Engine:
            return EmrSpark(client, EmrSettings(cluster_id=cluster, entry_point=SCRIPT))

        yield EngineBench(engine(made["JobFlowId"]), engine("j-NOWHERE"), "s-NEVER", by_themselves)


async def by_themselves() -> None:
    """Nothing has to be done for runs to end."""


SERVED = {"glue": glue_bench, "emr-serverless": emr_serverless_bench, "emr": emr_bench}
