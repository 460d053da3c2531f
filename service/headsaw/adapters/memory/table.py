"""A DynamoDB table in memory that enforces DynamoDB's limits: 400 KB items, 100-item transactions, one write per item
and transaction, 4 MB a transaction, tokens that make a repeated transaction one effect for ten minutes."""

from collections.abc import AsyncIterator, Mapping, Sequence

from headsaw.adapters.limits import RequestRefused
from headsaw.adapters.table import (
    Absent,
    Always,
    Cancelled,
    Condition,
    ConditionFailed,
    Either,
    Equals,
    Item,
    Key,
    Page,
    Put,
    Reason,
    Update,
    Value,
    Write,
    Written,
)
from headsaw.ports import Clock

ITEM_BYTES_MAX = 400 * 1024
TRANSACTION_WRITES_MAX = 100
TRANSACTION_BYTES_MAX = 4 * 1024**2
KEY_BYTES_MAX = {"pk": 2048, "sk": 1024}
TOKEN_SECONDS = 600.0
PAGE_ITEMS = 100


class MemoryTable:
    """See the module. Atomic because nothing here awaits between check and write."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._items: dict[Key, dict[str, Value]] = {}
        self._partitions: dict[str, set[str]] = {}
        self._due: dict[Value, set[Key]] = {}
        self._tokens: dict[str, tuple[float, tuple[Write, ...]]] = {}

    async def get(self, key: Key) -> Item | None:
        """A copy of the item."""
        item = self._items.get(key)
        return dict(item) if item is not None else None

    async def write(self, write: Write) -> Written | ConditionFailed:
        """Checked, then done."""
        old = self._items.get(write.key)
        if not holds(write.condition, old):
            return ConditionFailed(dict(old) if old is not None else None)
        self._store(write.key, outcome(write, old))
        return Written()

    async def transact(self, writes: Sequence[Write], token: str) -> Written | Cancelled:
        """All or none; the token's first payload is its only one."""
        self._check_transaction(writes)
        self._forget_old_tokens()
        if token in self._tokens:
            if self._tokens[token][1] != tuple(writes):
                raise RequestRefused("IdempotentParameterMismatch: one token, two payloads")
            return Written()
        reasons: list[tuple[Reason, Item | None]] = []
        for write in writes:
            old = self._items.get(write.key)
            failed = not holds(write.condition, old)
            reasons.append((Reason.CONDITION, dict(old) if old else None) if failed else (Reason.NONE, None))
        if any(reason is not Reason.NONE for reason, _ in reasons):
            return Cancelled(tuple(reasons))
        outcomes = [(write.key, outcome(write, self._items.get(write.key))) for write in writes]
        for _, item in outcomes:
            check_item(item)
        for key, item in outcomes:
            self._keep(key, item)
        self._tokens[token] = (self._clock.now(), tuple(writes))
        return Written()

    async def query(self, pk: str, sk_prefix: str = "", cursor: object | None = None) -> Page:
        """Pages of a hundred."""
        held = (sk for sk in self._partitions.get(pk, ()) if sk.startswith(sk_prefix))
        keys = sorted(sk for sk in held if Key(pk, sk) in self._items)
        rest = [sk for sk in keys if cursor is None or sk > str(cursor)]
        page = rest[:PAGE_ITEMS]
        items = tuple(dict(self._items[Key(pk, sk)]) for sk in page)
        return Page(items, page[-1] if len(rest) > len(page) else None)

    async def query_due(self, shard: str, until: float, cursor: object | None, limit: int) -> Page:
        """The sparse index: items that have both of its attributes."""
        entries = (
            (due_at, key.pk, key.sk)
            for key in self._due.get(shard, ())
            if isinstance(due_at := self._items.get(key, {}).get("due_at"), int | float)
        )
        rows = sorted(entry for entry in entries if entry[0] <= until)
        rest = [row for row in rows if cursor is None or row > cursor]  # type: ignore[operator]  # our own cursor
        page = rest[:limit]
        items = tuple({"pk": pk, "sk": sk} for _, pk, sk in page)
        return Page(items, page[-1] if len(rest) > len(page) else None)

    async def scan(self, sk: str) -> AsyncIterator[Item]:
        """A snapshot of the moment."""
        for item in [dict(item) for key, item in self._items.items() if key.sk == sk]:
            yield item

    async def check_shape(self) -> None:
        """Always right."""

    def _store(self, key: Key, item: dict[str, Value]) -> None:
        check_item(item)
        self._keep(key, item)

    def _keep(self, key: Key, item: dict[str, Value]) -> None:
        """The item, and where queries look for it."""
        old = self._items.get(key)
        self._items[key] = item
        self._partitions.setdefault(key.pk, set()).add(key.sk)
        was, shard = (old or {}).get("due_shard"), item.get("due_shard")
        if was != shard:
            if was is not None:
                self._due[was].discard(key)
            if shard is not None:
                self._due.setdefault(shard, set()).add(key)

    def _check_transaction(self, writes: Sequence[Write]) -> None:
        if not 1 <= len(writes) <= TRANSACTION_WRITES_MAX:
            raise RequestRefused(f"a transaction of {len(writes)} writes")
        if len({write.key for write in writes}) != len(writes):
            raise RequestRefused("a transaction with two writes of one item")
        total = sum(item_bytes(write.item if isinstance(write, Put) else write.set) for write in writes)
        if total > TRANSACTION_BYTES_MAX:
            raise RequestRefused(f"a transaction of {total} bytes")

    def _forget_old_tokens(self) -> None:
        horizon = self._clock.now() - TOKEN_SECONDS
        while self._tokens and next(iter(self._tokens.values()))[0] <= horizon:
            del self._tokens[next(iter(self._tokens))]


