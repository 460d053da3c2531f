"""Inline, an engine, or later: by size, by time, by backlog, by the engine's health."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.core.test_lifecycle import batch as any_batch

from headsaw.core.model import Batch, SourceSpan
from headsaw.core.pace import BYTES_PER_SECOND_DEFAULT, SECONDS_PER_FILE_DEFAULT, Pace
from headsaw.core.routing import (
    FALLBACK_FACTOR,
    LEFT_TO_OTHERS_SECONDS,
    OTHERS_LOOK_SECONDS,
    BulkTarget,
    Inline,
    Later,
    Observed,
    ToEngine,
    about_bytes,
    about_seconds,
    bulk_target,
    choose,
)
from headsaw.core.settings import DatasetSettings

GB = 10**9
REASON_CHARS_MAX = 160
"""What the ledger keeps of it."""


def dataset(**spark: Any) -> DatasetSettings:
    return DatasetSettings.model_validate(
        {
            "name": "clicks",
            "source": "s3://landing/clicks/",
            "destination": "s3://lake/clicks/",
            "spark": {"engine": "glue", "min_bytes": 2 * GB, "inline_max": "15m", **spark},
        }
    )


def batch(stored: int = 10**6, files: int = 4) -> Batch:
    whole = any_batch()
    return replace(whole, bytes=stored, span=SourceSpan(whole.id, 0, files))


def observed(**changes: Any) -> Observed:
    return replace(Observed(expansion=1.0, inline_seconds=1.0), **changes)


# --- choosing


def test_without_an_engine_everything_is_inline() -> None:
    huge = observed(expansion=100.0, inline_seconds=1e9, backlog=10**6, engine_wait=60.0)
    assert choose(batch(10**15), dataset(engine="none"), huge) == Inline("no engine is configured")


def test_a_batch_goes_to_its_engine_from_min_bytes_of_estimated_ndjson_on() -> None:
    assert isinstance(choose(batch(2 * GB - 1), dataset(), observed()), Inline)
    assert isinstance(choose(batch(2 * GB), dataset(), observed()), ToEngine)
    route = choose(batch(600_000_000), dataset(), observed(expansion=5.2))
    assert route == ToEngine("glue", "est. 3.1 GB (600 MB stored x 5.2) >= spark.min_bytes 2.0 GB")
    under = choose(batch(300_000_000), dataset(), observed(expansion=5.2))
    assert under == Inline("est. 1.6 GB (300 MB stored x 5.2) < spark.min_bytes 2.0 GB")


def test_many_small_files_go_to_the_engine_if_they_would_take_too_long_here() -> None:
    assert isinstance(choose(batch(files=50_000), dataset(), observed(inline_seconds=900.0)), Inline)
    route = choose(batch(files=50_000), dataset(), observed(inline_seconds=1300.0))
    assert route == ToEngine("glue", "50000 files, inline about 22 min > spark.inline_max 15m")


def test_what_was_gathered_in_bulk_goes_to_the_engine_while_there_is_a_backlog() -> None:
    bulk = batch(files=dataset().batch.max_files + 1)
    route = choose(bulk, dataset(), observed(backlog=90_000))
    assert route == ToEngine("glue", "1001 files gathered in bulk, 90000 messages are waiting")
    assert isinstance(choose(bulk, dataset(), observed()), Inline)
    assert isinstance(choose(batch(files=1000), dataset(), observed(backlog=90_000)), Inline)


def test_while_the_engine_is_left_alone_inline_takes_what_it_can_within_a_bound_and_the_rest_waits() -> None:
    bound = FALLBACK_FACTOR * 900.0
    route = choose(batch(3 * GB), dataset(), observed(inline_seconds=bound, engine_wait=45.0))
    assert route == Inline("glue takes no runs now; inline takes about 60 min")
    later = choose(batch(3 * GB), dataset(), observed(inline_seconds=bound + 1, engine_wait=45.0))
    assert later == Later(45.0, "glue takes no runs now; inline takes about 60 min > 4 x spark.inline_max")


def test_a_worker_without_the_engine_does_what_it_can_and_leaves_the_rest_to_others_for_an_hour() -> None:
    stranger = observed(engine_known=False)
    assert choose(batch(3 * GB), dataset(), stranger) == Inline("this worker has no glue; inline takes about 1 s")
    large = replace(stranger, inline_seconds=1e6)
    later = choose(batch(3 * GB), dataset(), replace(large, age_seconds=LEFT_TO_OTHERS_SECONDS))
    assert isinstance(later, Later)
    assert (later.seconds, later.reason[:23]) == (OTHERS_LOOK_SECONDS, "this worker has no glue")
    assert isinstance(choose(batch(3 * GB), dataset(), replace(large, age_seconds=LEFT_TO_OTHERS_SECONDS + 1)), Inline)


def test_a_small_batch_is_inline_whatever_the_health_of_the_engine() -> None:
    assert choose(batch(), dataset(), observed(engine_wait=45.0)) == choose(batch(), dataset(), observed())


def test_a_batch_that_failed_keeps_its_route() -> None:
    failed = replace(batch(3 * GB), failures=2)
    assert choose(failed, dataset(), observed()) == choose(batch(3 * GB), dataset(), observed())


@pytest.mark.parametrize("stored", [1, 10**9, 10**18])
@pytest.mark.parametrize("wait", [None, 900.0])
@pytest.mark.parametrize("backlog", [0, 10**9])
@pytest.mark.parametrize("known", [True, False])
def test_reasons_are_short(stored: int, wait: float | None, backlog: int, known: bool) -> None:
    seen = Observed(123456.789, 1e12, backlog, wait, known, age_seconds=1e6)
    for settings in (dataset(), dataset(engine="emr-serverless", min_bytes=1), dataset(engine="none")):
        assert len(choose(batch(stored, 10**6), settings, seen).reason) <= REASON_CHARS_MAX


def test_sizes_and_times_are_told_to_two_or_three_digits() -> None:
    told = [about_bytes(size) for size in (0, 999, 1000, 99_900, 123_456, 3.14e9, 2e15)]
    assert told == ["0 B", "999 B", "1.0 KB", "99.9 KB", "123 KB", "3.1 GB", "2000 TB"]
    assert [about_seconds(seconds) for seconds in (0.2, 89, 91, 5399, 9000)] == [
        "0 s",
        "89 s",
        "2 min",
        "90 min",
        "2.5 h",
    ]


# --- bulk


def test_in_a_backlog_a_bulk_batch_is_gathered_up_to_a_target_of_estimated_bytes() -> None:
    settings = dataset(bulk_bytes=64 * GB, bulk_files=20_000)
    assert bulk_target(settings, observed(backlog=1, expansion=4.0)) == BulkTarget(20_000, 16 * GB)
    assert bulk_target(settings, observed(backlog=1, expansion=0.1)) == BulkTarget(20_000, 64 * GB)


@pytest.mark.parametrize(
    ("engine", "seen"),
    [
        ("none", observed(backlog=10**6)),
        ("glue", observed(backlog=0)),
        ("glue", observed(backlog=10**6, engine_wait=5.0)),
        ("glue", observed(backlog=10**6, engine_known=False)),
    ],
)
def test_nothing_is_gathered_without_an_engine_a_backlog_or_trust(engine: str, seen: Observed) -> None:
    assert bulk_target(dataset(engine=engine), seen) is None


def test_a_bulk_batch_is_never_smaller_than_any_other() -> None:
    small = dataset(bulk_bytes=1, bulk_files=5000)
    assert bulk_target(small, observed(backlog=1)) == BulkTarget(5000, int(small.batch.max_bytes))
    assert bulk_target(dataset(bulk_bytes=1, bulk_files=1), observed(backlog=1)) is None


# --- pace


def test_before_anything_is_known_the_defaults_hold() -> None:
    pace = Pace()
    assert pace.expansion == 1.0
    assert pace.inline_seconds(1, BYTES_PER_SECOND_DEFAULT * 7) == pytest.approx(7.0)
    assert pace.inline_seconds(1000, 1.0) == pytest.approx(1000 * SECONDS_PER_FILE_DEFAULT)


def test_the_expansion_is_that_of_bytes_not_of_batches_and_follows_what_is_new() -> None:
    pace = Pace()
    pace.read(1000, 8000)
    pace.read(10, 10)
    assert pace.expansion == pytest.approx(8.0, rel=0.05)
    for _ in range(50):
        pace.read(1000, 3000)
    assert pace.expansion == pytest.approx(3.0, rel=0.05)


def test_a_batch_of_unknown_size_or_without_content_teaches_nothing() -> None:
    pace = Pace()
    pace.read(0, 5000)
    pace.read(5000, 0)
    pace.converted(0, 0, 1.0)
    pace.converted(3, 0, 0.0)
    assert (pace.expansion, pace.inline_seconds(10, 0)) == (1.0, 10 * SECONDS_PER_FILE_DEFAULT)


def test_large_files_tell_what_a_byte_takes_and_small_ones_what_a_file_takes() -> None:
    pace = Pace()
    pace.converted(files=2, bytes_in=2 * GB, seconds=100.0)
    pace.converted(files=1000, bytes_in=10**6, seconds=5.0)
    assert pace.inline_seconds(1, 2 * GB) == pytest.approx(100.0)
    assert pace.inline_seconds(20_000, 10**6) == pytest.approx(100.0)


def test_what_a_worker_can_do_in_a_time_is_counted_in_files_like_those_of_late() -> None:
    pace = Pace()
    pace.converted(files=10, bytes_in=10 * GB, seconds=200.0)
    assert pace.files_within(900.0) == pytest.approx(45.0)
