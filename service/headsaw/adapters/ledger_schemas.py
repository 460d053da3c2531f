"""Table schemas in the ledger: a version is its delta, and the head item holds the newest version whole.

A version and the head change in one transaction, on the condition that the head still is the version before: two
workers that grow a schema at once get one winner, and the loser retypes.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from headsaw.adapters.ledger_items import compress, decompress
from headsaw.adapters.table import Absent, Condition, Equals, Item, Key, Put, Table, Value, Write, Written
from headsaw.core.model import FORMAT
from headsaw.core.table_schema import TableSchema, delta_from_json, delta_to_json
from headsaw.errors import ProtocolViolation

HEAD = "head"


class Patience(Protocol):
    """Repeats a call that is safe to repeat, until it is answered or an Outage for good."""

    def __call__(self, call: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        """The call's answer."""
        ...


class SchemaShelf:
    """The schema items of a ledger table."""

    def __init__(self, table: Table, patiently: Patience) -> None:
        self._table = table
        self._patiently = patiently

    async def head(self, dataset: str) -> TableSchema:
        """The newest version, or the empty version 0; consistent."""
        item: Item | None = await self._patiently(lambda: self._table.get(_key(dataset, HEAD)))
        return TableSchema() if item is None else TableSchema.from_json(decompress(item["schema"]))

    async def history(self, dataset: str) -> tuple[TableSchema, ...]:
        """Every version, oldest first, put together from the deltas."""
        versions: list[TableSchema] = []
        cursor: object | None = None
        while True:
            page = await self._table.query(f"schema#{dataset}", "v", cursor)
            for item in page.items:
                before = versions[-1] if versions else TableSchema()
                versions.append(before.apply(delta_from_json(decompress(item["delta"])), before.version + 1))
            cursor = page.cursor
            if cursor is None:
                return tuple(versions)

    async def add(self, dataset: str, schema: TableSchema) -> bool:
        """The version exists with this content afterwards; False if another content has its place."""
        before = await self.head(dataset)
        if before.version >= schema.version:
            return before == schema
        if before.version != schema.version - 1:
            raise ProtocolViolation(f"schema version {schema.version} of {dataset} can't follow {before.version}")
        token = hashlib.sha256(f"{dataset}/{schema.version}/{schema.fingerprint}".encode()).hexdigest()[:36]
        writes = _writes(dataset, before, schema)
        result = await self._patiently(lambda: self._table.transact(writes, token))
        if isinstance(result, Written):
            return True
        # Refused, or in conflict with another's growth: the head says who was first.
        return await self.head(dataset) == schema


def _writes(dataset: str, before: TableSchema, schema: TableSchema) -> list[Write]:
    version, head = _key(dataset, f"v{schema.version:06d}"), _key(dataset, HEAD)
    unchanged: Condition = Equals({"version": before.version}) if before.version else Absent()
    common: dict[str, Value] = {"format": FORMAT, "version": schema.version}
    delta = compress(delta_to_json(schema.delta(before)))
    return [
        Put({"pk": version.pk, "sk": version.sk, **common, "delta": delta}, Absent()),
        Put({"pk": head.pk, "sk": head.sk, **common, "schema": compress(schema.to_json())}, unchanged),
    ]


def _key(dataset: str, sk: str) -> Key:
    return Key(f"schema#{dataset}", sk)
