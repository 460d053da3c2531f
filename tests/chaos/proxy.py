"""An HTTP/1.1 proxy in front of the emulator that lets requests fail as networks and AWS do.

Each worker has a door of its own, so that one of them can be killed in the middle of a call. A connection to a door has
one to the emulator; answers are streamed through, requests (at most one part of an upload) are read whole.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from urllib.parse import urlsplit

from tests.chaos.faults import HALF_OPEN_SECONDS, LATENCY_SECONDS, Answer, Fault, Faults, Request

PIECE_BYTES = 64 * 1024
HEAD_BYTES_MAX = 64 * 1024
START_REQUESTS = 18
"""What a worker asks before it begins to work, a few more for what it has to ask again."""
_NOT_SAID = frozenset({"expect", "connection"})


class Dropped(Exception):  # noqa: N818 - an end, not an error
    """The connection ends here, without another word."""


class Proxy:
    """Forwards to `url`; `faults` decides what befalls each request."""

    def __init__(self, url: str, faults: Faults) -> None:
        parts = urlsplit(url)
        self._upstream = (parts.hostname, parts.port)
        self._faults = faults
        self._calm = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None] | None] = set()

    async def open(self) -> "Door":
        """One more address that workers can be given."""
        door = Door()
        server = await asyncio.start_server(
            lambda reader, writer: self._serve(door, reader, writer), "127.0.0.1", 0, limit=HEAD_BYTES_MAX
        )
        self._servers.append(server)
        door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return door

    def calm(self) -> None:
        """No fault any more, and what was never answered is dropped."""
        self._faults.active = False
        self._calm.set()

    def close(self) -> None:
        """No door is open."""
        for server in self._servers:
            server.close()

    async def _serve(self, door: "Door", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._serving.add(task := asyncio.current_task())  # the event loop itself would forget it
        try:
            while (head := await _read_head(reader)) is not None:
                request = _parse(head)
                body = await _read_body(request, reader, writer)
                if upstream is None:
                    upstream = await asyncio.open_connection(*self._upstream, limit=HEAD_BYTES_MAX)
                await self._exchange(door, request, body, writer, upstream)
        except (Dropped, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            _reset(writer)
        finally:
            self._serving.discard(task)
            writer.close()
            if upstream is not None:
                upstream[1].close()

    async def _exchange(
        self,
        door: "Door",
        request: Request,
        body: bytes,
        client: asyncio.StreamWriter,
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """The request was answered, or is told to have failed, or Dropped is raised."""
        door.requests += 1
        fault = self._faults.choose(request, starting=door.requests <= START_REQUESTS)
        if await self._instead(fault, request, body, client):
            return
        upstream[1].write(_forwarded(request, body))
        async with aclosing(_answer(upstream[0], request.method)) as answer:
            if door.trapped():
                await _taken(answer)
                door.spring()
                await self._wait(HALF_OPEN_SECONDS)
                raise Dropped
            await self._after(fault, request, answer, client)

    async def _instead(self, fault: Fault | None, request: Request, body: bytes, client: asyncio.StreamWriter) -> bool:
        """Whether the request was dealt with before it had any effect."""
        match fault:
            case Fault.LATENCY:
                await self._wait(LATENCY_SECONDS)
                return False
            case Fault.RESET:
                raise Dropped
            case Fault.HALF_OPEN:
                await self._wait(HALF_OPEN_SECONDS)
                raise Dropped
            case Fault.UNAVAILABLE | Fault.THROTTLED | Fault.CONFLICT | Fault.ERROR_IN_200:
                await _say(client, self._faults.answer(fault, request, body))
                return True
            case _:
                return False

    async def _after(
        self, fault: Fault | None, request: Request, answer: AsyncIterator[bytes], client: asyncio.StreamWriter
    ) -> None:
        """The effect is there; the worker learns of it, or not."""
        match fault:
            case Fault.LOST:
                await _taken(answer)
                raise Dropped
            case Fault.HALF_OPEN_AFTER:
                await _taken(answer)
                await self._wait(HALF_OPEN_SECONDS)
                raise Dropped
            case Fault.ERROR_IN_200_AFTER:
                await _taken(answer)
                await _say(client, self._faults.answer(fault, request, b""))
            case Fault.CUT:
                await _relay_half(answer, client)
                raise Dropped
            case _:
                async for piece in answer:
                    await _send(client, piece)

    async def _wait(self, bounds: tuple[float, float]) -> None:
        """So long, or until there is calm."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._calm.wait(), self._faults.seconds(bounds))


