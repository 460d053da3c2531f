"""A short storm over real processes with a fixed seed, and the proxy's faults as the adapters understand them.

`make chaos MINUTES=10` is the long one.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest
from tests.chaos.faults import Fault, Faults, Request
from tests.chaos.proxy import Proxy

from headsaw.adapters.aws import Aws
from headsaw.adapters.dynamodb import DynamoTable
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.adapters.sqs import SqsQueue
from headsaw.core.commit import PendingUpload
from headsaw.core.conversion import OutputKind
from headsaw.demo.emulator import Endpoint
from headsaw.errors import Outage, Throttled, Unreachable

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]


@pytest.mark.thorough
def test_real_workers_in_a_storm_of_faults_lose_and_double_nothing() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADSAW_"))}
    options = ["--minutes", "0.3", "--workers", "2", "--lease", "3", "--seed", "5", "--leases-to-done", "20"]
    command = [sys.executable, "-m", "tests.chaos", *options]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=220)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "nothing is wrong: every id was found once"
    counts = dict(line.strip().split(" ", 1)[::-1] for line in ran.stdout.splitlines() if line.startswith("    "))
    assert int(counts["kills"]) >= 3
    assert int(counts["pauses past the lease"]) >= 1
    assert int(counts["answer lost after the effect"]) >= 1


# --- the proxy


@dataclass(slots=True)
class Always(Faults):
    """One fault befalls every request that is of its method or operation."""

    random: Random = field(default_factory=lambda: Random(1))
    share: float = 1.0
    fault: Fault = Fault.RESET
    operation: str = ""

    def choose(self, request: Request, *, starting: bool = False) -> Fault | None:
        return self.fault if self.active and request.operation == self.operation else None


@asynccontextmanager
async def behind(endpoint: Endpoint, fault: Fault, operation: str) -> AsyncIterator[Aws]:
    proxy = Proxy(endpoint.url, Always(fault=fault, operation=operation))
    door = await proxy.open()
    try:
        async with Aws(endpoint_url=door.url, tries=1) as aws:
            yield aws
    finally:
        proxy.calm()
        proxy.close()


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        (Fault.UNAVAILABLE, Unreachable),
        (Fault.THROTTLED, Throttled),
        (Fault.RESET, Unreachable),
        (Fault.LOST, Unreachable),
        (Fault.CUT, Unreachable),
    ],
)
async def test_every_fault_is_an_outage_of_its_kind_to_each_service(
    emulator_environment: Endpoint, fault: Fault, meaning: type[Outage]
) -> None:
    async with Aws() as direct:
        url = (await (await direct.client("sqs")).create_queue(QueueName="proxied"))["QueueUrl"]
        await (await direct.client("s3")).create_bucket(Bucket="proxied")
    async with behind(emulator_environment, fault, "GetQueueAttributes") as aws:
        with pytest.raises(meaning):
            await SqsQueue(await aws.client("sqs"), url).depth()
    async with behind(emulator_environment, fault, "GET") as aws:
        with pytest.raises(meaning):
            await S3ObjectStore(await aws.client("s3")).ping("proxied")
    async with behind(emulator_environment, fault, "DescribeTable") as aws:
        with pytest.raises(meaning):
            await DynamoTable(await aws.client("dynamodb"), "proxied").check_shape()


async def test_what_is_answered_too_late_has_had_its_effect_and_what_is_refused_has_not(
    emulator_environment: Endpoint,
) -> None:
    async with Aws() as direct:
        store = S3ObjectStore(await direct.client("s3"))
        await (await direct.client("s3")).create_bucket(Bucket="effects")
        for fault, effect in ((Fault.LOST, True), (Fault.CUT, True), (Fault.RESET, False), (Fault.UNAVAILABLE, False)):
            async with behind(emulator_environment, fault, "PUT") as aws:
                with pytest.raises(Unreachable):
                    await S3ObjectStore(await aws.client("s3")).put("effects", fault.name, b"body")
            assert (await store.head("effects", fault.name) is not None) is effect


async def test_an_error_inside_a_200_is_no_success(emulator_environment: Endpoint) -> None:
    async with Aws() as direct:
        store = S3ObjectStore(await direct.client("s3"))
        await (await direct.client("s3")).create_bucket(Bucket="errors")
        for fault, effect in ((Fault.ERROR_IN_200, False), (Fault.ERROR_IN_200_AFTER, True)):
            upload = await store.create_upload("errors", fault.name, {})
            part = await store.upload_part("errors", fault.name, upload, 1, b"body")
            pending = PendingUpload("errors", fault.name, upload, "token", (part,), OutputKind.TABLE, "", 1, 1)
            async with behind(emulator_environment, fault, "CompleteMultipartUpload") as aws:
                with pytest.raises(Unreachable):
                    await S3ObjectStore(await aws.client("s3")).complete_upload(pending)
            assert (await store.head("errors", fault.name) is not None) is effect
