"""Everything that a configuration names in AWS, connected: queues, ledger, buckets, one clock."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import SystemRandom
from typing import Any

from headsaw.adapters.aws import Aws
from headsaw.adapters.clock import LedgerClock
from headsaw.adapters.dynamodb import DynamoTable, Spent
from headsaw.adapters.inline_sources import PREFETCH_FILES
from headsaw.adapters.ledger import TableLedger
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.adapters.sqs import SqsQueue
from headsaw.config import ServiceSettings

STREAMS_AND_PARTS = 8

CountCall = Callable[[str, str], None]
"""Told the service and operation of every request that is sent, retries included."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The ports over AWS, and what makes the client of another service. Open until the context that made them ends."""

    queues: tuple[SqsQueue, ...]
    dlq: SqsQueue
    ledger: TableLedger
    store: S3ObjectStore
    clock: LedgerClock
    client: Callable[[str], Awaitable[Any]]


def not_counted(service: str, operation: str) -> None:
    """For commands that don't measure their calls."""


@asynccontextmanager
async def connect(
    config: ServiceSettings, count: CountCall = not_counted, spent: Spent | None = None
) -> AsyncIterator[Connected]:
    """Clients exist, nothing was asked of AWS yet. Raises UsageError where region or endpoint are wrong."""
    clock = LedgerClock()
    async with Aws(region=config.region, clock=clock, connections=connections(config)) as aws:
        client = partial(_counted, aws, count)
        sqs, s3, dynamodb = [await client(service) for service in ("sqs", "s3", "dynamodb")]
        yield Connected(
            queues=tuple(SqsQueue(sqs, url) for url in config.queue_urls),
            dlq=SqsQueue(sqs, config.dlq_url),
            ledger=TableLedger(
                DynamoTable(dynamodb, config.ledger_table, spent),
                clock,
                SystemRandom().random,
                config.ledger_retention,
            ),
            store=S3ObjectStore(s3, bucket_owners(config)),
            clock=clock,
            client=client,
        )


def connections(config: ServiceSettings) -> int:
    """So many at once for each service that nothing waits for a connection that it is itself holding up.

    A conversion reads one stream, uploads two parts for each of a few outputs, and fetches small files ahead; every
    poller holds one connection for as long as it polls.
    """
    conversion = PREFETCH_FILES + STREAMS_AND_PARTS
    return max(64, config.conversions * conversion + 16, config.pollers * len(config.queue_urls) + 32)


async def _counted(aws: Aws, count: CountCall, service: str) -> Any:
    client = await aws.client(service)

    def sent(operation_name: str, **_: object) -> None:
        count(service, operation_name)

    client.meta.events.register(f"request-created.{service}", sent)
    return client


def bucket_owners(config: ServiceSettings) -> dict[str, str]:
    """The account that must own each bucket, where the configuration says so; S3 refuses calls to any other's."""
    owners: dict[str, str] = {}
    for dataset in config.datasets:
        if dataset.source_account is not None:
            owners[dataset.source.bucket] = dataset.source_account
        if dataset.destination_account is not None:
            owners[dataset.destination.bucket] = dataset.destination_account
    return owners