class Door:
    """One worker's address. A trap catches its next request: forwarded, its answer kept back."""

    url: str

    def __init__(self) -> None:
        self.requests = 0
        self._armed = False
        self._sprung: asyncio.Future[None] | None = None

    async def trap(self, seconds: float) -> bool:
        """A request has had its effect and its answer is kept back; False if none came in time."""
        self._armed, self._sprung = True, asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._sprung, seconds)
        except TimeoutError:
            return False
        finally:
            self._armed = False
        return True

    def trapped(self) -> bool:
        """Whether this request is the one; only one is."""
        armed, self._armed = self._armed, False
        return armed

    def spring(self) -> None:
        """The request has had its effect."""
        if self._sprung is not None and not self._sprung.done():
            self._sprung.set_result(None)


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        if ended.partial:
            raise
        return None


def _parse(head: bytes) -> Request:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    return Request(method, target, _headers(lines))


def _headers(lines: list[str]) -> dict[str, str]:
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def _read_body(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    if request.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in request.headers.get("transfer-encoding", ""):
        return b"".join([piece async for piece in _chunked(reader)])
    return await reader.readexactly(int(request.headers.get("content-length", 0)))


def _forwarded(request: Request, body: bytes) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items() if name not in _NOT_SAID)
    return f"{request.method} {request.target} HTTP/1.1\r\n{headers}\r\n".encode("latin-1") + body


async def _answer(reader: asyncio.StreamReader, method: str) -> AsyncGenerator[bytes]:
    """The emulator's answer in pieces, as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    headers = _headers(head[:-4].decode("latin-1").split("\r\n")[1:])
    yield head
    if method == "HEAD" or status in (204, 304):
        return
    if "chunked" in headers.get("transfer-encoding", ""):
        async for piece in _chunked(reader):
            yield piece
        return
    left = int(headers.get("content-length", 0))
    while left:
        piece = await reader.read(min(left, PIECE_BYTES))
        if not piece:
            raise Dropped
        left -= len(piece)
        yield piece


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Chunk by chunk, framing included, to the end of the trailer."""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        yield line + await reader.readexactly(size + 2) if size else line
        if not size:
            while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                yield trailer
            yield trailer
            return


async def _taken(answer: AsyncIterator[bytes]) -> None:
    """The emulator has answered in full, and nobody hears of it."""
    async for _ in answer:
        pass


async def _relay_half(answer: AsyncIterator[bytes], client: asyncio.StreamWriter) -> None:
    """The head and half of what follows it, or half of the head."""
    pieces = [piece async for piece in answer]
    whole = b"".join(pieces)
    rest = len(whole) - len(pieces[0])
    await _send(client, whole[: len(pieces[0]) + rest // 2 if rest else len(whole) // 2])


async def _say(client: asyncio.StreamWriter, answer: Answer) -> None:
    headers = {**answer.headers, "Content-Length": str(len(answer.body)), "x-amzn-requestid": "injected"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await _send(client, f"HTTP/1.1 {answer.status} Injected\r\n{head}\r\n".encode() + answer.body)


async def _send(client: asyncio.StreamWriter, data: bytes) -> None:
    """The bytes are on their way; raises Dropped where the peer is gone, for which asyncio has an error of any kind."""
    if client.is_closing():
        raise Dropped
    client.write(data)
    await client.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """The peer sees a reset rather than an end."""
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
