"""What the ledger needs of DynamoDB: conditional writes, transactions, two kinds of query. Nothing else.

The ledger's protocol is written once, over this; `dynamodb.DynamoTable` and `memory.MemoryTable` implement it, so the
in-memory ledger runs the very same protocol code, and faults can be injected at the table, where they happen.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

Value = str | int | float | bytes | bool | tuple[str, ...]
Item = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Key:
    """An item's primary key."""

    pk: str
    sk: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The attribute (by default the whole item) doesn't exist."""

    name: str = "pk"


@dataclass(frozen=True, slots=True)
class Equals:
    """The attribute has exactly these values, all of them; None means that it is absent."""

    values: Mapping[str, Value | None]


@dataclass(frozen=True, slots=True)
class Either:
    """One of the conditions holds."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Always:
    """No condition."""


Condition = Absent | Equals | Either | Always


@dataclass(frozen=True, slots=True)
class Put:
    """Replace the whole item, if the condition holds of the old one."""

    item: Item
    condition: Condition = field(default_factory=Always)

    @property
    def key(self) -> Key:
        """The primary key in the item."""
        return Key(str(self.item["pk"]), str(self.item["sk"]))


@dataclass(frozen=True, slots=True)
class Update:
    """Set and remove attributes, if the condition holds."""

    key: Key
    set: Mapping[str, Value]
    remove: tuple[str, ...]
    condition: Condition


Write = Put | Update


@dataclass(frozen=True, slots=True)
class Written:
    """The write took effect, all of it."""


@dataclass(frozen=True, slots=True)
class ConditionFailed:
    """Nothing changed. `old` is the item as it was, None where there was none."""

    old: Item | None


class Reason(StrEnum):
    """Why one write of a transaction cancelled it."""

    NONE = "None"
    CONDITION = "ConditionalCheckFailed"
    CONFLICT = "TransactionConflict"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Nothing changed. A reason per write, in their order, with the old item where a condition failed."""

    reasons: tuple[tuple[Reason, Item | None], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and where to go on."""

    items: tuple[Item, ...]
    cursor: object | None


class Table(Protocol):
    """A table with the primary key (pk, sk) and the sparse index `due` on (due_shard, due_at), keys only.

    Every call may raise `Outage`; whether a write took effect is then unknown.
    """

    async def get(self, key: Key) -> Item | None:
        """A consistent read."""
        ...

    async def write(self, write: Write) -> Written | ConditionFailed:
        """One conditional write."""
        ...

    async def transact(self, writes: Sequence[Write], token: str) -> Written | Cancelled:
        """All of up to 100 writes or none. The same token and writes within ten minutes have one effect."""
        ...

    async def query(self, pk: str, sk_prefix: str = "", cursor: object | None = None) -> Page:
        """Items of one partition in sk order; consistent."""
        ...

    async def query_due(self, shard: str, until: float, cursor: object | None, limit: int) -> Page:
        """Keys of the shard with due_at ≤ until, earliest first; eventually consistent."""
        ...

    def scan(self, sk: str) -> AsyncIterator[Item]:
        """Every item with that sort key, in no order; eventually consistent."""
        ...

    async def check_shape(self) -> None:
        """Raises UsageError where the table is missing or lacks its keys or index."""
        ...
