"""A local AWS for the demo and the end-to-end tests: one ministack process on a loopback port, gone when its user is.

The listening socket is made here and handed over, so no other process can take the port in between, and the first
request simply waits in its backlog until the server answers. The child watches its standard input: when that ends,
because `start` was left or because the parent died in whatever way, it ends too, and takes its
directory with it.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from headsaw.demo.installation import Installation, Progress, quiet
from headsaw.errors import UsageError

REGION = "us-east-1"
ACCOUNT = "111122223333"
SERVICES = ("s3", "sqs", "sns", "dynamodb", "sts", "events", "kms")

_HOST = "127.0.0.1"
_HEALTH = b"GET /_ministack/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
_READY_SECONDS = 30.0
_STOP_SECONDS = 5.0
_TAIL_LINES = 15

_LAUNCH = """
import asyncio, os, resource, shutil, sys, threading
def watch():
    while os.read(0, 4096):
        pass
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
config = Config()
config.bind = [f"fd://{sys.argv[1]}"]
config.keep_alive_timeout = 75
config.backlog = 1024
config.graceful_timeout = 0
config.loglevel = os.environ["LOG_LEVEL"]
asyncio.run(serve(app, config))
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the emulator answers. Each account number is an AWS of its own: queues, tables, buckets apart."""

    url: str
    region: str
    account: str
    pid: int

    @property
    def env(self) -> dict[str, str]:
        """The variables that make any AWS client speak to it, and to nothing else."""
        return {
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": f"{_HOST},localhost",
            "no_proxy": f"{_HOST},localhost",
        }

    def environ(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """`inherited` without any AWS variable of its own, plus `env`: a child's whole environment."""
        return {name: value for name, value in inherited.items() if not name.startswith("AWS_")} | self.env

    def for_account(self, account: str) -> "Endpoint":
        """The same emulator seen by another account (twelve digits)."""
        return replace(self, account=account)


class Emulator:
    """The local AWS: its environment (see `Installation`) and, inside `start`, its process."""

    def __init__(self, installation: Installation | None = None) -> None:
        self.installation = installation or Installation()

    def ensure_installed(self, progress: Progress = quiet) -> None:
        """The emulator can be started; what is missing is installed now. Raises UsageError."""
        self.installation.ensure(progress)

    @asynccontextmanager
    async def start(
        self, progress: Progress = quiet, log: Path | None = None, ready_seconds: float = _READY_SECONDS
    ) -> AsyncIterator[Endpoint]:
        """An emulator answers inside the context; after it, its process is gone and its port closed.

        Output goes to `log`, or to a file that lives as long as the process. Raises UsageError with the log's tail
        when it doesn't answer within `ready_seconds`.
        """
        await asyncio.to_thread(self.ensure_installed, progress)
        with tempfile.TemporaryDirectory(prefix="headsaw-emulator-") as directory:
            log = log or Path(directory) / "emulator.log"
            with log.open("a+", encoding="utf-8") as output:
                process, port = await self._spawn(Path(directory), output)
                try:
                    await _ready(process, port, ready_seconds, log)
                    yield Endpoint(f"http://{_HOST}:{port}", REGION, ACCOUNT, process.pid)
                finally:
                    await _stop(process)

    async def _spawn(self, directory: Path, output: TextIO) -> tuple[asyncio.subprocess.Process, int]:
        with socket.create_server((_HOST, 0), backlog=1024) as listener:
            port: int = listener.getsockname()[1]
            process = await asyncio.create_subprocess_exec(
                *(self.installation.python, "-c", _LAUNCH, str(listener.fileno())),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_environment(directory, port),
                cwd=directory,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        return process, port


def _environment(directory: Path, port: int) -> dict[str, str]:
    """Nothing of the user's environment but the path: it might hold credentials, or settings of an emulator."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        "GATEWAY_PORT": str(port),
        "BIND_HOST": _HOST,
        "LOG_LEVEL": "WARNING",
        "SERVICES": ",".join(SERVICES),
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }


async def _ready(process: asyncio.subprocess.Process, port: int, seconds: float, log: Path) -> None:
    """Its health request was answered; otherwise UsageError says why not, as far as the log tells."""
    ended = asyncio.ensure_future(process.wait())
    answered = asyncio.ensure_future(_answers(port))
    try:
        await asyncio.wait({ended, answered}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answered.done() and not answered.exception() and answered.result():
            return
        if answered.done():  # a reset: it is about to end
            await asyncio.wait({ended}, timeout=_STOP_SECONDS)
        why = f"ended with status {ended.result()}" if ended.done() else f"didn't answer within {seconds:g} s"
        raise UsageError(f"the local AWS emulator {why}; its last lines were:\n{_tail(log)}")
    finally:
        for task in (ended, answered):
            task.cancel()
        await asyncio.gather(ended, answered, return_exceptions=True)


async def _answers(port: int) -> bool:
    reader, writer = await asyncio.open_connection(_HOST, port)
    try:
        writer.write(_HEALTH)
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]) or "(nothing)"


async def _stop(process: asyncio.subprocess.Process) -> None:
    """The process and whatever it started are gone: asked (before anything can interrupt this), then killed."""
    if process.stdin is not None:
        process.stdin.close()
    for ask in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ask)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            return


async def _serve() -> None:
    """Prints the endpoint's variables as one JSON object, then serves until interrupted or asked to end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Emulator().start(_say) as endpoint:
        sys.stdout.write(json.dumps({"pid": endpoint.pid, "env": endpoint.env}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main(arguments: list[str]) -> int:
    """`--install` prepares the emulator; without it, one is started and kept until interrupted."""
    try:
        if arguments == ["--install"]:
            Emulator().ensure_installed(_say)
        elif not arguments:
            asyncio.run(_serve())
        else:
            raise UsageError("usage: python -m headsaw.demo.emulator [--install]")
    except UsageError as error:
        _say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
