"""`ports.SparkJobs` on this machine: each run is a process group of its own that outlives the worker that started it.

Any worker of this machine finds and asks a run by its folder (see `headsaw.detached`). A run is started once for each
attempt, whoever asks however often. A run of another machine can't be asked from here: it counts as running until its
report is there or its time is over.
"""

import asyncio
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from headsaw.core.delegation import RunState, RunStatus
from headsaw.detached import Detached, detached, start, starting_place
from headsaw.errors import UsageError
from headsaw.ports import Busy, SparkJob

KEPT_SECONDS = 86_400.0
STOP_SECONDS = 10.0
_STOP_CHECK_SECONDS = 0.1
_CHECK_SECONDS_MAX = 60.0
_TAIL_BYTES = 65_536
_SCRATCH = "scratch"
_TERMINATED = 128 + signal.SIGTERM
_REMEDY = "install `headsaw[spark]` there, or let spark.local.python name another interpreter"
_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java only hands out tasks here, and rows never reach it: compiling it less halves what a short run costs."""
_TASK_FAILURES_MAX = 4
"""As clusters do: a task that failed is tried again elsewhere, here in another process."""

_EXCEPTION = re.compile(
    rb"^(?:(?:\w{1,40}\.){1,6}[A-Z]\w{1,60}|[A-Z]\w{1,60}(?:Error|Exception))(?=:|$)", re.MULTILINE | re.ASCII
)


def default_folder() -> Path:
    """One for each user of this machine, so that all of their workers share it."""
    return Path(tempfile.gettempdir()) / f"headsaw-spark-{os.getuid()}"


class LocalSpark:
    """Runs under `folder`, at most `runs_max` at once over all workers of this machine.

    `python` has headsaw and pyspark (by default the one that asks), `memory_bytes` is the memory of its Java. `command`
    takes the job's place in tests: it gets the same arguments.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        python: str | None = None,
        command: Sequence[str] | None = None,
        runs_max: int = 2,
        cores: int | None = None,
        memory_bytes: int = 1024**3,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._folder = folder or default_folder()
        self._python = python or sys.executable
        self._command = tuple(command) if command else (self._python, "-m", "headsaw.spark.job")
        self._runs_max = runs_max
        self._cores = cores or os.cpu_count() or 1
        self._memory_mib = memory_bytes // 1024**2
        self._stop_seconds = stop_seconds
        self._checked = command is not None

    async def start(self, job: SparkJob) -> str | Busy:
        """The job's run: started now, or by whoever was first. Busy where nothing can be run, with the remedy."""
        try:
            await self.check()
        except UsageError as missing:
            return Busy(str(missing))
        return await asyncio.to_thread(self._start, job)

    async def check(self) -> None:
        """Java, pyspark and headsaw are there; raises UsageError with what to install. Asked until it was so once."""
        if not self._checked:
            await asyncio.to_thread(check_requirements, self._python)
            self._checked = True

    async def find(self, job: SparkJob) -> str | None:
        """The job's run on this machine."""
        return await asyncio.to_thread(self._find, job)

    async def status(self, run_id: str) -> RunStatus:
        """As its folder tells."""
        return await asyncio.to_thread(self._status, run_id)

    async def cancel(self, run_id: str) -> None:
        """SIGTERM now, and SIGKILL if it doesn't end soon; nothing of it runs afterwards."""
        run = self._run(run_id)
        if run is None:
            return
        await asyncio.to_thread(run.stop)
        try:
            for _ in range(round(self._stop_seconds / _STOP_CHECK_SECONDS)):
                if not await asyncio.to_thread(lambda: run.alive):
                    return
                await asyncio.sleep(_STOP_CHECK_SECONDS)
        finally:
            run.stop(signal.SIGKILL)

    def _start(self, job: SparkJob) -> str | Busy:
        try:
            with starting_place(self._folder) as starting:
                if (known := self._find(job)) is not None:
                    return known
                self._clear_away()
                running = sum(run.alive for run in detached(self._folder))
                if running >= self._runs_max:
                    return Busy(f"{running} runs are at work on this machine, and no more than {self._runs_max} may be")
                run_id = f"{job.name}-{secrets.token_hex(4)}.{_host()}"
                folder = self._folder / run_id
                command = (*self._command, "--manifest", job.manifest, "--run-id", run_id)
                return start(folder, command, self._environ(os.environ, folder), starting).name
        except (OSError, subprocess.CalledProcessError) as error:
            return Busy(f"no run can be started in {self._folder}: {error}")

    def _find(self, job: SparkJob) -> str | None:
        for run in detached(self._folder):
            if run.name.startswith(f"{job.name}-") and run.started:
                return run.name
        return None

    def _status(self, run_id: str) -> RunStatus:
        run = self._run(run_id)
        if run is None:
            return RunStatus(RunState.RUNNING, "on another machine")
        if run.alive:
            return RunStatus(RunState.RUNNING)
        match run.exit_status:
            case None:
                return RunStatus(RunState.GONE, "killed with all of its processes, or cleared away")
            case 0:
                return RunStatus(RunState.SUCCEEDED)
            case status if run.stopped or status == _TERMINATED:
                return RunStatus(RunState.STOPPED, f"stopped, exit status {status}")
            case status:
                return RunStatus(RunState.FAILED, f"exit status {status}{_last_exception(run.out)}; see {run.out}")

    def _run(self, run_id: str) -> Detached | None:
        """None for a run of another machine."""
        return Detached(self._folder / Path(run_id).name) if run_id.endswith(f".{_host()}") else None

    def _clear_away(self) -> None:
        """What is over has no scratch files left, and is forgotten after a day."""
        for run in detached(self._folder):
            if not run.alive:
                old = time.time() - run.folder.stat().st_mtime > KEPT_SECONDS
                shutil.rmtree(run.folder if old else run.folder / _SCRATCH, ignore_errors=True)

    def _environ(self, inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
        """The worker's own, and what makes Spark run here, on the loopback interface, with its files in the folder."""
        options = {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.catalogImplementation": "in-memory",
        }
        arguments = [
            *("--master", f"local[{self._cores},{_TASK_FAILURES_MAX}]", "--driver-memory", f"{self._memory_mib}m"),
            *("--driver-java-options", _JAVA),
            *(part for name, value in options.items() for part in ("--conf", f"{name}={value}")),
        ]
        return {
            **inherited,
            "PYSPARK_PYTHON": self._python,
            "PYSPARK_DRIVER_PYTHON": self._python,
            "SPARK_LAUNCHER_OPTS": _JAVA,
            "PYSPARK_SUBMIT_ARGS": shlex.join([*arguments, "pyspark-shell"]),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(folder / _SCRATCH),
        }


def check_requirements(python: str, remedy: str = _REMEDY, environ: Mapping[str, str] = os.environ) -> None:
    """A local run can be started with that interpreter; raises UsageError with what is missing and what to do."""
    home = environ.get("JAVA_HOME")
    if not (home and (Path(home) / "bin" / "java").exists()) and shutil.which("java") is None:
        raise UsageError(
            "Spark on this machine needs Java, which is neither at JAVA_HOME nor on the PATH: install a runtime of "
            "version 17, such as Debian's openjdk-17-jre-headless"
        )
    try:
        asked = subprocess.run(  # noqa: S603 - an interpreter that the operator named
            [python, "-c", "import pyspark, headsaw.spark"], capture_output=True, text=True, check=False,
            timeout=_CHECK_SECONDS_MAX, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"Spark on this machine needs a Python, and {python} can't be run: {error}; {remedy}"
        ) from None
    if asked.returncode != 0:
        why = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"Spark on this machine needs pyspark and headsaw in {python}: {why}; {remedy}")


def _host() -> str:
    """This machine's name, as far as a run id may have it."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]


def _last_exception(out: Path) -> str:
    """The type of the last exception that was written: its message may quote what nobody's log may hold."""
    try:
        with out.open("rb") as written:
            written.seek(max(0, written.seek(0, os.SEEK_END) - _TAIL_BYTES))
            found = _EXCEPTION.findall(written.read())
    except OSError:
        return ""
    return f", {found[-1].decode(errors='replace')}" if found else ""
