"""Which number each fact moves."""

import pytest
from fact_examples import BATCH, COUNTS, KEY, examples
from prometheus_client.parser import text_string_to_metric_families

from headsaw.core.breaker import Health
from headsaw.core.facts import (
    BacklogSampled,
    BatchClaimed,
    BatchConverted,
    BatchDelegated,
    BatchDone,
    BatchFailed,
    BatchReleased,
    BatchRouted,
    BatchTaken,
    BatchUnpublishable,
    EngineHealth,
    Fact,
    FilesSeen,
    LeaseWasLost,
    MessageFate,
    MessagesReceived,
    MessagesSettled,
    OutageMet,
    RunUndone,
    Where,
    WorkerStarted,
)
from headsaw.telemetry import metrics as metrics_module
from headsaw.telemetry.metrics import LABEL_VALUES_MAX, Metrics, api_calls


def moved(*facts: Fact) -> dict[str, float]:
    """Every headsaw series that isn't zero after the facts."""
    metrics = Metrics()
    for fact in facts:
        metrics.tell(fact)
    return {name: value for name, value in series(metrics).items() if value and "_bucket" not in name}


def series(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            if sample.name.startswith("headsaw_"):
                found[sample.name.removeprefix("headsaw_") + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_a_poll_counts_its_messages_and_shows_the_age_of_the_oldest() -> None:
    assert moved(MessagesReceived(10, 2.5)) == {"messages_received_total": 10, "message_age_seconds": 2.5}


def test_an_empty_poll_sets_the_age_back() -> None:
    assert moved(MessagesReceived(10, 2.5), MessagesReceived(0, 0.0)) == {"messages_received_total": 10}


@pytest.mark.parametrize("fate", MessageFate)
def test_settled_messages_are_counted_by_fate(fate: MessageFate) -> None:
    assert moved(MessagesSettled(fate, 3)) == {f"messages_total{{fate={fate.value}}}": 3}


def test_files_are_counted_by_dataset_and_outcome() -> None:
    assert moved(FilesSeen("new", 3, "clicks"), FilesSeen("foreign", 2)) == {
        "files_total{dataset=clicks,outcome=new}": 3,
        "files_total{dataset=,outcome=foreign}": 2,
    }


@pytest.mark.parametrize(
    ("fact", "outcome"),
    [
        (BatchClaimed(BATCH, "age"), "claimed"),
        (BatchTaken(BATCH, "RUNNING"), "taken"),
        (BatchReleased(BATCH, "drain"), "released"),
        (BatchFailed(BATCH, "retry", ""), "retried"),
        (BatchFailed(BATCH, "split", ""), "split"),
        (BatchFailed(BATCH, "failed", ""), "failed"),
        (BatchUnpublishable(BATCH, 2), "unpublishable"),
        (BatchDelegated(BATCH, "glue", "est. 3 GB"), "delegated"),
        (RunUndone(BATCH, "glue", "busy"), "undone"),
    ],
)
def test_batches_are_counted_by_dataset_and_outcome(fact: Fact, outcome: str) -> None:
    assert moved(fact) == {f"batches_total{{dataset=clicks,outcome={outcome}}}": 1}


def test_routes_are_counted_by_dataset_and_engine() -> None:
    routed = [BatchRouted(BATCH, engine, "est. 3 GB") for engine in ("inline", "glue", "later", "emr-serverless")]
    assert moved(*routed, routed[0]) == {
        "batches_routed_total{dataset=clicks,engine=inline}": 2,
        "batches_routed_total{dataset=clicks,engine=glue}": 1,
        "batches_routed_total{dataset=clicks,engine=later}": 1,
        "batches_routed_total{dataset=clicks,engine=emr-serverless}": 1,
    }


def test_an_engine_has_one_state_at_a_time() -> None:
    opened, trying = EngineHealth("glue", Health.OPEN, 3, 45.0), EngineHealth("glue", Health.HALF_OPEN, 3, 0.0)
    assert moved(opened) == {"engine_health{engine=glue,health=open}": 1}
    assert moved(opened, trying) == {"engine_health{engine=glue,health=half_open}": 1}


def test_a_finished_batch_counts_its_lines_once_each() -> None:
    assert moved(BatchDone(BATCH, COUNTS, 1, 5, 1000, 400, 2, age_seconds=12.5)) == {
        "batches_total{dataset=clicks,outcome=done}": 1,
        "lines_total{dataset=clicks,fate=row}": 6,
        "lines_total{dataset=clicks,fate=quarantined}": 2,
        "lines_total{dataset=clicks,fate=blank}": 1,
        "lines_total{dataset=clicks,fate=filtered}": 1,
        "rescued_values_total": 5,
        "rejected_files_total": 1,
        "bytes_in_total": 1000,
        "bytes_out_total": 400,
        "batch_age_seconds_count": 1,
        "batch_age_seconds_sum": 12.5,
    }


def test_a_conversion_counts_its_time_and_none_of_its_lines() -> None:
    assert moved(BatchConverted(BATCH, COUNTS, 5, 1000, 400, 2, seconds=1.5, cpu_seconds=1.25)) == {
        "conversion_seconds_count": 1,
        "conversion_seconds_sum": 1.5,
        "conversion_cpu_seconds_total": 1.25,
    }


def test_lost_leases_and_outages_say_where() -> None:
    assert moved(LeaseWasLost(BATCH, "convert"), OutageMet(Where.LEDGER, "Throttled", KEY)) == {
        "leases_lost_total{during=convert}": 1,
        "outages_total{kind=Throttled,where=ledger}": 1,
    }


def test_a_sample_of_the_backlog_replaces_the_one_before() -> None:
    assert moved(BacklogSampled(70, 60, 50, 40, 30, 20), BacklogSampled(7, 6, 5, 4, 3, 2)) == {
        "queue_messages{state=visible}": 7,
        "queue_messages{state=in_flight}": 6,
        "queue_messages{state=delayed}": 5,
        "batches_unfinished": 4,
        "batches_held": 3,
        "files_buffered": 2,
    }


def test_the_version_is_shown() -> None:
    assert moved(WorkerStarted("1.2.3", "worker-1", 2, 4, "reference")) == {"worker_info{version=1.2.3}": 1}


def test_every_fact_is_accepted() -> None:
    assert moved(*examples())


def test_no_object_key_becomes_a_label() -> None:
    metrics = Metrics()
    for fact in examples(text=KEY, label=KEY):
        metrics.tell(fact)
    scrape = metrics.exposition()[0].decode()
    assert KEY not in scrape
    assert 'kind="other"' in scrape


def test_labels_are_bounded_however_many_texts_come() -> None:
    metrics = Metrics()
    for number in range(10 * LABEL_VALUES_MAX):
        metrics.tell(OutageMet(Where.ENGINE, f"Kind{number}", ""))
    outages = {name: value for name, value in series(metrics).items() if name.startswith("outages_total")}
    assert len(outages) == LABEL_VALUES_MAX + 1
    assert sum(outages.values()) == 10 * LABEL_VALUES_MAX


def test_configured_datasets_and_engines_have_their_series_from_the_start() -> None:
    start = series(Metrics(["clicks"], ["glue"]))
    assert start["batches_total{dataset=clicks,outcome=failed}"] == 0
    assert start["lines_total{dataset=clicks,fate=quarantined}"] == 0
    assert start["messages_total{fate=dead_lettered}"] == 0
    assert start["engine_health{engine=glue,health=closed}"] == 1
    assert start["engine_health{engine=glue,health=open}"] == 0


def test_workers_in_one_process_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.tell(MessagesReceived(10, 2.5))
    assert series(other)["messages_received_total"] == 0


def test_no_created_series_doubles_the_scrape() -> None:
    metrics = Metrics(["clicks"])
    for accept in ("", "application/openmetrics-text;version=1.0.0"):
        assert b"_created" not in metrics.exposition(accept)[0]


def test_api_calls_are_read_back_as_plain_numbers() -> None:
    metrics = Metrics()
    assert metrics.snapshot() == {}
    for service, operation in [("sqs", "ReceiveMessage"), ("sqs", "ReceiveMessage"), ("s3", "GetObject")]:
        metrics.count_api_call(service, operation)
    expected = {"sqs": {"ReceiveMessage": 2}, "s3": {"GetObject": 1}}
    assert metrics.snapshot() == expected
    assert api_calls(metrics.exposition()[0].decode()) == expected


def test_the_names_that_deployments_rely_on_are_constants() -> None:
    assert metrics_module.BATCHES_UNFINISHED == "headsaw_batches_unfinished"
    exposed = Metrics().exposition()[0].decode()
    for name in metrics_module.__all__:
        if name.isupper():
            assert f"# TYPE {getattr(metrics_module, name)} " in exposed
