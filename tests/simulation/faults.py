"""A process and everything that may happen to it: at each call of a port, chance decides what the network does with it.

A process is cut off, not cleaned up: once dead, each of its tasks ends at its next call or sleep, whatever it would
still have liked to do. A paused one stands still at each call and sleep, and goes on later as a zombie.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from tests.simulation.story import Story

from headsaw.adapters.memory.clock import START, LoopClock
from headsaw.adapters.table import Cancelled, Page, Put, Reason
from headsaw.errors import Throttled, Unreachable


class Killed(BaseException):
    """The process is gone: nothing of it runs on."""


class Fault(StrEnum):
    """What the network, the service or the machine does at one call."""

    SLOW = "slow"
    THROTTLED = "throttled"
    REQUEST_LOST = "request lost"
    ANSWER_LOST = "answer lost"
    LATE = "takes effect later, unanswered"
    TWICE = "takes effect twice"
    HANGS = "answer lost after longer than a lease"
    SILENCE = "takes effect, and from then on nobody answers"
    CONFLICT = "transaction conflict"
    PARTIAL = "only a part took effect"
    STALE = "a stale page"
    CRASH_BEFORE = "crash before it"
    CRASH_AFTER = "crash after it"
    PAUSE_BEFORE = "pause before it"
    PAUSE_AFTER = "pause after it"


PARTIAL_CALLS = frozenset({"delete", "set_visibility", "send"})


@dataclass(frozen=True, slots=True)
class Faults:
    """How likely which fault is: at any call, and at the moments of the protocol that this seed is after."""

    rates: Mapping[Fault, float] = field(default_factory=dict)
    dangers: Mapping[str, tuple[Fault, float]] = field(default_factory=dict)
    slow: float = 0.3
    slow_seconds: float = 0.2

    @property
    def eventful(self) -> float:
        """The chance that a call isn't answered right away."""
        return self.slow + sum(self.rates.values())

    def draw(self, chance: float) -> Fault:
        """The fault that a chance in [0, eventful) stands for."""
        for fault, rate in self.rates.items():
            if chance < rate:
                return fault
            chance -= rate
        return Fault.SLOW


@dataclass(eq=False)
class Process:
    """One worker process. `task` runs its worker; `faults` may be changed at any time."""

    name: str
    random: Random
    story: Story
    faults: Faults
    lease_seconds: float
    late: set["asyncio.Task[Any]"]
    task: "asyncio.Task[None] | None" = None
    dead: bool = False
    running: bool = True
    cut_off: set[str] = field(default_factory=set)
    """Names of the ports that can't be reached."""
    _awake: asyncio.Event = field(default_factory=asyncio.Event)

    def crash(self) -> None:
        """Gone, as by SIGKILL."""
        if not self.dead:
            self.story.add(self.name, "*killed")
            self.dead, self.running = True, False
            self._awake.set()
            if self.task is not None:
                self.task.cancel()

    def pause(self, seconds: float) -> None:
        """Stopped, as by SIGSTOP, or by a machine that is short of memory; goes on by itself."""
        if self.running:
            self.story.add(self.name, "*paused", f"for {seconds:.1f} s")
            self._awake.clear()
            self.running = False
            asyncio.get_running_loop().call_later(seconds, self.wake)

    def wake(self) -> None:
        """Goes on."""
        if not self.running and not self.dead:
            self.story.add(self.name, "*woke up")
            self.running = True
            self._awake.set()

    def silence(self, port: str, seconds: float) -> None:
        """That port doesn't answer this process for a while."""
        self.story.add(self.name, "*cut off", f"from {port} for {seconds:.1f} s")
        self.cut_off.add(port)
        asyncio.get_running_loop().call_later(seconds, self.cut_off.discard, port)

    async def stand(self) -> None:
        """The process runs, or raises Killed."""
        while not self.running:
            if self.dead:
                raise Killed
            await self._awake.wait()

    def past_lease(self) -> float:
        """A time around which others may have taken over what this process holds, and mostly have."""
        return self.lease_seconds * self.random.choice([0.7, 1.0, 1.3, 1.6, 2.2]) + self.random.uniform(-3.0, 3.0)


class WorldClock(LoopClock):
    """The clock of one world: it knows its loop, which is asked for the time some ten thousand times."""

    def __init__(self, skew: float = 0.0) -> None:
        super().__init__(skew=skew)
        self._since = START + skew
        self.monotonic = asyncio.get_running_loop().time  # type: ignore[method-assign]

    def now(self) -> float:
        return self._since + self.monotonic()


class ProcessClock(WorldClock):
    """The clock of a process: wrong by `skew`, and nobody wakes up while the process doesn't run."""

    def __init__(self, process: Process, skew: float) -> None:
        super().__init__(skew)
        self._process = process

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        if not self._process.running:
            await self._process.stand()


Call = Callable[..., Coroutine[Any, Any, Any]]


