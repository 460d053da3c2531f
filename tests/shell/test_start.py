"""What `headsaw run` finds out before it takes the first message."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.shell.world import Around, Site

from headsaw.adapters.connect import Connected
from headsaw.app import check_at_start
from headsaw.config import ServiceSettings
from headsaw.errors import AccessDenied, Outage, Unreachable


def config() -> ServiceSettings:
    return ServiceSettings.model_validate(
        {
            "queue_url": "http://127.0.0.1/1/q",
            "dlq_url": "http://127.0.0.1/1/dlq",
            "control": "s3://control/headsaw/",
            "quarantine": "s3://control/quarantine/",
            "datasets": [{"name": "clicks", "source": "s3://landing/clicks/", "destination": "s3://lake/clicks/"}],
        }
    )


class Refusing(Around):
    """An object store in which nothing can be written to the lake."""

    def __init__(self, store: Any, outage: Outage) -> None:
        super().__init__(store)
        self.outage = outage

    async def create_upload(self, bucket: str, key: str, metadata: dict[str, str]) -> str:
        if bucket == "lake":
            raise self.outage
        return cast("str", await self.port.create_upload(bucket, key, metadata))


class Unlimited(Around):
    """A queue without a redrive policy that keeps messages long enough."""

    async def traits(self) -> Any:
        return SimpleNamespace(retention_seconds=14 * 86400.0, max_receive_count=None, visibility_seconds=30.0)


async def said(outage: Outage) -> str:
    site = Site()
    queue: Any = Unlimited(site.queue)
    store = Refusing(site.store, outage)
    aws = cast("Connected", SimpleNamespace(queues=(queue,), dlq=queue, ledger=site.ledger(), store=store))
    with pytest.raises(type(outage)) as raised:
        await check_at_start(config(), aws)
    return str(raised.value)


def test_a_place_that_may_not_be_written_to_is_named_with_the_actions_to_allow() -> None:
    text = asyncio.run(said(AccessDenied("create an upload: AccessDenied")))
    assert text == (
        "datasets[0].destination: s3://lake/clicks/ can't be written to: create an upload: AccessDenied; "
        "allow s3:PutObject and s3:AbortMultipartUpload there"
    )


def test_a_place_that_does_not_answer_is_no_matter_of_permissions() -> None:
    text = asyncio.run(said(Unreachable("create an upload: 503")))
    assert text == "datasets[0].destination: s3://lake/clicks/ can't be written to: create an upload: 503"
