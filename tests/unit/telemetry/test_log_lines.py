"""What the log says of each fact, and what it never says."""

import io
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from fact_examples import BATCH, COUNTS, KEY, examples

from headsaw.config.settings import LogSettings
from headsaw.core.breaker import Health
from headsaw.core.facts import (
    BatchDone,
    BatchFailed,
    EngineHealth,
    Fact,
    MessageFate,
    MessagesSettled,
    OutageMet,
    Where,
)
from headsaw.core.model import SparkRun
from headsaw.errors import UsageError
from headsaw.telemetry import open_telemetry
from headsaw.telemetry.logs import Logs

DEBUG = LogSettings(level="DEBUG", allow_debug=True)
CONSOLE = LogSettings(format="console")


def told(*facts: Fact, settings: LogSettings | None = None) -> str:
    stream = io.StringIO()
    with open_telemetry(settings or LogSettings(), worker="worker-1", stream=stream) as telemetry:
        for fact in facts:
            telemetry.tell(fact)
    return stream.getvalue()


def lines(*facts: Fact, settings: LogSettings | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told(*facts, settings=settings).splitlines()]


def heard(loud: Any, settings: LogSettings | None = None) -> list[dict[str, Any]]:
    """What the log has of what `loud` says to the standard library's logging."""
    stream = io.StringIO()
    with open_telemetry(settings or LogSettings(), worker="worker-1", stream=stream):
        loud()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_there_is_an_example_of_every_fact() -> None:
    assert {type(fact) for fact in examples()} == set(get_args(Fact))


def test_a_finished_batch_has_one_canonical_line_with_all_of_its_numbers() -> None:
    [line] = lines(BatchDone(BATCH, COUNTS, 1, 5, 1000, 400, 2, age_seconds=12.34567))
    timestamp = datetime.fromisoformat(line.pop("timestamp"))
    assert timestamp.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - timestamp) < timedelta(minutes=5)
    assert line == {
        "level": "info",
        "event": "batch done",
        "worker": "worker-1",
        "batch": "01batch",
        "dataset": "clicks",
        "attempt": 2,
        "lease_epoch": 4,
        "files": 3,
        "lines": 10,
        "rows": 6,
        "quarantined": 2,
        "blank": 1,
        "filtered": 1,
        "rescued_values": 5,
        "bytes_in": 1000,
        "bytes_out": 400,
        "outputs": 2,
        "rejected": 1,
        "age_seconds": 12.346,
        "engine": "inline",
        "route": "",
    }


def test_a_batch_that_goes_well_takes_one_line_at_info() -> None:
    quiet = {
        "batch claimed",
        "batch converted",
        "batch committed",
        "messages received",
        "messages settled",
        "files seen",
    }
    events = [line["event"] for line in lines(*examples())]
    assert events.count("batch done") == 1
    assert not quiet & set(events)


def test_every_line_leads_with_time_level_and_message_and_names_the_worker() -> None:
    for line in lines(*examples(), settings=DEBUG):
        assert list(line)[:3] == ["timestamp", "level", "event"]
        assert line["worker"] == "worker-1"


def test_messages_are_constant_and_lower_case() -> None:
    once = [line["event"] for line in lines(*examples(), settings=DEBUG)]
    again = [line["event"] for line in lines(*examples(text="another", label="another"), settings=DEBUG)]
    assert once == again
    assert all(event == event.lower() for event in once)


@pytest.mark.parametrize("settings", [LogSettings(), CONSOLE], ids=["json", "console"])
def test_no_object_key_is_logged_at_info_or_above(settings: LogSettings) -> None:
    assert KEY not in told(*examples(text=KEY, label=KEY), settings=settings)


def test_at_debug_an_object_key_stands_on_debug_lines_alone() -> None:
    named = [line for line in lines(*examples(text=KEY), settings=DEBUG) if KEY in str(line)]
    assert {line["level"] for line in named} == {"debug"}
    assert {line["event"] for line in named} == {
        "outage met: detail",
        "batch released: detail",
        "spark run undone: detail",
        "messages settled: detail",
    }


def test_a_batch_that_spark_converted_says_so_and_why() -> None:
    delegated = replace(BATCH, run=SparkRun("glue", 5.0, "jr_1"), route="est. 3.1 GB")
    [line] = lines(BatchDone(delegated, COUNTS, 1, 5, 1000, 400, 2, age_seconds=1.0))
    assert (line["engine"], line["route"]) == ("glue", "est. 3.1 GB")


@pytest.mark.parametrize(
    ("health", "level"), [(Health.OPEN, "warning"), (Health.HALF_OPEN, "info"), (Health.CLOSED, "info")]
)
def test_an_engine_that_is_left_alone_is_a_warning(health: Health, level: str) -> None:
    [line] = lines(EngineHealth("glue", health, 3, 45.06789))
    assert (line["level"], line["engine"], line["health"], line["failures"]) == (level, "glue", health.value, 3)
    assert line["pause_seconds"] == 45.068


def test_the_reason_of_a_failure_may_quote_a_record_and_is_not_logged_even_at_debug() -> None:
    assert "4711" not in told(BatchFailed(BATCH, "failed", "row {'card': 4711} broke it"), settings=DEBUG)


