"""The composition of a one-shot conversion: files of this machine or of S3 in, files of this machine or of S3 out."""

import asyncio
import functools
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Protocol

from headsaw.adapters.aws import Aws
from headsaw.adapters.connect import bucket_owners
from headsaw.adapters.inline_sources import Bridge, Prefetch, StoredSource
from headsaw.adapters.oneshot import S3Target, objects_at
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.config import ServiceSettings
from headsaw.convert import convert
from headsaw.core.conversion import ConversionReport, OutputKind, Outputs, SourceStream
from headsaw.core.ids import new_id
from headsaw.core.model import SourceFile
from headsaw.core.settings import DatasetSettings, S3Prefix
from headsaw.errors import UsageError
from headsaw.operate.arguments import parse_uri
from headsaw.operate.oneshot import QUARANTINE, LocalFile, LocalOutputs, SchemaInMemory, Watch, local_files
from headsaw.operate.site import Progress
from headsaw.ports import ObjectStore

SCHEME = "s3://"
PARQUET = ".parquet"
MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Request:
    """What to convert into what, as which dataset; `service` has the accounts of buckets, if there is one."""

    sources: tuple[str, ...]
    destination: str
    settings: DatasetSettings
    service: ServiceSettings | None = None
    append: bool = False
    """Whether the destination may hold Parquet already."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of it: names of the sources, by the report's index, and of the outputs; all outputs are visible."""

    sources: tuple[str, ...]
    report: ConversionReport
    outputs: tuple[str, ...]
    quarantine: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int


class Target(Protocol):
    """Where outputs go, and what makes them visible or undone."""

    @property
    def outputs(self) -> Outputs:
        """For the conversion's thread."""
        ...

    async def publish(self, report: ConversionReport) -> None:
        """The reported outputs are visible, others are gone."""
        ...

    async def discard(self) -> None:
        """Nothing was written."""
        ...

    def name(self, output: str) -> str:
        """The output as people name it."""
        ...


