from uuid import uuid4

import pytest

from headsaw.adapters.aws import Aws
from headsaw.adapters.connect import connect
from headsaw.adapters.local import create_resources, is_loopback
from headsaw.config import ServiceSettings
from headsaw.demo.emulator import Endpoint
from headsaw.errors import UsageError

DAY = 86400.0


def configured(endpoint: Endpoint) -> ServiceSettings:
    name = uuid4().hex[:8]
    queues = f"{endpoint.url}/{endpoint.account}"
    return ServiceSettings.model_validate(
        {
            "queue_url": f"{queues}/landing-{name}",
            "dlq_url": f"{queues}/dead-{name}",
            "ledger_table": f"ledger-{name}",
            "control": f"s3://control-{name}/headsaw/",
            "quarantine": f"s3://control-{name}/quarantine/",
            "datasets": [
                {"name": "clicks", "source": f"s3://landing-{name}/clicks/", "destination": f"s3://lake-{name}/clicks/"}
            ],
        },
        by_alias=True,
    )


@pytest.mark.emulator
async def test_everything_that_a_configuration_names_exists_after_a_local_setup_run_twice(
    emulator_environment: Endpoint,
) -> None:
    config = configured(emulator_environment)
    await create_resources(config)
    await create_resources(config)
    async with connect(config) as aws:
        await aws.ledger.ping()
        for queue in (*aws.queues, aws.dlq):
            assert (await queue.traits()).retention_seconds == 14 * DAY
        for bucket in (config.control.bucket, config.datasets[0].source.bucket, config.datasets[0].destination.bucket):
            await aws.store.ping(bucket)


async def test_aws_region_is_the_region_of_every_client_whoever_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    async with Aws() as aws, Aws(region="eu-west-1") as configured:
        assert (await aws.client("sqs")).meta.region_name == "eu-central-1"
        assert (await configured.client("sqs")).meta.region_name == "eu-west-1"


async def test_a_local_setup_never_asks_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Endpoint("http://192.0.2.1:4566", "us-east-1", "1" * 12, 0).env.items():
        monkeypatch.setenv(name, value)
    config = configured(Endpoint("http://192.0.2.1:4566", "us-east-1", "1" * 12, 0))
    with pytest.raises(UsageError, match="isn't this machine"):
        await create_resources(config)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://localhost:4566", True),
        ("http://[::1]:4566", True),
        ("http://s3.localhost:4566", True),
        ("http://127.0.0.1.example.com", False),
        ("https://sqs.eu-west-1.amazonaws.com", False),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_only_loopback_counts_as_local(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
