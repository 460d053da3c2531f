"""docs/observability.md says what the code does."""

import io
import json
import re
from pathlib import Path
from typing import get_args

from fact_examples import examples
from prometheus_client.metrics import MetricWrapperBase

from headsaw.config.settings import LogSettings
from headsaw.core.breaker import Health
from headsaw.core.facts import MessageFate, Where
from headsaw.core.settings import Engine
from headsaw.http import LIVEZ, METRICS, READYZ
from headsaw.telemetry import open_telemetry
from headsaw.telemetry.instruments import Instruments
from headsaw.telemetry.metrics import BATCH_OUTCOMES, DATASETS_MAX, LABEL_VALUES_MAX, LINE_FATES, QUEUE_STATES

PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
ALWAYS = ("timestamp", "level", "event", "worker")


def table(*header: str) -> list[tuple[str, ...]]:
    """The rows of the page's table with that header, code quotes removed."""
    text = PAGE.split("| " + " | ".join(header) + " |\n", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in text.splitlines()[1:]]
    return [tuple(cell.strip().strip("`") for cell in row) for row in rows]


def test_every_metric_is_documented_with_its_type_labels_and_meaning() -> None:
    actual = {}
    for metric in vars(Instruments()).values():
        if isinstance(metric, MetricWrapperBase):
            [family] = metric.collect()
            name = family.name + ("_total" if family.type == "counter" else "")
            actual[name] = (family.type, ", ".join(metric._labelnames), family.documentation)
    documented = {name: tuple(rest) for name, *rest in table("metric", "type", "labels", "meaning")}
    assert documented == actual


def test_the_values_of_enumerated_labels_are_documented() -> None:
    documented = {(metric, label): values.split(", ") for metric, label, values in table("metric", "label", "values")}
    assert documented == {
        ("headsaw_messages_total", "fate"): [fate.value for fate in MessageFate],
        ("headsaw_queue_messages", "state"): list(QUEUE_STATES),
        ("headsaw_batches_total", "outcome"): list(BATCH_OUTCOMES),
        ("headsaw_lines_total", "fate"): list(LINE_FATES),
        ("headsaw_batches_routed_total", "engine"): [
            "inline",
            "later",
            *(engine for engine in get_args(Engine) if engine != "none"),
        ],
        ("headsaw_engine_health", "health"): [health.value for health in Health],
        ("headsaw_outages_total", "where"): [where.value for where in Where],
    }
    assert f"at most {LABEL_VALUES_MAX} different values, `dataset` {DATASETS_MAX:,};" in PAGE


def test_every_log_line_is_documented_with_its_level_and_fields() -> None:
    stream = io.StringIO()
    with open_telemetry(LogSettings(level="DEBUG", allow_debug=True), worker="w", stream=stream) as telemetry:
        for fact in examples():
            telemetry.tell(fact)
    actual, details = {}, set()
    for line in map(json.loads, stream.getvalue().splitlines()):
        if line["event"].endswith(": detail"):
            details.add(line["event"])
        else:
            fields = ", ".join(name for name in line if name not in ALWAYS)
            actual[line["event"]] = (line["level"], fields)
    documented = {event: (level, fields) for event, level, fields in table("event", "level", "fields")}
    assert documented == actual
    assert details == set(re.findall(r"`([a-z ]+: detail)`", PAGE))


def test_every_endpoint_is_documented() -> None:
    assert {path for path, _ in table("path", "answers")} == {METRICS, LIVEZ, READYZ, "/"}
