"""An SQS standard queue in memory that enforces SQS's rules: visibility timeouts that redeliver, receipts that die with
their delivery, the in-flight limit, retention, delays, redrive to a dead-letter queue, and what a message may hold.

It is kinder than SQS in two ways, unless tests say otherwise: messages come in order (`jumble`), and none comes twice
(`redeliver`).
"""

import asyncio
import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from headsaw.adapters.limits import (
    IN_FLIGHT_MAX,
    QUEUE_BATCH_MAX,
    QUEUE_WAIT_SECONDS_MAX,
    VISIBILITY_SECONDS_MAX,
    RequestRefused,
    message_refusal,
)
from headsaw.errors import Throttled
from headsaw.ports import Clock, Message, Outgoing, QueueDepth, QueueTraits


class _State(Enum):
    VISIBLE = auto()
    IN_FLIGHT = auto()
    DELAYED = auto()


@dataclass(slots=True)
class _Stored:
    id: str
    body: str
    attributes: Mapping[str, str]
    sent_at: float
    state: _State = _State.DELAYED
    visible_at: float = 0.0
    received_at: float = 0.0
    receive_count: int = 0
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Redrive:
    """A message received `max_receive_count` times goes to the dead-letter queue instead of being received again."""

    queue: "MemoryQueue"
    max_receive_count: int


