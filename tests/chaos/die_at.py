"""`python -m tests.chaos.die_at NAME run -c FILE` is `headsaw run -c FILE` that is killed at a step of the protocol.

The worker is the real one, with nothing in it that knows of this: the composition root connects it to the world, and
here it is connected through ports that watch. A step is a port call with an effect, known by its label; the process
gets SIGKILL after the effect and before the worker learns of it. `RECORD` kills nothing and lists the labels instead.
"""

import asyncio
import os
import runpy
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headsaw import app
from headsaw.adapters.connect import Connected, connect
from headsaw.adapters.engines import spark_engines
from headsaw.core.model import Batch, BatchState
from headsaw.core.naming import COMMITS, SPARK, SPOOL

RECORD = "record"


@dataclass(frozen=True, slots=True)
class Crash:
    """SIGKILL after the `nth` call with that `label`; `before`: instead of it.

    `sigterm_at`: the process gets SIGTERM after the first call with this label; if `hanging`, that is never answered.
    """

    label: str
    nth: int = 1
    before: bool = False
    sigterm_at: str | None = None
    hanging: bool = False


CRASHES: dict[str, tuple[Crash, ...]] = {
    "after it received messages": (Crash("queue.receive"),),
    "after record messages were spooled": (Crash("store.put spool"),),
    "after the first chunk was claimed": (Crash("ledger.claim OPEN"),),
    "after the second chunk was claimed": (Crash("ledger.extend"),),
    "after the batch was sealed, its messages not deleted": (Crash("ledger.apply OPEN→READY"),),
    "after one chunk was claimed as a whole batch, its messages not deleted": (Crash("ledger.claim READY"),),
    "after messages were deleted": (Crash("queue.delete"),),
    "after the start": (Crash("ledger.apply READY→RUNNING"),),
    "after the table schema grew": (Crash("ledger.add_schema"),),
    "after an upload was created": (Crash("store.create_upload"),),
    "after the first upload's last part": (Crash("store.upload_part"),),
    "after the second upload's last part": (Crash("store.upload_part", 2),),
    "after the third upload's last part, before the commit record": (Crash("store.upload_part", 3),),
    "after the commit record": (Crash("store.put commits"),),
    "after the commit point": (Crash("ledger.apply RUNNING→PUBLISHING"),),
    "between the first two completions": (Crash("store.complete_upload"),),
    "between the second and the third completion": (Crash("store.complete_upload", 2),),
    "after the last completion": (Crash("store.complete_upload", 3),),
    "after the rejected file was marked": (Crash("ledger.mark"),),
    "after the DLQ got the rejected file": (Crash("dlq.send"),),
    "before done": (Crash("ledger.apply PUBLISHING→DONE", before=True),),
    "after done": (Crash("ledger.apply PUBLISHING→DONE"),),
    "at SIGTERM, after buffered messages were given back": (Crash("queue.set_visibility", sigterm_at="queue.receive"),),
    "at SIGTERM, after the running batch was released": (
        Crash("ledger.apply RUNNING→READY released", sigterm_at="store.upload_part", hanging=True),
    ),
    "after the start, and its heir after the takeover": (
        Crash("ledger.apply READY→RUNNING"),
        Crash("ledger.apply RUNNING→READY taken"),
    ),
    "after the commit point, and its heir between two completions": (
        Crash("ledger.apply RUNNING→PUBLISHING"),
        Crash("store.complete_upload"),
    ),
    "after the commit point, and its heir after the takeover": (
        Crash("ledger.apply RUNNING→PUBLISHING"),
        Crash("ledger.apply PUBLISHING→PUBLISHING taken"),
    ),
}
"""Every step of the protocol, and who dies there: one worker after the other."""

SPARK_CRASHES: dict[str, tuple[Crash, ...]] = {
    "after the manifest": (Crash("store.put spark"),),
    "between the intent and the start": (Crash("engine.start", before=True),),
    "after the start, before the run is recorded": (Crash("engine.start"),),
    "during the run": (Crash("ledger.apply DELEGATED→DELEGATED"),),
    "during the run, and its heir after the takeover": (
        Crash("ledger.apply DELEGATED→DELEGATED"),
        Crash("ledger.apply DELEGATED→DELEGATED taken"),
    ),
    "after the run's success, before the commit": (Crash("ledger.apply DELEGATED→PUBLISHING", before=True),),
    "after the run's commit point": (Crash("ledger.apply DELEGATED→PUBLISHING"),),
}
"""The steps around a Spark run."""

OUTSIDE = frozenset({"ledger.put_settings", "store.abort_upload"})
"""Effects of the start, which no batch depends on: the settings' snapshot, and the uploads that try out permissions."""


