"""The composition root: builds a worker out of a configuration and runs it until it is told to stop."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from random import SystemRandom

from headsaw.adapters.connect import Connected, connect
from headsaw.adapters.engines import check_engines, spark_engines
from headsaw.adapters.inline import InlineConverter
from headsaw.config import ServiceSettings
from headsaw.convert import parser_choice
from headsaw.core.facts import Fact, NativePassedOver, TaskDied, Where, WorkerStarted
from headsaw.core.model import WorkerId
from headsaw.core.settings import S3Prefix
from headsaw.errors import AccessDenied, Outage, UsageError
from headsaw.http import Health, keep_checking, serve
from headsaw.ports import SparkJobs
from headsaw.telemetry import Telemetry, open_telemetry
from headsaw.worker.context import Context, Limits, Place, World
from headsaw.worker.publisher import UploadPublisher
from headsaw.worker.service import Worker

CHECK_SECONDS = 10.0
STALE_SECONDS = 45.0
RETENTION_SECONDS_MIN = 14 * 86400.0
RECEIVES_MIN = 1000
CANCEL_SECONDS = 2.0
ABORTED = 1
"""Exit status after a second SIGTERM, or when a task died."""


def headsaw_version() -> str:
    """As installed."""
    return version("headsaw")


def worker_id() -> WorkerId:
    """Unique among all processes, and telling for people: host, process, chance."""
    return WorkerId(f"{socket.gethostname()[:40]}-{os.getpid()}-{SystemRandom().getrandbits(32):08x}")


def limits_of(config: ServiceSettings) -> Limits:
    """The worker's numbers out of the configuration."""
    return Limits(
        lease_seconds=config.lease_seconds,
        drain_seconds=config.drain_seconds,
        visibility_seconds=config.visibility_seconds,
        poll_seconds=config.poll_wait,
        foreign_seconds=config.foreign_after,
        conversions=config.conversions,
        pollers=config.pollers,
        attempts_max=config.attempts_max,
        spark_poll_seconds=config.spark.poll,
        spark_run_seconds_max=config.spark.run_max,
    )


def place_of(config: ServiceSettings) -> Place:
    """What a Spark run must find without this configuration."""
    return Place(
        control=config.control,
        quarantine=config.quarantine,
        ledger_table=config.ledger_table,
        ledger_retention_seconds=config.ledger_retention,
        region=config.region,
    )


def engines_of(config: ServiceSettings) -> list[str]:
    """The Spark engines that datasets name."""
    return sorted({dataset.spark.engine for dataset in config.datasets} - {"none"})


def build_worker(
    config: ServiceSettings,
    aws: Connected,
    converter: InlineConverter,
    engines: Mapping[str, SparkJobs],
    worker: WorkerId,
    tell: Callable[[Fact], None],
) -> Worker:
    """A worker over these ports, not running yet."""
    world = World(
        queues=aws.queues,
        dlq=aws.dlq,
        ledger=aws.ledger,
        store=aws.store,
        converter=converter,
        publisher=UploadPublisher(aws.store),
        clock=aws.clock,
        engines=engines,
    )
    context = Context(worker, world, limits_of(config), place_of(config), tell, SystemRandom())
    return Worker(context, config.datasets, config.default_dataset)


async def check_at_start(config: ServiceSettings, aws: Connected) -> None:
    """Queues, ledger and buckets are there and set up right; raises UsageError or Outage if not."""
    await aws.ledger.ping()
    await aws.dlq.traits()
    for url, queue in zip(config.queue_urls, aws.queues, strict=True):
        traits = await queue.traits()
        if traits.retention_seconds < RETENTION_SECONDS_MIN:
            raise UsageError(
                f"queue {url}: keeps messages for {traits.retention_seconds / 86400:g} days, so a longer outage loses "
                "them; set its MessageRetentionPeriod to 1209600 (14 days)"
            )
        if traits.max_receive_count is not None and traits.max_receive_count < RECEIVES_MIN:
            raise UsageError(
                f"queue {url}: its redrive policy moves messages away after {traits.max_receive_count} receives, "
                f"and an outage takes more; set maxReceiveCount to {RECEIVES_MIN}, or remove the policy (headsaw sends "
                "what it can't process to the DLQ itself)"
            )
    for bucket in sorted({dataset.source.bucket for dataset in config.datasets}):
        await aws.store.ping(bucket)
    for what, place in _written_places(config).items():
        await _check_writable(aws, what, place)