class MemoryQueue:
    """See the module. Times are those of `clock`; every change is made without awaiting, so it is atomic."""

    def __init__(
        self,
        clock: Clock,
        name: str = "queue",
        *,
        visibility_seconds: float = 30.0,
        retention_seconds: float = 14 * 86400.0,
        delay_seconds: float = 0.0,
        redrive: Redrive | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        self._clock = clock
        self._name = name
        self._traits = QueueTraits(
            visibility_seconds, retention_seconds, redrive.max_receive_count if redrive else None
        )
        self._delay_seconds = delay_seconds
        self._redrive = redrive
        self._in_flight_max = in_flight_max
        self._numbers = itertools.count(1)
        self._order = itertools.count()
        self._messages: dict[str, _Stored] = {}
        self._counts: Counter[_State] = Counter()
        self._visible: deque[_Stored] = deque()
        self._hidden: list[tuple[float, int, _Stored]] = []
        self._expiries: list[tuple[float, int, _Stored]] = []
        self._waiters: dict[asyncio.Future[None], float] = {}
        """Who waits for a message, and until when at the latest."""

    # ------------------------------------------------------------------------------------------------------ the port

    async def receive(self, *, limit: int, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        """Waits for a message to be sent or to become visible, not a moment longer. Raises Throttled at the limit."""
        if not 1 <= limit <= QUEUE_BATCH_MAX or not 0 <= visibility_seconds <= VISIBILITY_SECONDS_MAX:
            raise RequestRefused(f"receive {limit} messages for {visibility_seconds} s")
        await asyncio.sleep(0)
        until = self._clock.monotonic() + min(wait_seconds, QUEUE_WAIT_SECONDS_MAX)
        while True:
            self._settle()
            if self._counts[_State.IN_FLIGHT] >= self._in_flight_max and wait_seconds <= 0:
                raise Throttled(f"receive from queue {self._name}: OverLimit")
            messages = self._take(limit, visibility_seconds)
            remaining = until - self._clock.monotonic()
            if messages or remaining <= 0:
                return messages
            await self._wait(remaining)

    async def delete(self, receipts: Sequence[str]) -> list[str]:
        """As SQS says of standard queues: an outdated receipt is no error, and deletes nothing."""
        self._settle()
        failed = []
        for receipt in receipts:
            message = self._messages.get(_message_id(receipt))
            if not _well_formed(receipt):
                failed.append(receipt)
            elif message is not None and message.receipt == receipt:
                self._remove(message)
        return failed

    async def set_visibility(self, receipts: Sequence[str], seconds: float) -> list[str]:
        """Fails for messages that aren't in flight under this receipt, and beyond 12 hours after their receive."""
        self._settle()
        now = self._clock.now()
        failed = []
        for receipt in receipts:
            message = self._messages.get(_message_id(receipt))
            if (
                message is None
                or message.receipt != receipt
                or message.state is not _State.IN_FLIGHT
                or not 0 <= seconds <= VISIBILITY_SECONDS_MAX - (now - message.received_at)
            ):
                failed.append(receipt)
            else:
                self._hide(message, _State.IN_FLIGHT, now + seconds)
        self._settle()
        return failed

    async def send(self, messages: Sequence[Outgoing]) -> list[str]:
        """Visible after the queue's delay."""
        failed = []
        for message in messages:
            if message_refusal(message) is not None:
                failed.append(message.id)
                continue
            message_id = f"{self._name}-{next(self._numbers)}"
            self._accept(_Stored(message_id, message.body, dict(message.attributes), self._clock.now()))
        self._settle()
        return failed

    async def depth(self) -> QueueDepth:
        """Exact numbers."""
        self._settle()
        return QueueDepth(*(self._counts[state] for state in (_State.VISIBLE, _State.IN_FLIGHT, _State.DELAYED)))

    async def traits(self) -> QueueTraits:
        """What the constructor was given."""
        return self._traits

    # ------------------------------------------------------------------------------------------------------ for tests

    def peek(self) -> list[Outgoing]:
        """Every message that is stored, visible or not, under its SQS id; nothing is received."""
        self._settle()
        return [Outgoing(message.id, message.body, message.attributes) for message in self._messages.values()]

    def redeliver(self, message_id: str) -> None:
        """The message is visible although somebody holds it: standard queues deliver at least once."""
        message = self._messages[message_id]
        self._hide(message, message.state, self._clock.now())
        self._settle()

    def jumble(self, random: Random) -> None:
        """What is visible comes in another order: standard queues promise none."""
        self._settle()
        random.shuffle(self._visible)

    # ------------------------------------------------------------------------------------------------------- the rules

    def _accept(self, message: _Stored) -> None:
        self._messages[message.id] = message
        self._counts[message.state] += 1
        expires_at = message.sent_at + self._traits.retention_seconds
        heapq.heappush(self._expiries, (expires_at, next(self._order), message))
        self._hide(message, _State.DELAYED, self._clock.now() + self._delay_seconds)

    def _take(self, limit: int, visibility_seconds: float) -> list[Message]:
        now = self._clock.now()
        taken: list[Message] = []
        room = min(limit, self._in_flight_max - self._counts[_State.IN_FLIGHT])
        while self._visible and len(taken) < room:
            message = self._visible.popleft()
            if self._messages.get(message.id) is not message or message.state is not _State.VISIBLE:
                continue  # deleted or expired meanwhile
            if self._redrive is not None and message.receive_count >= self._redrive.max_receive_count:
                self._remove(message)
                self._redrive.queue._take_over(message)  # noqa: SLF001 - another queue of this very class
                continue
            message.receive_count += 1
            message.received_at = now
            message.receipt = f"{message.id}#{message.receive_count}"
            self._hide(message, _State.IN_FLIGHT, now + visibility_seconds)
            taken.append(_received(message))
        return taken

    def _take_over(self, dead: _Stored) -> None:
        """A dead letter keeps its id and its age."""
        self._accept(_Stored(dead.id, dead.body, dead.attributes, dead.sent_at))
        self._settle()

    def _hide(self, message: _Stored, state: _State, until: float) -> None:
        self._enter(message, state)
        message.visible_at = until
        heapq.heappush(self._hidden, (until, next(self._order), message))
        self._wake(until)

    def _enter(self, message: _Stored, state: _State) -> None:
        self._counts[message.state] -= 1
        self._counts[state] += 1
        message.state = state

    def _remove(self, message: _Stored) -> None:
        self._counts[message.state] -= 1
        del self._messages[message.id]
        if self._counts[_State.IN_FLIGHT] == self._in_flight_max - 1:
            self._wake(-math.inf)  # there is room again

    def _settle(self) -> None:
        """Messages are where the time has brought them."""
        now = self._clock.now()
        while self._expiries and self._expiries[0][0] <= now:
            message = heapq.heappop(self._expiries)[2]
            if self._messages.get(message.id) is message:
                self._remove(message)
        while self._hidden and self._hidden[0][0] <= now:
            visible_at, _, message = heapq.heappop(self._hidden)
            current = self._messages.get(message.id) is message and message.visible_at == visible_at
            if current and message.state is not _State.VISIBLE:
                self._enter(message, _State.VISIBLE)
                self._visible.append(message)

    # -------------------------------------------------------------------------------------------------------- waiting

    def _wake(self, visible_at: float) -> None:
        """Whoever would sleep past that moment looks again."""
        for waiter, until in self._waiters.items():
            if visible_at < until:
                _rouse(waiter)

    async def _wait(self, seconds: float) -> None:
        """Something that may be taken sooner came up, a hidden message became visible, or the time is up."""
        now = self._clock.now()
        if self._hidden:
            seconds = min(seconds, self._hidden[0][0] - now)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        sleeper.add_done_callback(lambda _: _rouse(waiter))
        self._waiters[waiter] = now + seconds
        try:
            await waiter
        finally:
            del self._waiters[waiter]
            sleeper.cancel()


def _rouse(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _well_formed(receipt: str) -> bool:
    return bool(_message_id(receipt)) and receipt.rpartition("#")[2].isdigit()


def _message_id(receipt: str) -> str:
    return receipt.rpartition("#")[0]


def _received(message: _Stored) -> Message:
    return Message(
        message.id, message.body, dict(message.attributes), message.receipt, message.sent_at, message.receive_count
    )
