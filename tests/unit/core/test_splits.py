"""Plans of splits: every byte once, ranges only where they pay, small sources together."""

from hypothesis import given
from hypothesis import strategies as st

from headsaw.core.splits import (
    SPLIT_BYTES_MAX,
    SPLIT_BYTES_MIN,
    Found,
    LineRun,
    Range,
    Together,
    Weighed,
    align,
    plan_splits,
    split_bytes,
)


def test_a_large_plain_source_becomes_ranges_of_one_size_the_last_of_which_is_open() -> None:
    assert plan_splits([Weighed(250, plain=True)], 100) == [Range(0, 0, 83), Range(0, 83, 166), Range(0, 166, None)]


def test_a_large_source_that_is_compressed_stays_whole() -> None:
    assert plan_splits([Weighed(250)], 100) == [Together((0,))]


def test_small_sources_go_together_in_order_up_to_the_size_of_a_split() -> None:
    sizes = [40, 40, 40, 90, 10, 1]
    assert plan_splits([Weighed(size) for size in sizes], 100) == [
        Together((0, 1)),
        Together((2,)),
        Together((3, 4)),
        Together((5,)),
    ]


def test_small_sources_go_together_up_to_so_many() -> None:
    assert plan_splits([Weighed(1)] * 5, 100, files_max=2) == [Together((0, 1)), Together((2, 3)), Together((4,))]


def test_a_source_of_unknown_size_is_alone() -> None:
    assert plan_splits([Weighed(1), Weighed(None), Weighed(1)], 100) == [Together((0,)), Together((1,)), Together((2,))]


def test_a_batch_without_sources_has_no_splits() -> None:
    assert plan_splits([], 100) == []


def test_splits_keep_every_core_busy_within_bounds() -> None:
    assert split_bytes(0, 4) == SPLIT_BYTES_MIN
    assert split_bytes(10**15, 4) == SPLIT_BYTES_MAX
    assert split_bytes(3 * 10**9, 4) == 250_000_000
    assert split_bytes(10**9, 0) == 333_333_333


@given(
    st.lists(st.builds(Weighed, st.none() | st.integers(0, 1000), st.booleans()), max_size=30),
    st.integers(1, 300),
    st.integers(1, 5),
)
def test_every_byte_is_in_one_split(sources: list[Weighed], bytes_max: int, files_max: int) -> None:
    splits = plan_splits(sources, bytes_max, files_max)
    together = [split for split in splits if isinstance(split, Together)]
    whole = [index for split in together for index in split.sources]
    ranges = [split for split in splits if isinstance(split, Range)]
    assert whole == sorted(whole), "in the batch's order"
    assert sorted({*whole, *(item.source for item in ranges)}) == list(range(len(sources)))
    assert not set(whole) & {item.source for item in ranges}
    for split in together:
        assert 1 <= len(split.sources) <= files_max
        assert len(split.sources) == 1 or sum(sources[index].size or 0 for index in split.sources) <= bytes_max
    for index in {item.source for item in ranges}:
        mine = [item for item in ranges if item.source == index]
        assert len(mine) > 1
        assert mine[0].start == 0
        assert mine[-1].stop is None
        assert [item.stop for item in mine[:-1]] == [item.start for item in mine[1:]]
        size = sources[index].size
        assert size is not None
        ends = [size if item.stop is None else item.stop for item in mine]
        assert all(0 < end - item.start <= bytes_max for item, end in zip(mine, ends, strict=True))


def test_ranges_become_runs_of_whole_lines_with_their_numbers() -> None:
    ranges = [Range(7, 0, 10), Range(7, 10, 20), Range(7, 20, 30), Range(7, 30, None)]
    found = [Found(0, 3), Found(None, 0), Found(21, 2), Found(31, 1)]
    assert align(ranges, found) == [LineRun(7, 0, 21, 0), LineRun(7, 21, 31, 3), LineRun(7, 31, None, 5)]


def test_a_source_that_turns_out_to_be_empty_has_no_runs() -> None:
    assert align([Range(0, 0, 10), Range(0, 10, None)], [Found(None, 0)] * 2) == []
