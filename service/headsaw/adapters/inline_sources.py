"""How a conversion's thread gets its bytes: small sources are fetched ahead, large ones streamed with a read-ahead.

The thread asks, the event loop does all I/O. Fetching ahead keeps within a budget of files and bytes, so that a batch
of small files doesn't wait for each round trip and memory stays bounded (G7).
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from headsaw.core.model import RecordRange, Source, SourceFile
from headsaw.errors import AccessDenied, LeaseLost, Outage, SourceUnreadable
from headsaw.ports import ObjectStore, ReadFailure

T = TypeVar("T")

SMALL_BYTES = 1024**2
PREFETCH_FILES = 32
PREFETCH_BYTES = 16 * 1024**2
CHUNKS_AHEAD = 2
DENIED_ATTEMPTS_MIN = 3
DENIED_PROBES_MAX = 16


class Bridge:
    """Lets the conversion's thread run coroutines on the loop (by default the running one); closed, calls raise
    LeaseLost, also those under way.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._under_way: set[Future[Any]] = set()

    def close(self) -> None:
        """The thread stops at once: a call that nobody answers must not hold up a drain."""
        with self._lock:
            self._closed = True
            under_way = tuple(self._under_way)
        for call in under_way:
            call.cancel()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """From the thread: the coroutine runs on the loop."""
        with self._lock:
            if self._closed:
                coroutine.close()
                raise LeaseLost("the conversion was stopped")
            call = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
            self._under_way.add(call)
        call.add_done_callback(self._forget)
        return call

    def _forget(self, call: "Future[Any]") -> None:
        with self._lock:
            self._under_way.discard(call)

    def result(self, call: "Future[T]") -> T:
        """From the thread: what came of a call that was started."""
        try:
            return call.result()
        except CancelledError:
            raise LeaseLost("the conversion was stopped") from None

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """From the thread: the coroutine's result."""
        return self.result(self.start(coroutine))

    def soon(self, callback: Callable[[], object]) -> None:
        """From the thread: the callback runs on the loop."""
        self._loop.call_soon_threadsafe(callback)


class Prefetch:
    """Fetches small sources ahead of the thread, in order, within a budget of files and bytes."""

    def __init__(self, store: ObjectStore, sources: Sequence[Source]) -> None:
        self._store = store
        small = [(index, source) for index, source in enumerate(sources) if is_small(source)]
        self._ready: dict[int, Future[bytes]] = {index: Future() for index, _ in small}
        # Only the thread keeps a source's bytes: once fetched, nothing here refers to them.
        self._wanted = deque((self._ready[index], source) for index, source in small)
        self._unsettled = set(self._ready.values())
        self._files = asyncio.Semaphore(PREFETCH_FILES)
        self._budget = PREFETCH_BYTES
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until every small source was fetched once; what fails is raised where the thread asks for it."""
        while self._wanted:
            future, source = self._wanted.popleft()
            await self._files.acquire()
            while self._budget <= 0:
                self._room.clear()
                await self._room.wait()
            self._budget -= source.stored_bytes
            task = asyncio.create_task(self._fetch(future, source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fetch(self, future: "Future[bytes]", source: Source) -> None:
        try:
            data = await read_source(self._store, source)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread, where it belongs
            self._settle(future, error)
        else:
            self._settle(future, data)
        finally:
            self._files.release()

    def take(self, index: int) -> "Future[bytes] | None":
        """From the thread: the source's bytes to come, once; None if it isn't fetched ahead."""
        return self._ready.pop(index, None)

    def consumed(self, size: int) -> None:
        """On the loop: the thread has done with that many bytes."""
        self._budget += size
        if self._budget > 0:
            self._room.set()

    async def stop(self) -> None:
        """Nothing is fetched any more, and nobody waits for a fetch."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in tuple(self._unsettled):
            self._settle(future, LeaseLost("the conversion was stopped"))

    def _settle(self, future: "Future[bytes]", outcome: bytes | BaseException) -> None:
        """The future is done, with this outcome unless it had one; also one that the thread took and waits for."""
        self._unsettled.discard(future)
        if future.done():
            return
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def is_small(source: Source) -> bool:
    """Worth fetching whole; unknown sizes are streamed."""
    size = source.length if isinstance(source, RecordRange) else source.size
    return size is not None and size <= SMALL_BYTES


