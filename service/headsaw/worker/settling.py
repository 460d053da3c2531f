"""How a received message leaves the worker's hands: deleted, given back, or sent to the DLQ.

A message is deleted only after each of its files is settled (G1). A delivery counts down its unsettled sources; when
none is left it is deleted, or, if it spoke of what no dataset here names, given back with a delay until it is old
enough for the DLQ. A failed delete or return is harmless: the message comes back, and its files are duplicates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headsaw.core.facts import MessageFate, MessagesSettled, OutageMet, Where
from headsaw.core.notification import ORIGINAL_MESSAGE_ID, message_identity
from headsaw.errors import HeadsawError
from headsaw.ports import Message, Queue
from headsaw.worker.context import Context
from headsaw.worker.dead_letters import send_dead_letter

FOREIGN_SECONDS_MIN = 2.0
FOREIGN_SECONDS_MAX = 300.0
NOBODY = "no dataset has this prefix or name"


@dataclass(slots=True, eq=False)
class Delivery:
    """One received message on its way to being settled."""

    message: Message
    queue: Queue
    unsettled: int = 0
    foreign: bool = False
    fate: MessageFate = MessageFate.DUPLICATE

    def claimed(self) -> None:
        """One of its sources is in a batch of ours."""
        self.fate = MessageFate.CLAIMED


class Settling:
    """See the module."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def count_down(self, deliveries: Iterable[Delivery]) -> None:
        """One source less is unsettled in each (as often as it is named); those with none left are settled."""
        done: list[Delivery] = []
        for delivery in deliveries:
            delivery.unsettled -= 1
            if delivery.unsettled == 0 and delivery.fate is not MessageFate.DEAD_LETTERED:
                done.append(delivery)
        await self.settle(done)

    async def settle(self, deliveries: Sequence[Delivery]) -> None:
        """None of them has an unsettled source: deleted, or, if foreign, given back or dead-lettered by age."""
        ours = [delivery for delivery in deliveries if not delivery.foreign]
        await self._delete(ours)
        for fate in (MessageFate.CLAIMED, MessageFate.DUPLICATE, MessageFate.ACKNOWLEDGED):
            if count := sum(1 for delivery in ours if delivery.fate is fate):
                self._context.tell(MessagesSettled(fate, count))
        now = self._context.world.clock.now()
        for delivery in deliveries:
            if delivery.foreign:
                await self._settle_foreign(delivery, now - delivery.message.sent_at)

    async def _settle_foreign(self, delivery: Delivery, age: float) -> None:
        """Another version of the configuration may know it; the wait grows with the age of the message."""
        if age < self._context.limits.foreign_seconds:
            await self.give_back([delivery], min(max(age, FOREIGN_SECONDS_MIN), FOREIGN_SECONDS_MAX))
        else:
            await self.dead_letter(delivery, NOBODY)

    async def _delete(self, deliveries: Iterable[Delivery]) -> None:
        for queue, receipts in _by_queue(deliveries):
            try:
                await queue.delete(receipts)
            except HeadsawError as error:
                self._context.tell(OutageMet(Where.QUEUE, type(error).__name__, str(error)))

    async def give_back(self, deliveries: Iterable[Delivery], delay_seconds: float) -> None:
        """They are delivered again after the delay; at the visibility timeout if even this fails."""
        delay = min(delay_seconds, self._context.limits.visibility_seconds)
        for queue, receipts in _by_queue(dict.fromkeys(deliveries)):
            try:
                await queue.set_visibility(receipts, delay)
            except HeadsawError as error:
                self._context.tell(OutageMet(Where.QUEUE, type(error).__name__, str(error)))
            self._context.tell(MessagesSettled(MessageFate.RETURNED, len(receipts)))

    async def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """In the DLQ and deleted; if the DLQ can't take it now, it comes back after its visibility timeout."""
        if delivery.fate is MessageFate.DEAD_LETTERED:
            return
        message = delivery.message
        ours = {"reason": reason, ORIGINAL_MESSAGE_ID: message_identity(message.id, message.attributes)}
        if await send_dead_letter(self._context, message.id, message.body, ours, message.attributes):
            delivery.fate = MessageFate.DEAD_LETTERED
            await self._delete([delivery])
            self._context.tell(MessagesSettled(MessageFate.DEAD_LETTERED, 1, reason))


def _by_queue(deliveries: Iterable[Delivery]) -> list[tuple[Queue, list[str]]]:
    groups: dict[int, tuple[Queue, list[str]]] = {}
    for delivery in deliveries:
        groups.setdefault(id(delivery.queue), (delivery.queue, []))[1].append(delivery.message.receipt)
    return list(groups.values())
