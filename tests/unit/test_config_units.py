"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsaw.core.settings import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("300s", 300),
        ("300", 300),
        (" 5 m ", 300),
        ("1.5h", 5400),
        ("30d", 2592000),
        (5, 5),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "5 min", "-5s", "5S", "1h30m", "1e3s", "٣s", "inf", -1, True, None, float("nan"), []]
)
def test_other_durations_are_refused_with_examples(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234B", 1234),
        ("64kib", 65536),
        ("256 MiB", 268435456),
        ("5MB", 5000000),
        ("1.5GiB", 1610612736),
        (7, 7),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "5M", "5 mibs", "-1B", "1e6", -1, 1.5, False, None, {}])
def test_other_sizes_are_refused_with_examples(text: object) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@given(st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_is_read_back_as_it_is_shown(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@given(st.integers(0, 2**45))
def test_a_size_is_read_back_as_it_is_shown(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (90, "90s"), (60, "1m"), (86400, "1d"), (1.5, "1.5s"), (999999.5, "999999.5s")],
)
def test_a_duration_is_shown_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
