"""One fact, every sink: whatever happens is told once, and the log and the metrics are functions of it."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from headsaw.config.settings import LogSettings
from headsaw.core.facts import Fact
from headsaw.telemetry.logs import Logs, route_standard_logging
from headsaw.telemetry.metrics import Metrics


class Telemetry:
    """The sinks of one worker."""

    def __init__(self, logs: Logs, metrics: Metrics) -> None:
        self._logs = logs
        self._metrics = metrics

    def tell(self, fact: Fact) -> None:
        """The fact is counted and logged."""
        self._metrics.tell(fact)
        self._logs.tell(fact)

    def count_api_call(self, service: str, operation: str) -> None:
        """One request to AWS was made: `sqs`, `ReceiveMessage`. Adapters take this as a plain callback."""
        self._metrics.count_api_call(service, operation)

    def count_write_units(self, units: float) -> None:
        """A write to the ledger consumed that much, as DynamoDB counts it."""
        self._metrics.count_write_units(units)

    def snapshot(self) -> dict[str, dict[str, int]]:
        """API calls so far, by service and operation."""
        return self._metrics.snapshot()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Body and content type of a scrape, in the format that its Accept header asks for."""
        return self._metrics.exposition(accept)


@contextmanager
def open_telemetry(
    settings: LogSettings,
    *,
    worker: str,
    datasets: Iterable[str] = (),
    engines: Iterable[str] = (),
    stream: TextIO | None = None,
) -> Iterator[Telemetry]:
    """A worker's telemetry; until it ends, the standard library's logging goes to its log. Default stream: stdout."""
    metrics = Metrics(datasets, engines)
    logs = Logs(settings, worker=worker, stream=stream or sys.stdout, lost=metrics.count_lost_line)
    with route_standard_logging(logs):
        yield Telemetry(logs, metrics)