def label(port: str, method: str, arguments: tuple[Any, ...]) -> str | None:
    """The name of a call that changes something; None for reads, and for renewals, which change only a time."""
    match method, arguments:
        case "put", (_, str() as key, *_):
            return f"store.put {next((place.strip('/') for place in (COMMITS, SPOOL, SPARK) if place in key), key)}"
        case "start" | "cancel", _:
            return f"{port}.{method}"
        case "claim", (Batch() as batch, *_):
            return f"ledger.claim {batch.state}"
        case "apply", (Batch() as before, Batch() as after):
            if after.lease.epoch == before.lease.epoch and after.lease.owner and after.state is before.state:
                return None
            return f"ledger.apply {before.state}→{after.state}{_handed(before, after)}"
        case "create_upload", (_, str() as key, *_) if key.endswith("headsaw-write-check"):
            return None
        case (
            ("receive" | "delete" | "set_visibility" | "send" | "extend" | "mark" | "add_schema" | "put_settings"),
            _,
        ):
            return f"{port}.{method}"
        case (("create_upload" | "upload_part" | "complete_upload" | "abort_upload" | "split" | "remove"), _):
            return f"{port}.{method}"
        case _:
            return None


def _handed(before: Batch, after: Batch) -> str:
    """What happened to the lease, where that isn't plain from the states."""
    if after.lease.epoch > before.lease.epoch:
        return " taken"
    return " released" if after.lease.owner is None and after.state in (BatchState.READY, BatchState.PUBLISHING) else ""


class Watched:
    """A port whose calls `watch` sees. Everything else is the port's own."""

    def __init__(self, name: str, port: object, watch: "Watch") -> None:
        self._name = name
        self._port = port
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return self._watch.around(self._name, name, method) if asyncio.iscoroutinefunction(method) else method


class Watch:
    """Counts labelled calls and kills at the right one. Calls of one label are made one at a time: none overtakes."""

    def __init__(self, crash: Crash | None, recording: Path | None) -> None:
        self._crash = crash
        self._recording = recording
        self._counts: Counter[str] = Counter()
        self._locks: dict[str, asyncio.Lock] = {}

    def around(self, port: str, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, watched."""

        async def call(*args: Any, **kwargs: Any) -> Any:
            named = label(port, name, args)
            if named is None:
                return await method(*args, **kwargs)
            async with self._locks.setdefault(named, asyncio.Lock()) if name != "receive" else _nothing():
                await self._arrive(named, before=True)
                result = await method(*args, **kwargs)
                if name != "receive" or result:
                    self._counts[named] += 1
                    await self._arrive(named, before=False)
                return result

        return call

    async def _arrive(self, named: str, *, before: bool) -> None:
        crash = self._crash
        if self._recording is not None and not before:
            with self._recording.open("a") as lines:
                lines.write(f"{named}\n")
        if crash is None:
            return
        if not before and named == crash.sigterm_at and self._counts[named] == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            if crash.hanging:
                await asyncio.Event().wait()
        if crash.before is before and named == crash.label and self._counts[named] + before == crash.nth:
            os.kill(os.getpid(), signal.SIGKILL)


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def watched(aws: Connected, watch: Watch) -> Connected:
    """The same world, seen through the watch."""

    def around(name: str, port: object) -> Any:
        return Watched(name, port, watch)

    queues = tuple(around("queue", queue) for queue in aws.queues)
    return replace(
        aws, queues=queues, dlq=around("dlq", aws.dlq), ledger=around("ledger", aws.ledger),
        store=around("store", aws.store),
    )  # fmt: skip


def _crash(name: str, which: int) -> Crash:
    return (CRASHES | SPARK_CRASHES)[name][which - 1]


def main() -> None:
    """Takes NAME from the command line, or `record:FILE`, or `name#2` for the second worker that dies."""
    name, _, which = sys.argv.pop(1).partition("#")
    kind, _, file = name.partition(":")
    watch = Watch(None, Path(file)) if kind == RECORD else Watch(_crash(name, int(which or 1)), None)

    @asynccontextmanager
    async def connected(*args: Any, **kwargs: Any) -> AsyncIterator[Connected]:
        async with connect(*args, **kwargs) as aws:
            yield watched(aws, watch)

    async def engines(*args: Any) -> dict[str, Any]:
        return {name: Watched("engine", engine, watch) for name, engine in (await spark_engines(*args)).items()}

    app.connect = connected  # type: ignore[attr-defined]
    app.spark_engines = engines  # type: ignore[attr-defined]
    sys.argv[0] = "headsaw"
    runpy.run_module("headsaw", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
