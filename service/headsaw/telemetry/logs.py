"""The log: JSON lines (or text for people) on one stream, `worker` bound once, library logging held at WARNING.

Nothing is configured globally except the standard library's root logger, for as long as `route_standard_logging` lasts.
Logging never stops the work: a line that can't be written is counted.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from headsaw.config.settings import LogSettings
from headsaw.core.facts import Fact
from headsaw.errors import UsageError
from headsaw.telemetry.entries import entry

LIBRARIES = ("aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "urllib3")
"""Held at WARNING by name too, whatever the root logger says: botocore's DEBUG shows request bodies."""

STACK_FRAMES_MAX = 20


class Logs:
    """Facts as log lines on `stream`; `lost` is called for each line that it refuses."""

    def __init__(self, settings: LogSettings, *, worker: str, stream: TextIO, lost: Callable[[], None]) -> None:
        if settings.level == "DEBUG" and not settings.allow_debug:
            raise UsageError(
                "log.level: DEBUG may write object keys to the log (add allow_debug: true to log, or use INFO)"
            )
        self._logger = _logger(settings, stream).bind(worker=worker)
        self._lost = lost

    def tell(self, fact: Fact) -> None:
        """The fact is on the stream, if it is important enough."""
        line = entry(fact)
        self._write(line.level, line.message, line.fields)
        if line.detail:
            self._write(logging.DEBUG, f"{line.message}: detail", {**line.fields, "detail": line.detail})

    def record(self, record: logging.LogRecord) -> None:
        """A library's message is on the stream: its constant part, the exception's type and its stack.

        Arguments and exception texts may hold object keys or record content, so they stay out.
        """
        fields: dict[str, object] = {"logger": record.name, "text": _template(record)}
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            frames = traceback.extract_tb(trace)[-STACK_FRAMES_MAX:]
            fields["exception"] = kind.__name__
            fields["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        self._write(record.levelno, "library message", fields)

    def _write(self, level: int, message: str, fields: Mapping[str, object]) -> None:
        try:
            self._logger.log(level, message, **fields)
        except (OSError, ValueError):  # a broken pipe, a full disk, a closed or narrow stream: no reason to stop work
            self._lost()


@contextmanager
def route_standard_logging(logs: Logs) -> Iterator[None]:
    """The standard library's loggers write to `logs` from WARNING on; afterwards they are as they were."""
    root = logging.getLogger()
    before = root.handlers[:]
    levels = {logger: logger.level for logger in (root, *map(logging.getLogger, LIBRARIES))}
    root.handlers[:] = [_Route(logs)]
    for logger in levels:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = before
        for logger, level in levels.items():
            logger.setLevel(level)


class _Route(logging.Handler):
    """Hands a library's record to the log."""

    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """The record is on the stream."""
        self._logs.record(record)


def _template(record: logging.LogRecord) -> str:
    """The message without its arguments; asyncio puts what it speaks about on further lines."""
    lines = str(record.msg).splitlines()
    return lines[0] if lines else ""


def _logger(settings: LogSettings, stream: TextIO) -> FilteringBoundLogger:
    renderer: Processor = structlog.processors.JSONRenderer()
    if settings.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _leading,
        renderer,
    ]
    level = logging.getLevelNamesMapping()[settings.level]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return logger


def _leading(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Time, level and message come first, for people who read the JSON."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return first | dict(event)