def test_the_code_in_front_of_a_reason_is_logged() -> None:
    [line] = lines(BatchFailed(BATCH, "retry", f"superseded: {KEY}"))
    assert line["reason"] == "superseded"


def test_an_outage_is_a_warning_that_says_what_and_where() -> None:
    [line] = lines(OutageMet(Where.LEDGER, "Throttled", f"slow down {KEY}"))
    assert (line["level"], line["where"], line["kind"]) == ("warning", "ledger", "Throttled")
    assert "detail" not in line


@pytest.mark.parametrize(("outcome", "level"), [("retry", "warning"), ("split", "warning"), ("failed", "error")])
def test_only_a_batch_that_is_given_up_is_an_error(outcome: str, level: str) -> None:
    [line] = lines(BatchFailed(BATCH, outcome, "code"))
    assert line["level"] == level


def test_messages_that_went_to_the_dlq_are_a_warning() -> None:
    assert [line["level"] for line in lines(MessagesSettled(MessageFate.DEAD_LETTERED, 1))] == ["warning"]
    assert lines(MessagesSettled(MessageFate.DUPLICATE, 1)) == []


def test_debug_needs_permission() -> None:
    with pytest.raises(UsageError, match="allow_debug"), open_telemetry(LogSettings(level="DEBUG"), worker="w"):
        pass


def test_the_configured_level_silences_what_is_below_it() -> None:
    levels = {line["level"] for line in lines(*examples(), settings=LogSettings(level="ERROR"))}
    assert levels == {"error"}


def test_the_console_format_is_text_for_people() -> None:
    [line] = told(BatchDone(BATCH, COUNTS, 1, 5, 1000, 400, 2, 12.3), settings=CONSOLE).splitlines()
    assert "batch done" in line
    assert "rows=6" in line
    assert "\x1b" not in line, "no colours unless the stream is a terminal"


def test_a_line_break_in_a_text_does_not_make_a_second_line() -> None:
    text = told(OutageMet(Where.QUEUE, "Throttled", 'no\n{"level": "error"}'), settings=DEBUG)
    assert len(text.splitlines()) == 2


# --- the standard library's logging


def test_libraries_are_heard_from_warning_on_in_the_same_json() -> None:
    def loud() -> None:
        logging.getLogger("asyncio").info("not this")
        logging.getLogger("asyncio").warning("this")

    [line] = heard(loud)
    assert (line["event"], line["level"], line["logger"], line["text"], line["worker"]) == (
        "library message",
        "warning",
        "asyncio",
        "this",
        "worker-1",
    )


@pytest.mark.parametrize("name", ["botocore", "botocore.endpoint", "aiobotocore", "asyncio", "aiohttp.access"])
def test_debug_of_libraries_stays_off_at_debug(name: str) -> None:
    def loud() -> None:
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger(name).debug("a request body")
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)

    assert heard(loud, DEBUG) == []


def test_neither_arguments_nor_exception_texts_of_libraries_are_logged() -> None:
    def loud() -> None:
        try:
            raise KeyError(KEY)
        except KeyError:
            logging.getLogger("aiobotocore").exception("could not read %s\nfuture: %s", KEY, KEY)

    for settings in (LogSettings(), DEBUG):
        [line] = heard(loud, settings)
        assert KEY not in str(line)
        assert (line["text"], line["exception"]) == ("could not read %s", "KeyError")
        assert "test_log_lines.py" in line["frames"][-1]


def test_an_exception_of_a_library_is_shown_on_the_console_too() -> None:
    stream = io.StringIO()
    with open_telemetry(CONSOLE, worker="w", stream=stream):
        try:
            raise KeyError(KEY)
        except KeyError:
            logging.getLogger("aiohttp.server").exception("request failed")
    assert "KeyError" in stream.getvalue()
    assert KEY not in stream.getvalue()


def test_an_empty_library_message_is_no_error() -> None:
    [line] = heard(lambda: logging.getLogger("x").warning(""))
    assert line["text"] == ""


def test_afterwards_the_standard_librarys_logging_is_as_it_was() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("botocore").level)
    with open_telemetry(LogSettings(), worker="w", stream=io.StringIO()):
        assert root.handlers != before[0]
    assert (root.handlers[:], root.level, logging.getLogger("botocore").level) == before


# --- a log that can't be written


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_stops_nothing_and_is_counted() -> None:
    lost: list[int] = []
    logs = Logs(LogSettings(), worker="w", stream=Full(), lost=lambda: lost.append(1))
    for fact in examples():
        logs.tell(fact)
    assert len(lost) == len(lines(*examples()))
    with open_telemetry(LogSettings(), worker="w", stream=Full()) as telemetry:
        telemetry.tell(OutageMet(Where.QUEUE, "Throttled", ""))
        logging.getLogger("x").warning("also lost")
    assert b"headsaw_log_lines_lost_total 2.0" in telemetry.exposition()[0]


def test_a_closed_stream_is_a_lost_line_too() -> None:
    stream = io.StringIO()
    with open_telemetry(LogSettings(), worker="w", stream=stream) as telemetry:
        stream.close()
        telemetry.tell(OutageMet(Where.QUEUE, "Throttled", ""))
    assert b"headsaw_log_lines_lost_total 1.0" in telemetry.exposition()[0]
