"""`Table` on Amazon DynamoDB. Knows expressions, attribute values and error codes; knows nothing of batches."""

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from botocore.exceptions import ClientError

from headsaw.adapters.aws import error_code, translated
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
    Value,
    Write,
    Written,
)
from headsaw.errors import ProtocolViolation, Throttled, UsageError

DUE_INDEX = "due"

_BUSY_REASONS = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"})


def table_definition(name: str) -> dict[str, Any]:
    """CreateTable's arguments: what the ledger expects to find. On demand, so that nobody plans its capacity."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "due_shard", "AttributeType": "S"},
            {"AttributeName": "due_at", "AttributeType": "N"},
        ],
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": DUE_INDEX,
                "KeySchema": [
                    {"AttributeName": "due_shard", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    }


TTL_ATTRIBUTE = "expires_at"


Spent = Callable[[float], None]
"""Told the write units that a call consumed, indexes included, as DynamoDB itself counts them."""


class DynamoTable:
    """One table, through an aiobotocore client that its creator closes."""

    def __init__(self, client: Any, name: str, spent: Spent | None = None) -> None:
        self._client = client
        self._name = name
        self._spent = spent

    async def get(self, key: Key) -> Item | None:
        """Strongly consistent."""
        with self._translated():
            answer = await self._client.get_item(TableName=self._name, Key=_encode_key(key), ConsistentRead=True)
        item = answer.get("Item")
        return _decode(item) if item is not None else None

    async def write(self, write: Write) -> Written | ConditionFailed:
        """PutItem or UpdateItem; the old item comes with the refusal, so no second read is needed."""
        request = _request(write, self._name)
        call = self._client.put_item if isinstance(write, Put) else self._client.update_item
        with self._translated():
            try:
                self._account(await call(**request, ReturnConsumedCapacity="TOTAL"))
            except ClientError as error:
                if error_code(error) == "TransactionConflictException":
                    raise Throttled(f"ledger {self._name}: a transaction holds the item") from None
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                old = error.response.get("Item")
                # Some implementations don't return the old item with the refusal: read it.
                return ConditionFailed(_decode(old) if old else await self.get(write.key))
        return Written()

    async def transact(self, writes: Sequence[Write], token: str) -> Written | Cancelled:
        """TransactWriteItems, with ALL_OLD on every refusal."""
        entries = [{"Put" if isinstance(write, Put) else "Update": _request(write, self._name)} for write in writes]
        with self._translated():
            try:
                answer = await self._client.transact_write_items(
                    TransactItems=entries, ClientRequestToken=self._own_token(token), ReturnConsumedCapacity="TOTAL"
                )
                self._account(answer)
            except ClientError as error:
                if error_code(error) != "TransactionCanceledException":
                    raise
                return _cancelled(error, len(writes))
        return Written()

    async def query(self, pk: str, sk_prefix: str = "", cursor: object | None = None) -> Page:
        """Strongly consistent, in sk order."""
        names, values, condition = {"#pk": "pk"}, {":pk": {"S": pk}}, "#pk = :pk"
        if sk_prefix:
            names["#sk"], values[":sk"] = "sk", {"S": sk_prefix}
            condition += " AND begins_with(#sk, :sk)"
        return await self._page(
            self._client.query,
            cursor,
            KeyConditionExpression=condition,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
        )

    async def query_due(self, shard: str, until: float, cursor: object | None, limit: int) -> Page:
        """From the sparse index, earliest first."""
        return await self._page(
            self._client.query,
            cursor,
            IndexName=DUE_INDEX,
            KeyConditionExpression="due_shard = :shard AND due_at <= :until",
            ExpressionAttributeValues={":shard": {"S": shard}, ":until": {"N": repr(until)}},
            Limit=limit,
        )

    async def scan(self, sk: str) -> AsyncIterator[Item]:
        """A filtered scan: reads the whole table, so only operators' commands use it."""
        cursor: object | None = None
        while True:
            page = await self._page(
                self._client.scan,
                cursor,
                FilterExpression="sk = :sk",
                ExpressionAttributeValues={":sk": {"S": sk}},
            )
            for item in page.items:
                yield item
            cursor = page.cursor
            if cursor is None:
                return

    async def check_shape(self) -> None:
        """The table is active and has the primary key and index of `table_definition`."""
        with self._translated():
            table = (await self._client.describe_table(TableName=self._name))["Table"]
        expected = table_definition(self._name)
        indexes = {index["IndexName"]: index["KeySchema"] for index in table.get("GlobalSecondaryIndexes", [])}
        if (
            table["KeySchema"] != expected["KeySchema"]
            or indexes.get(DUE_INDEX) != (expected["GlobalSecondaryIndexes"][0]["KeySchema"])
        ):
            raise UsageError(
                f"the DynamoDB table {self._name} isn't a headsaw ledger: it needs the primary key (pk, sk) and the "
                f"index {DUE_INDEX} on (due_shard, due_at); create it as docs/operations.md says"
            )

    def _account(self, answer: Mapping[str, Any]) -> None:
        if self._spent is not None:
            consumed = answer.get("ConsumedCapacity", [])
            entries = consumed if isinstance(consumed, list) else [consumed]
            self._spent(sum(float(entry.get("CapacityUnits", 0.0)) for entry in entries))

    def _own_token(self, token: str) -> str:
        """Tokens are an account's, not a table's: two ledgers may use the same one."""
        return hashlib.sha256(f"{self._name}/{token}".encode()).hexdigest()[:36]

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"ledger {self._name}")

    async def _page(self, call: Any, cursor: object | None, **arguments: Any) -> Page:
        if cursor is not None:
            arguments["ExclusiveStartKey"] = cursor
        with self._translated():
            answer = await call(TableName=self._name, **arguments)
        return Page(tuple(_decode(item) for item in answer["Items"]), answer.get("LastEvaluatedKey"))