def _written_places(config: ServiceSettings) -> dict[str, S3Prefix]:
    places = {f"datasets[{i}].destination": dataset.destination for i, dataset in enumerate(config.datasets)}
    return {"control": config.control, "quarantine": config.quarantine, **places}


async def _check_writable(aws: Connected, what: str, place: S3Prefix) -> None:
    """An upload can be begun and aborted there: what nobody ever sees."""
    key = place.key("headsaw-write-check")
    try:
        await aws.store.ping(place.bucket)
        upload = await aws.store.create_upload(place.bucket, key, {})
        await aws.store.abort_upload(place.bucket, key, upload)
    except Outage as outage:
        denied = isinstance(outage, AccessDenied)
        remedy = "; allow s3:PutObject and s3:AbortMultipartUpload there" if denied else ""
        raise type(outage)(f"{what}: {place} can't be written to: {outage}{remedy}") from None


class Signals:
    """The first SIGTERM or SIGINT asks to drain, the second to abort. Listens from the moment it is made."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.abort = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.stop.is_set():
            self.abort.set()
        self.stop.set()


async def run_service(config: ServiceSettings) -> int:
    """The worker's whole life; returns the exit status. Raises UsageError and Outage only before it has started."""
    parser = parser_choice()
    signals = Signals()
    worker_name = worker_id()
    datasets = [dataset.name for dataset in config.datasets]
    with open_telemetry(config.log, worker=worker_name, datasets=datasets, engines=engines_of(config)) as telemetry:
        async with connect(config, telemetry.count_api_call, telemetry.count_write_units) as aws:
            await check_at_start(config, aws)
            engines = await spark_engines(config.spark, aws.client)
            await check_engines(engines, [dataset.spark.engine for dataset in config.datasets])
            if signals.stop.is_set():
                return 0
            health = Health(aws.clock.monotonic, STALE_SECONDS)
            converter = InlineConverter(
                aws.store,
                aws.ledger,
                aws.clock,
                config.quarantine,
                new_token=lambda: f"{SystemRandom().getrandbits(128):032x}",
                threads=config.conversions,
                memory_bytes=int(config.memory_bytes),
            )
            worker = build_worker(config, aws, converter, engines, worker_name, telemetry.tell)
            telemetry.tell(
                WorkerStarted(headsaw_version(), worker_name, len(datasets), config.conversions, parser.name)
            )
            if parser.passed_over:
                telemetry.tell(NativePassedOver(parser.passed_over))
            async with serve(config.http, health, telemetry.exposition):
                status = await _supervise(worker, health, telemetry, signals, _checks(config, aws))
            if status == 0:
                await converter.close()
            return status


def _checks(config: ServiceSettings, aws: Connected) -> dict[Where, Callable[[], Awaitable[object]]]:
    """What readiness asks, each cheap."""
    return {
        Where.QUEUE: aws.queues[0].depth,
        Where.LEDGER: aws.ledger.ping,
        Where.BUCKET: lambda: aws.store.ping(config.control.bucket),
    }


async def _supervise(
    worker: Worker,
    health: Health,
    telemetry: Telemetry,
    signals: Signals,
    checks: dict[Where, Callable[[], Awaitable[object]]],
) -> int:
    """Until the worker has drained, was told to abort, or one of its tasks has died; returns the exit status."""

    async def drain_when_told() -> None:
        await signals.stop.wait()
        health.draining()
        worker.stop()

    running = asyncio.create_task(worker.run(), name="worker")
    checking = asyncio.create_task(keep_checking(health, checks, asyncio.sleep, CHECK_SECONDS), name="health")
    draining = asyncio.create_task(drain_when_told(), name="drain")
    aborting = asyncio.create_task(signals.abort.wait(), name="abort")
    try:
        await asyncio.wait({running, checking, aborting}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, checking):
            if task.done() and (error := task.exception()) is not None:
                health.died(task.get_name())
                cause = error.__cause__ or error
                telemetry.tell(TaskDied(str(error), type(cause).__name__, str(cause)))
                return ABORTED
        return 0 if running.done() else ABORTED
    finally:
        for other in (running, checking, draining, aborting):
            other.cancel()
        await asyncio.wait({running, checking, draining, aborting}, timeout=CANCEL_SECONDS)