async def run_conversion(request: Request, progress: Progress) -> Conversion:
    """Everything is converted and visible, or (after an error) nothing is.

    Raises UsageError for sources that aren't there and for a destination that can't be one.
    """
    async with AsyncExitStack() as stack:
        store = await _store(request, stack)
        stem = new_id(time.time(), SystemRandom().getrandbits(80))
        bridge = Bridge()
        total = 0
        done = 0

        def told(size: int) -> None:
            nonlocal done
            done += size
            progress("converting (MiB)", done // MEBIBYTE, total // MEBIBYTE)

        watch = Watch(told)
        sources = await _find_sources(request, store, bridge, watch)
        total = sources.stored_bytes
        if not request.append:
            await _refuse_used(request.destination, store)
        target = _target(request, store, bridge, stem)
        return await _convert(request, stem, sources, target, bridge, watch)


async def _convert(
    request: Request, stem: str, sources: "_Sources", target: Target, bridge: Bridge, watch: Watch
) -> Conversion:
    started, cpu = time.monotonic(), time.process_time()
    call = functools.partial(
        convert,
        sources.streams,
        settings=request.settings,
        batch=stem,
        ingested_at=time.time(),
        schema=SchemaInMemory(),
        outputs=target.outputs,
        threads=cores(),
    )
    with ThreadPoolExecutor(1, thread_name_prefix="convert") as pool:
        async with _fetching(sources.prefetch) as stop_fetching:
            work = asyncio.get_running_loop().run_in_executor(pool, call)
            try:
                report = await asyncio.shield(work)
                await target.publish(report)
            except BaseException:
                watch.stopping.set()
                bridge.close()
                await stop_fetching()
                await asyncio.wait({work})
                if not work.cancelled():
                    work.exception()
                await target.discard()
                raise
    return Conversion(
        sources=tuple(stream.name for stream in sources.streams),
        report=report,
        outputs=tuple(target.name(o.name) for o in report.outputs if o.kind is OutputKind.TABLE),
        quarantine=tuple(target.name(o.name) for o in report.outputs if o.kind is OutputKind.QUARANTINE),
        seconds=time.monotonic() - started,
        cpu_seconds=time.process_time() - cpu,
        peak_rss_bytes=peak_rss_bytes(),
    )


@asynccontextmanager
async def _fetching(prefetch: Prefetch | None) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Small objects are fetched ahead inside the context; yields what ends that earlier."""
    if prefetch is None:
        yield _nothing
        return
    task = asyncio.create_task(prefetch.run(), name="prefetch")

    async def stop() -> None:
        task.cancel()
        await prefetch.stop()

    try:
        yield stop
    finally:
        await stop()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _nothing() -> None:
    """Nothing is fetched ahead."""


def peak_rss_bytes() -> int:
    """The most memory that this process ever had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def _store(request: Request, stack: AsyncExitStack) -> ObjectStore | None:
    """S3, if anything of the request is there."""
    if not any(name.startswith(SCHEME) for name in (*request.sources, request.destination)):
        return None
    aws = await stack.enter_async_context(Aws(region=request.service.region if request.service else None))
    return S3ObjectStore(await aws.client("s3"), bucket_owners(request.service) if request.service else {})


# ------------------------------------------------------------------------------------------------------------ sources


class _Watched:
    """A source whose stored bytes are counted as they pass."""

    def __init__(self, stream: SourceStream, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch
        self.name = stream.name
        self.key = stream.key

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._stream.chunks():
            self._watch.read(len(chunk))
            yield chunk


@dataclass(frozen=True, slots=True)
class _Sources:
    """All sources, those of this machine first. `prefetch` is what fetches small objects ahead."""

    streams: Sequence[SourceStream]
    prefetch: Prefetch | None
    stored_bytes: int


async def _find_sources(request: Request, store: ObjectStore | None, bridge: Bridge, watch: Watch) -> _Sources:
    """Raises UsageError where there is nothing."""
    here = [Path(name) for name in request.sources if not name.startswith(SCHEME)]
    into = None if request.destination.startswith(SCHEME) else Path(request.destination)
    files = await asyncio.to_thread(local_files, here, into)
    streams: list[SourceStream] = [LocalFile(path, watch) for path in files]
    size = sum(path.stat().st_size for path in files)
    if store is None:
        return _Sources(streams, None, size)
    objects: dict[SourceFile, None] = {}
    for name in request.sources:
        if name.startswith(SCHEME):
            objects.update(dict.fromkeys(await objects_at(store, parse_uri(name))))
    prefetch = Prefetch(store, list(objects))
    stored = [StoredSource(bridge, store, prefetch, i, source) for i, source in enumerate(objects)]
    streams += [_Watched(stream, watch) for stream in stored]
    return _Sources(streams, prefetch, size + sum(file.stored_bytes for file in objects))


# ------------------------------------------------------------------------------------------------------------- target


class _LocalTarget:
    """A directory."""

    def __init__(self, destination: str, stem: str) -> None:
        directory = Path(destination)
        if directory.exists() and not directory.is_dir():
            raise UsageError(f"{destination}: the destination is a file; name a directory, or an s3:// prefix")
        self.outputs = LocalOutputs(directory, stem)

    async def publish(self, report: ConversionReport) -> None:
        await asyncio.to_thread(self.outputs.publish, [output.name for output in report.outputs])

    async def discard(self) -> None:
        await asyncio.to_thread(self.outputs.discard)

    def name(self, output: str) -> str:
        return output


async def _refuse_used(destination: str, store: ObjectStore | None) -> None:
    """Raises UsageError where Parquet is already: converting twice would double the rows."""
    if store is not None and destination.startswith(SCHEME):
        place = parse_uri(destination)
        used = False
        async for head in store.list(place.bucket, place.key("")):
            if used := head.key.endswith(PARQUET):
                break
    else:
        used = await asyncio.to_thread(lambda: any(True for _ in Path(destination).rglob(f"*{PARQUET}")))
    if used:
        raise UsageError(f"{destination}: it holds Parquet already; choose an empty place, or add to it with --append")


def _target(request: Request, store: ObjectStore | None, bridge: Bridge, stem: str) -> Target:
    if store is not None and request.destination.startswith(SCHEME):
        place = parse_uri(request.destination)
        quarantine = S3Prefix(bucket=place.bucket, prefix=place.key(f"{QUARANTINE}/"))
        return S3Target(store, bridge, request.settings, place, quarantine, stem)
    return _LocalTarget(request.destination, stem)