async def read_source(store: ObjectStore, source: Source) -> bytes:
    """The source's stored bytes, whole."""
    match source:
        case SourceFile(bucket, key, etag, _, version_id):
            return await store.read_all(bucket, key, etag=etag, version_id=version_id)
        case RecordRange(_, bucket, key, offset, length):
            return await store.read_all(bucket, key, start=offset, length=length)


class Denials:
    """Tells one forbidden object from an outage of all access, for one attempt at a batch.

    Access denied is an outage, retried for ever, since it mostly is a role that somebody is about to mend. But one
    object that belongs to somebody else must not hold up its batch: from the third attempt on, a source that is denied
    while others of its batch can be read is rejected. A batch of that one file waits for an operator.
    """

    def __init__(self, store: ObjectStore, sources: Sequence[Source], attempt: int) -> None:
        self._store = store
        self._sources = sources
        self._attempt = attempt

    async def judge(self, denied: Source) -> bool:
        """Whether the source is forbidden for good."""
        if self._attempt < DENIED_ATTEMPTS_MIN:
            return False
        # Spread over the batch, and other ones at each attempt: forbidden files of one producer arrive together.
        others = [source for source in self._sources if source != denied]
        step = max(1, len(others) // DENIED_PROBES_MAX)
        for source in others[self._attempt % step :: step]:
            try:
                async with open_source(self._store, source) as stream:
                    async for _ in stream:
                        break
            except (Outage, SourceUnreadable):
                continue
            return True
        return False


class StoredSource:
    """`core.conversion.SourceStream` over the object store; used by the thread."""

    def __init__(
        self,
        bridge: Bridge,
        store: ObjectStore,
        prefetch: Prefetch,
        index: int,
        source: Source,
        denials: Denials | None = None,
    ) -> None:
        self._denials = denials
        self._bridge = bridge
        self._store = store
        self._prefetch = prefetch
        self._index = index
        self._source = source
        self.name = source.name
        self.key = source.key if isinstance(source, SourceFile) else ""

    def chunks(self) -> Iterator[bytes]:
        """From the prefetch the first time, streamed otherwise."""
        try:
            yield from self._chunks()
        except AccessDenied as denied:
            if self._denials is not None and self._bridge.call(self._denials.judge(self._source)):
                raise SourceUnreadable(ReadFailure.ACCESS_DENIED, str(denied)) from None
            raise

    def _chunks(self) -> Iterator[bytes]:
        fetched = self._prefetch.take(self._index)
        if fetched is not None:
            try:
                yield fetched.result()
            finally:
                self._bridge.soon(lambda: self._prefetch.consumed(self._source.stored_bytes))
        elif is_small(self._source):
            yield self._bridge.call(read_source(self._store, self._source))
        else:
            yield from self._streamed()

    def _streamed(self) -> Iterator[bytes]:
        yield from read_ahead(self._bridge, open_source(self._store, self._source))


def open_source(store: ObjectStore, source: Source) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """The source's stored bytes as a stream."""
    match source:
        case SourceFile():
            return open_range(store, source, 0, None)
        case RecordRange(_, bucket, key, offset, length):
            return store.read(bucket, key, start=offset, length=length)


def open_range(
    store: ObjectStore, source: SourceFile, start: int, stop: int | None
) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """Bytes [start, stop) of the object as a stream."""
    length = None if stop is None else stop - start
    return store.read(
        source.bucket, source.key, etag=source.etag, version_id=source.version_id, start=start, length=length
    )


def read_ahead(bridge: Bridge, opening: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> Iterator[bytes]:
    """From the thread: the stream's chunks, read a few ahead."""
    ahead = ReadAhead(opening)
    bridge.call(ahead.start())
    try:
        while (chunk := bridge.call(ahead.next())) is not None:
            yield chunk
    finally:
        bridge.soon(ahead.stop)


class ReadAhead:
    """On the loop: a task that reads a stream a few chunks ahead of whoever calls `next`."""

    def __init__(self, opening: AbstractAsyncContextManager[AsyncIterator[bytes]]) -> None:
        self._opening = opening
        self._chunks: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(CHUNKS_AHEAD)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The first chunk is on its way."""
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async with self._opening as stream:
                async for chunk in stream:
                    await self._chunks.put(chunk)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised by next(), in the thread
            await self._chunks.put(error)
        else:
            await self._chunks.put(None)

    async def next(self) -> bytes | None:
        """The next chunk, None at the end; raises what reading raised."""
        chunk = await self._chunks.get()
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def stop(self) -> None:
        """The stream is closed soon."""
        if self._task is not None:
            self._task.cancel()