class Faulty:
    """A port as one process sees it. `actor` is told whose call takes effect, just before it does."""

    def __init__(self, port: Any, name: str, process: Process, actor: Callable[[str], None]) -> None:
        self._port, self._name, self._process, self._actor = port, name, process, actor
        self._last_page: Page | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not asyncio.iscoroutinefunction(method):
            return method
        process = self._process

        async def call(*args: Any, **kwargs: Any) -> Any:
            if not process.running:
                await process.stand()
            faults = process.faults
            if faults.dangers and (danger := faults.dangers.get(moment(self._name, name, args))) is not None:
                fault, chance = danger
                if process.random.random() < chance:
                    return await self._struck(fault, method, name, args, kwargs)
            chance = process.random.random()
            if chance < faults.eventful or self._name in process.cut_off:
                fault = Fault.REQUEST_LOST if self._name in process.cut_off else faults.draw(chance)
                return await self._struck(fault, method, name, args, kwargs)
            self._actor(process.name)
            answer = await method(*args, **kwargs)
            process.story.add(process.name, name, args, "", answer)
            if not process.running:
                await process.stand()
            return answer

        self.__dict__[name] = call
        return call

    async def _struck(self, fault: Fault, method: Call, name: str, args: Any, kwargs: Any) -> Any:
        """The call under this fault; one that isn't possible for this call only makes it slow."""
        fault = _possible(fault, name)
        process = self._process
        try:
            answer = await self._outcome(fault, method, name, args, kwargs)
        except BaseException as error:
            process.story.add(process.name, name, args, fault.value, error)
            raise
        process.story.add(process.name, name, args, fault.value, answer)
        await process.stand()
        return answer

    async def _outcome(self, fault: Fault, method: Call, name: str, args: Any, kwargs: Any) -> Any:  # noqa: C901 - a table
        process, random = self._process, self._process.random

        async def effect() -> Any:
            self._actor(process.name)
            return await method(*args, **kwargs)

        match fault:
            case Fault.THROTTLED:
                raise Throttled("slow down")
            case Fault.REQUEST_LOST:
                await self._travel(random.uniform(0.0, 3.0))
                raise Unreachable("no answer")
            case Fault.ANSWER_LOST:
                await self._travel()
                await effect()
                await self._travel(random.uniform(0.0, 3.0))
                raise Unreachable("the answer was lost")
            case Fault.LATE:
                self._later(effect, random.choice([0.3, 3.0, 20.0, 90.0]) * random.random())
                await self._travel(random.uniform(0.0, 1.0))
                raise Unreachable("no answer, yet")
            case Fault.HANGS:
                await self._travel()
                await effect()
                await self._travel(process.past_lease())
                raise Unreachable("the answer was lost")
            case Fault.SILENCE:
                await effect()
                process.silence(self._name, process.past_lease())
                raise Unreachable("the answer was lost")
            case Fault.TWICE:
                await effect()
                await self._travel()
                return await effect()
            case Fault.CONFLICT:
                return self._conflict(args[0])
            case Fault.PARTIAL:
                return await self._part(method, args)
            case Fault.STALE:
                return await self._stale(effect)
            case Fault.CRASH_BEFORE:
                process.crash()
                raise Killed
            case Fault.CRASH_AFTER:
                await effect()
                process.crash()
                raise Killed
            case Fault.PAUSE_BEFORE:
                process.pause(process.past_lease())
                await process.stand()
                return await effect()
            case Fault.PAUSE_AFTER:
                answer = await effect()
                process.pause(process.past_lease())
                return answer
            case Fault.SLOW:
                await self._travel()
                answer = await effect()
                await self._travel()
                return answer

    async def _travel(self, seconds: float | None = None) -> None:
        """The request or the answer is on its way."""
        process = self._process
        await asyncio.sleep(process.random.random() * process.faults.slow_seconds if seconds is None else seconds)
        await process.stand()

    def _later(self, effect: Callable[[], Coroutine[Any, Any, Any]], seconds: float) -> None:
        async def arrive() -> None:
            await asyncio.sleep(seconds)
            self._process.story.add(self._process.name, "a late request", outcome=await effect())

        task = asyncio.get_running_loop().create_task(arrive())
        self._process.late.add(task)
        task.add_done_callback(self._process.late.discard)

    def _conflict(self, writes: Any) -> Cancelled:
        reasons = [Reason.CONFLICT if self._process.random.random() < 0.3 else Reason.NONE for _ in writes]
        reasons[self._process.random.randrange(len(reasons))] = Reason.CONFLICT
        return Cancelled(tuple((reason, None) for reason in reasons))

    async def _part(self, method: Call, args: Any) -> Any:
        """Some of a batch call's entries are done, the others reported as failed."""
        whole = list(args[0])
        some = [entry for entry in whole if self._process.random.random() < 0.5]
        self._actor(self._process.name)
        failed = list(await method(some, *args[1:])) if some else []
        return failed + [getattr(entry, "id", entry) for entry in whole if entry not in some]

    async def _stale(self, effect: Callable[[], Coroutine[Any, Any, Any]]) -> Page:
        """The due index as it was when it was last read here."""
        page: Page = self._last_page or await effect()
        self._last_page = await effect()
        return Page(page.items, None)


def _possible(fault: Fault, name: str) -> Fault:
    """The fault, or SLOW where this call knows no such thing."""
    needed: dict[Fault, bool] = {
        Fault.CONFLICT: name == "transact",
        Fault.PARTIAL: name in PARTIAL_CALLS,
        Fault.STALE: name == "query_due",
    }
    return fault if needed.get(fault, True) else Fault.SLOW


_TRANSITIONS = {
    "RUNNING": "start",
    "DELEGATED": "delegate",
    "PUBLISHING": "commit",
    "DONE": "finish",
    "READY": "give back",
}


def moment(port: str, call: str, args: Any) -> str:
    """Which step of the protocol a call is."""
    if port != "table":
        return f"{port}.{call}"
    if call == "transact":
        return "split" if not isinstance(args[0][0], Put) else "claim"
    if call != "write" or isinstance(args[0], Put):
        return call
    changes = args[0].set
    if "state" in changes:
        return _TRANSITIONS.get(str(changes["state"]), "give up")
    if "lease_owner" in changes:
        return "take"
    if "driver" in changes:
        return "register"
    if "lease_owner" in args[0].remove:
        return "wait"
    return "mark" if "mark" in changes else "renew"
