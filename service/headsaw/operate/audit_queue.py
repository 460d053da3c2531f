"""What may still be on its way: a look at the source queues that changes nothing but receive counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from headsaw.core.notification import Landed, parse_notification
from headsaw.ports import Message, Queue

LOOKS = 10
RECEIVE_MAX = 10


@dataclass(frozen=True, slots=True)
class Underway:
    """`oldest_at`: when the oldest message that was seen was sent (None: none was). `named`: files seen in messages."""

    oldest_at: float | None
    named: frozenset[tuple[str, str, str]]

    def may_bring(self, bucket: str, key: str, etag: str, landed_at: float) -> bool:
        """A message that is still queued may speak of the object: it names it, or is older than the object."""
        if (bucket, key, etag) in self.named:
            return True
        return self.oldest_at is not None and landed_at >= self.oldest_at


async def look_at(queues: Sequence[Queue]) -> Underway:
    """A sample of what is visible, delivered again at once. SQS samples too, so this is best effort."""
    seen: list[Message] = []
    for queue in queues:
        for _ in range(LOOKS):
            messages = await queue.receive(limit=RECEIVE_MAX, wait_seconds=0, visibility_seconds=0)
            seen += messages
            if not messages:
                break
    named = set()
    for message in seen:
        notification = parse_notification(message.body, message.attributes)
        if isinstance(notification, Landed):
            named |= {(file.bucket, file.key, file.etag) for file in notification.files}
    return Underway(min((message.sent_at for message in seen), default=None), frozenset(named))
