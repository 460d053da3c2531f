"""Local implementations of AWS's services: each one process on loopback ports, started by the tests that need it.

`make services` installs them. Each runs under a leash: a parent process that kills it when its own standard input ends,
so that it is gone whatever way the test run ends.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from headsaw.demo.emulator import ACCOUNT, REGION, Endpoint

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".venv" / "services"
HOST = "127.0.0.1"
READY_SECONDS = 45.0

LEASH = """
import os, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def watch():
    while os.read(0, 4096):
        pass
    child.kill()
threading.Thread(target=watch, daemon=True).start()
sys.exit(child.wait())
"""

Command = Callable[[Path, Sequence[int]], list[str]]
"""What to run, given a folder of its own and its ports."""


@dataclass(frozen=True, slots=True)
class LocalService:
    """One implementation: how it is started, and what it needs to be there. It answers HTTP on its first port."""

    name: str
    command: Command
    marker: Path
    needs: tuple[str, ...] = ()
    ports: int = 1
    ready: int | None = None
    """The status that tells that it is ready; None: any."""

    @property
    def lacking(self) -> list[str]:
        """Programs that this machine doesn't have."""
        return [program for program in self.needs if shutil.which(program) is None]

    @property
    def installed(self) -> bool:
        return self.marker.exists()

    @asynccontextmanager
    async def start(self, directory: Path) -> AsyncIterator[Endpoint]:
        """It answers inside the context; after it, its process is gone."""
        ports = free_ports(self.ports)
        log = directory / "output.log"
        with log.open("w") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", LEASH, *self.command(directory, ports)),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment(directory),
                cwd=directory,
                start_new_session=True,
            )
        try:
            await self._answer(process, ports[0], log)
            yield Endpoint(f"http://{HOST}:{ports[0]}", REGION, ACCOUNT, process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _answer(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                if await answers(process, port, self.ready):
                    return
        said = await asyncio.to_thread(log.read_text)
        raise RuntimeError(f"{self.name} didn't start; its last lines were:\n{said[-2000:]}")


async def answers(process: asyncio.subprocess.Process, port: int, ready: int | None) -> bool:
    """True as soon as it answers HTTP with that status (None: any); False if it ended before."""
    while process.returncode is None:
        status = await http_status(port)
        if status is not None and ready in (None, status):
            return True
        await asyncio.sleep(0.05)
    return False


def environment(directory: Path) -> dict[str, str]:
    """Nothing of the user's but the path to programs."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        "DDB_LOCAL_TELEMETRY": "0",
    }


def free_ports(n: int) -> list[int]:
    """Free just now: these programs can't be handed an open socket."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(n)]
        return [listener.getsockname()[1] for listener in sockets]


async def http_status(port: int) -> int | None:
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return None
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        return int(line.split()[1]) if line else None
    except (OSError, ValueError, IndexError):
        return None
    finally:
        writer.close()


def require(service: LocalService) -> None:
    """It is installed. Otherwise the test is skipped; in CI it fails, unless this machine can't run it at all."""
    if service.installed:
        return
    if service.lacking:
        pytest.skip(f"{service.name} needs {' and '.join(service.lacking)}, which this machine doesn't have")
    say = pytest.fail if os.environ.get("CI") else pytest.skip
    say(f"{service.name} isn't installed: `make services` does it")


# ------------------------------------------------------------------------------------------------- the implementations


def _dynamodb_local(_: Path, ports: Sequence[int]) -> list[str]:
    jars = INSTALLED / "dynamodb-local"
    launcher = Path(__file__).parent / "services" / "dynamodb-local" / "Loopback.java"
    java = ["java", "-Xmx384m", f"-Djava.library.path={jars}", "-cp", f"{jars}/*"]
    return [*java, str(launcher), str(ports[0])]


def _elasticmq(_: Path, ports: Sequence[int]) -> list[str]:
    settings = {
        "rest-sqs.bind-hostname": HOST,
        "rest-sqs.bind-port": ports[0],
        "generate-node-address": "true",
        "rest-stats.enabled": "false",
    }
    java = ["java", "-Xmx256m", "-cp", f"{INSTALLED / 'elasticmq'}/*"]
    return [*java, *(f"-D{name}={value}" for name, value in settings.items()), "org.elasticmq.server.Main"]


def _seaweedfs(directory: Path, ports: Sequence[int]) -> list[str]:
    places = ["s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc"]
    numbers = {place.replace(".grpc", ".port.grpc"): port for place, port in zip(places, ports, strict=True)}
    flags = {name if ".port" in name else f"{name}.port": number for name, number in numbers.items()}
    settings = {
        "ip": HOST,
        "ip.bind": HOST,
        "dir": directory,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 0,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "filer.localSocket": directory / "filer.sock",
        "s3.localSocket": directory / "s3.sock",
    }
    given = [f"-{name}={value}" for name, value in (flags | settings).items()]
    return [str(INSTALLED / "bin" / "weed"), "server", "-filer", "-s3", *given]


def _moto(_: Path, ports: Sequence[int]) -> list[str]:
    return [str(INSTALLED / "bin" / "moto_server"), "-H", HOST, "-p", str(ports[0])]


_PIP = INSTALLED / ".installed"

DYNAMODB_LOCAL = LocalService(
    "DynamoDB Local", _dynamodb_local, INSTALLED / "dynamodb-local" / ".installed", ("java", "mvn")
)
ELASTICMQ = LocalService("ElasticMQ", _elasticmq, INSTALLED / "elasticmq" / ".installed", ("java", "mvn"))
SEAWEEDFS = LocalService("SeaweedFS", _seaweedfs, _PIP, ports=8, ready=200)
MOTO = LocalService("moto", _moto, _PIP)