def _cancelled(error: ClientError, writes: int) -> Cancelled:
    reasons = error.response.get("CancellationReasons", [])
    if len(reasons) != writes:
        raise ProtocolViolation(f"a transaction of {writes} writes was cancelled with {len(reasons)} reasons")
    codes = {reason.get("Code", "None") for reason in reasons}
    if codes & _BUSY_REASONS:
        raise Throttled("dynamodb: a transaction was throttled") from error
    unknown = codes - {reason.value for reason in Reason}
    if unknown:
        raise ProtocolViolation(f"a transaction was cancelled for {sorted(unknown)}: {error}")
    return Cancelled(
        tuple(
            (Reason(reason.get("Code", "None")), _decode(reason["Item"]) if reason.get("Item") else None)
            for reason in reasons
        )
    )


class _Expression:
    """Names and values of one request, as placeholders."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, dict[str, Any]] = {}

    def name(self, name: str) -> str:
        placeholder = f"#{name}"
        self.names[placeholder] = name
        return placeholder

    def value(self, value: Value) -> str:
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = _encode_value(value)
        return placeholder

    def condition(self, condition: Condition) -> str:
        match condition:
            case Always():
                return ""
            case Absent(name):
                return f"attribute_not_exists({self.name(name)})"
            case Equals(values):
                return " AND ".join(
                    f"{self.name(name)} = {self.value(value)}"
                    if value is not None
                    else f"attribute_not_exists({self.name(name)})"
                    for name, value in values.items()
                )
            case Either(conditions):
                return " OR ".join(f"({self.condition(one)})" for one in conditions)


def _request(write: Write, table: str) -> dict[str, Any]:
    """The arguments of PutItem or UpdateItem, alone or inside a transaction."""
    expression = _Expression()
    request: dict[str, Any] = {"TableName": table}
    if isinstance(write, Put):
        request["Item"] = {name: _encode_value(value) for name, value in write.item.items()}
    else:
        request["Key"] = _encode_key(write.key)
        sets = ", ".join(f"{expression.name(n)} = {expression.value(v)}" for n, v in write.set.items())
        removes = ", ".join(expression.name(name) for name in write.remove)
        clauses = [f"SET {sets}" if sets else "", f"REMOVE {removes}" if removes else ""]
        request["UpdateExpression"] = " ".join(clause for clause in clauses if clause)
    condition = expression.condition(write.condition)
    if condition:
        request["ConditionExpression"] = condition
        request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    if expression.names:
        request["ExpressionAttributeNames"] = expression.names
    if expression.values:
        request["ExpressionAttributeValues"] = expression.values
    return request


def _encode_key(key: Key) -> dict[str, Any]:
    return {"pk": {"S": key.pk}, "sk": {"S": key.sk}}


def _encode_value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case bytes():
            return {"B": value}
        case int() | float():
            return {"N": str(int(value)) if value == int(value) else repr(value)}  # as DynamoDB itself writes it
        case tuple():
            return {"L": [{"S": element} for element in value]}


def _decode(item: Mapping[str, Any]) -> Item:
    return {name: _decode_value(value) for name, value in item.items()}


def _decode_value(encoded: Mapping[str, Any]) -> Value:
    ((kind, value),) = encoded.items()
    match kind:
        case "S" | "BOOL":
            return value  # type: ignore[no-any-return]  # a string or a boolean, says the service model
        case "B":
            return bytes(value)
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "L":
            return tuple(str(element["S"]) for element in value)
        case _:
            raise ProtocolViolation(f"an attribute of type {kind}, which headsaw never writes")
