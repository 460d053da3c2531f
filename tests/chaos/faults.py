"""Which fault befalls which request, and what AWS would say: one seed decides, and each kind is counted."""

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """What the proxy does to one request."""

    LATENCY = "latency"
    UNAVAILABLE = "unavailable"
    THROTTLED = "throttled"
    CONFLICT = "transaction conflict"
    RESET = "reset"
    HALF_OPEN = "never answered"
    HALF_OPEN_AFTER = "never answered, after the effect"
    LOST = "answer lost after the effect"
    CUT = "answer cut off"
    ERROR_IN_200 = "error inside a 200"
    ERROR_IN_200_AFTER = "error inside a 200, after the effect"


WEIGHTS = {
    Fault.LATENCY: 24,
    Fault.UNAVAILABLE: 12,
    Fault.THROTTLED: 18,
    Fault.RESET: 12,
    Fault.HALF_OPEN: 2,
    Fault.HALF_OPEN_AFTER: 2,
    Fault.LOST: 22,
    Fault.CUT: 8,
}
SPECIAL_SHARE = 0.4
"""Of the faults that meet an operation with a failure of its own, so many are that."""

STARTING_SHARE = 0.15
"""Of the usual faults while a process checks, one call after the other, what it needs: they would make each start take
longer than a worker lives, and what is tormented is work."""

LATENCY_SECONDS = (0.02, 1.0)
HALF_OPEN_SECONDS = (2.0, 12.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One request's head. `operation` is AWS's name where a header tells it, else the HTTP method."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def service(self) -> str:
        """dynamodb, sqs or s3."""
        name = self.headers.get("x-amz-target", "")
        return "dynamodb" if name.startswith("DynamoDB") else "sqs" if name.startswith("AmazonSQS") else "s3"

    @property
    def operation(self) -> str:
        """Such as TransactWriteItems, or PUT."""
        if self.service == "s3":
            completes = self.method == "POST" and "uploadId=" in self.target
            return "CompleteMultipartUpload" if completes else self.method
        return self.headers["x-amz-target"].rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the proxy's own."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Faults:
    """`share` of all requests meet a fault until `active` is False."""

    random: Random
    share: float
    active: bool = True
    requests: int = 0
    injected: Counter[Fault] = field(default_factory=Counter)

    def choose(self, request: Request, *, starting: bool = False) -> Fault | None:
        """The fault of this request, which a process that is just `starting` meets less often."""
        self.requests += 1
        share = self.share * (STARTING_SHARE if starting else 1.0)
        if not self.active or self.random.random() >= share:
            return None
        fault = self.random.choices(list(WEIGHTS), WEIGHTS.values())[0]
        if self.random.random() < SPECIAL_SHARE:
            if request.operation == "TransactWriteItems":
                fault = Fault.CONFLICT
            elif request.operation == "CompleteMultipartUpload":
                fault = self.random.choice([Fault.ERROR_IN_200, Fault.ERROR_IN_200_AFTER])
        self.injected[fault] += 1
        return fault

    def seconds(self, bounds: tuple[float, float]) -> float:
        """Somewhere between."""
        return self.random.uniform(*bounds)

    def answer(self, fault: Fault, request: Request, body: bytes) -> Answer:
        """What the service says when it fails so, in its own form."""
        match fault, request.service:
            case Fault.CONFLICT, _:
                writes = len(json.loads(body)["TransactItems"])
                return _conflict(writes, self.random.randrange(writes))
            case Fault.THROTTLED, "dynamodb":
                codes = ["ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded"]
                return _json(400, f"com.amazonaws.dynamodb.v20120810#{self.random.choice(codes)}")
            case Fault.THROTTLED, "sqs":
                return _json(403, "com.amazonaws.sqs#RequestThrottled", "RequestThrottled;Sender")
            case Fault.THROTTLED, _:
                return _xml(503, "SlowDown", "Please reduce your request rate.")
            case _, "dynamodb":
                return _json(500, "com.amazonaws.dynamodb.v20120810#InternalServerError")
            case _, "sqs":
                return _json(503, "com.amazonaws.sqs#ServiceUnavailable", "ServiceUnavailable;Receiver")
            case ((Fault.ERROR_IN_200 | Fault.ERROR_IN_200_AFTER), _):
                return _xml(200, "InternalError", "We encountered an internal error. Please try again.")
            case _:
                return _xml(503, "ServiceUnavailable", "Reduce your request rate.")


def _json(status: int, kind: str, query_error: str = "") -> Answer:
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    if query_error:
        headers["x-amzn-query-error"] = query_error
    return Answer(status, json.dumps({"__type": kind, "message": "injected"}).encode(), headers)


def _conflict(writes: int, which: int) -> Answer:
    reasons = [{"Code": "TransactionConflict" if at == which else "None"} for at in range(writes)]
    kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException"
    body = {"__type": kind, "Message": "Transaction cancelled", "CancellationReasons": reasons}
    return Answer(400, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.0"})


def _xml(status: int, code: str, message: str) -> Answer:
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})
