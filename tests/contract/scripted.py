"""A server that answers as it is told, for what no local AWS does: lost answers, throttling, refusals, wrong clocks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Request = tuple[str, bytes]
"""Head and body."""


def answer(status: int, body: bytes | str = b"", *headers: str, length: int | None = None) -> bytes:
    """An HTTP answer; with a `length` beyond the body's it breaks off in the middle."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def s3_error(status: int, code: str, message: str = "because") -> bytes:
    return answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>")


def json_error(status: int, code: str) -> bytes:
    return answer(status, f'{{"__type": "x#{code}", "message": "because"}}', "Content-Type: application/x-amz-json-1.0")


@dataclass
class Scripted:
    """`script` decides each answer; an empty one closes the connection without a word."""

    script: Callable[[Request], bytes]
    url: str = ""
    requests: list[Request] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lengths = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            self.requests.append((head, body))
            writer.write(self.script((head, body)))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def scripted(*answers: bytes | Callable[[Request], bytes]) -> AsyncIterator[Scripted]:
    """Answers in this order, the last one again and again."""
    left = list(answers)

    def script(request: Request) -> bytes:
        chosen = left.pop(0) if len(left) > 1 else left[0]
        return chosen if isinstance(chosen, bytes) else chosen(request)

    made = Scripted(script)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    async with server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