def holds(condition: Condition, old: Mapping[str, Value] | None) -> bool:
    """Whether the condition is true of the item (None: no item)."""
    item = old or {}
    match condition:
        case Always():
            return True
        case Absent(name):
            return name not in item
        case Equals(values):
            return all(item.get(name) == value for name, value in values.items())
        case Either(conditions):
            return any(holds(one, old) for one in conditions)


def outcome(write: Write, old: Mapping[str, Value] | None) -> dict[str, Value]:
    """The item after the write."""
    match write:
        case Put(item):
            return dict(item)
        case Update(key, changes, remove):
            kept = {name: value for name, value in (old or {}).items() if name not in remove}
            return {**kept, **changes, "pk": key.pk, "sk": key.sk}


def item_bytes(item: Mapping[str, Value]) -> int:
    """DynamoDB's own arithmetic: UTF-8 names and strings, raw binary, up to 21 bytes a number.

    Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats".
    """
    total = 0
    for name, value in item.items():
        total += _text_bytes(name) + (_text_bytes(value) if isinstance(value, str) else _value_bytes(value))
    return total


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _value_bytes(value: Value) -> int:
    match value:
        case bool():
            return 1
        case str():
            return _text_bytes(value)
        case bytes():
            return len(value)
        case int() | float():
            return len(repr(value)) // 2 + 2
        case tuple():
            return 3 + sum(1 + _text_bytes(element) for element in value)


def check_item(item: Mapping[str, Value]) -> None:
    """Raises RequestRefused for what DynamoDB wouldn't store."""
    for name, limit in KEY_BYTES_MAX.items():
        key = item.get(name)
        if not isinstance(key, str) or not 1 <= len(key.encode()) <= limit:
            raise RequestRefused(f"a bad key attribute {name}: {key!r}")
    if item_bytes(item) > ITEM_BYTES_MAX:
        raise RequestRefused(f"an item of {item_bytes(item)} bytes")
    if ("due_shard" in item) != ("due_at" in item):
        raise RequestRefused("half a key of the due index")
