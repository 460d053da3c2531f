"""Processes that outlive whoever started them, each known by a folder that any process on this machine can ask.

    command   what it is, for people         out    what it wrote
    group     its process group's number     exit   its exit status, once it is over
    alive     locked while it runs           stopped   there, if somebody asked it to stop

The lock is the proof of life: the operating system drops it with the last process that holds it, whatever killed that,
so a process number that is used again is never mistaken for it. `group` is written before the starter can let go of
anything: whoever dies in the middle of a start leaves either nothing or a process that can be found.
"""

import contextlib
import fcntl
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LOCK, _COMMAND, _OUT, _GROUP, _EXIT, _STOPPED = "alive", "command", "out", "group", "exit", "stopped"

# Stdin and stdout are the two locks. The background part holds the proof of life to its end, as the command does, and
# survives SIGTERM to tell how the command ended. Ignored first: a signal between the two traps must not end it.
_LAUNCH = """
exec 8<&0 9>&1 </dev/null >/dev/null
trap '' TERM INT HUP
echo $$ > group.part && mv group.part group || exit 1
{
    exec 9>&-
    trap : TERM INT HUP
    "$@" > out 2>&1
    status=$?
    echo $status > exit.part && mv exit.part exit
} &
"""


@dataclass(frozen=True, slots=True)
class Detached:
    """One process and its children, by their folder."""

    folder: Path

    @property
    def name(self) -> str:
        """Unique among the processes that are kept in one place."""
        return self.folder.name

    @property
    def started(self) -> bool:
        """It runs or ran; False for what never came so far."""
        return (self.folder / _GROUP).exists()

    @property
    def alive(self) -> bool:
        """Whether it runs, or is just being started."""
        try:
            with (self.folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @property
    def exit_status(self) -> int | None:
        """As a shell tells it (128 + the signal's number); None if it runs, or was killed with everything around it."""
        try:
            return int((self.folder / _EXIT).read_text())
        except (FileNotFoundError, ValueError):
            return None

    @property
    def stopped(self) -> bool:
        """Whether somebody asked it to stop."""
        return (self.folder / _STOPPED).exists()

    @property
    def out(self) -> Path:
        """What it wrote, to stdout and stderr."""
        return self.folder / _OUT

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """It and its children got that signal, if they run."""
        if not self.started or not self.alive:
            return
        with contextlib.suppress(FileNotFoundError):
            (self.folder / _STOPPED).touch()
        # Its group can't be another's: something in it is alive.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, ValueError):
            os.killpg(int((self.folder / _GROUP).read_text()), number)


@contextmanager
def starting_place(place: Path) -> Iterator[int]:
    """Nobody else starts anything in this place meanwhile; the descriptor is for `start`. Raises OSError."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} is another user's")
    with (place / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def start(folder: Path, command: Sequence[str], environ: Mapping[str, str], starting: int) -> Detached:
    """The command runs in a new folder and a session of its own. Raises OSError if it couldn't be started."""
    folder.mkdir(mode=0o700)
    (folder / _COMMAND).write_text(shlex.join(command) + "\n")
    with (folder / _LOCK).open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        subprocess.run(  # noqa: S603 - the command is the caller's own
            ["/bin/sh", "-c", _LAUNCH, "headsaw", *command], cwd=folder, env=dict(environ), check=True,
            start_new_session=True, stdin=alive, stdout=starting, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return Detached(folder)


def detached(place: Path) -> list[Detached]:
    """Everything that was started in this place and not yet cleared away."""
    if not place.is_dir():
        return []
    return [Detached(path) for path in sorted(place.iterdir()) if path.is_dir()]


def stop_all(place: Path) -> None:
    """Nothing that was started in this place runs any more."""
    for process in detached(place):
        process.stop(signal.SIGKILL)
