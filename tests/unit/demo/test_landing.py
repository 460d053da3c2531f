import gzip
import json
import re
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import zstandard

from headsaw.core.conversion import FileCounts, RejectReason
from headsaw.demo.landing import START, LandedFile, Landing

MANY = Landing(files=1200, file_bytes=4_000, seed=7, corrupt=4, broken=0.05)


@pytest.fixture(scope="module")
def many() -> list[LandedFile]:
    return list(MANY)


def plain(file: LandedFile) -> bytes:
    """What the stored bytes hold, by the standard library where it can."""
    if file.key.endswith(".gz"):
        return gzip.decompress(file.body)
    if file.key.endswith(".zst"):
        with zstandard.ZstdDecompressor().stream_reader(file.body, read_across_frames=True) as reader:
            return reader.read()
    return file.body


def refuse(token: str) -> None:
    raise ValueError(token)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


def record(line: bytes) -> dict[str, Any] | None:
    """The event of a valid line; None for any other, by the plainest means."""
    text = line.decode(errors="replace")
    if b"[" * 300 in line or re.search(r"\\ud83d(?!\\ude)", text) or "\ufffd" in text:
        return None
    try:
        event = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def recount(ndjson: bytes) -> tuple[FileCounts, list[str]]:
    lines = ndjson.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    blank = sum(not line.strip() for line in lines)
    events = [event for line in lines if line.strip() and (event := record(line)) is not None]
    counts = FileCounts(len(lines), len(events), len(lines) - blank - len(events), blank)
    return counts, [event["event_id"] for event in events]


def test_the_truth_of_every_file_agrees_with_a_naive_recount(many: list[LandedFile]) -> None:
    for file in many:
        if not file.corrupt:
            assert recount(plain(file)) == (file.counts, list(file.event_ids())), file.key
            assert len(file.reasons) == file.counts.quarantined


def test_every_event_id_is_unique_over_files_and_record_messages(many: list[LandedFile]) -> None:
    ids = Counter(event_id for source in [*many, *MANY.record_messages(50)] for event_id in source.event_ids())
    assert set(ids.values()) == {1}


def test_the_truth_of_record_messages_agrees_with_a_naive_recount() -> None:
    for message in Landing(broken=0.3).record_messages(300):
        assert recount(message.body.encode()) == (message.counts, list(message.event_ids()))
        assert message.counts.rows >= 1
        assert message.attributes == {"dataset": message.dataset}


def test_the_same_seed_makes_the_same_bytes_and_another_seed_makes_others(many: list[LandedFile]) -> None:
    assert list(MANY) == many
    other = Landing(files=1200, file_bytes=4_000, seed=8, corrupt=4, broken=0.05)
    assert other.file(3).body != many[3].body


def test_any_file_can_be_made_alone(many: list[LandedFile]) -> None:
    assert MANY.file(777) == many[777]


def test_nothing_can_be_read_of_a_corrupt_file(many: list[LandedFile]) -> None:
    corrupt = [file for file in many if file.corrupt]
    assert [file.rejected for file in corrupt] == [RejectReason.CORRUPT_STREAM, RejectReason.TRUNCATED_STREAM] * 2
    for file in corrupt:
        with pytest.raises((EOFError, OSError, zlib.error)):
            plain(file)
        assert file.counts == FileCounts()
        assert list(file.event_ids()) == []


@pytest.mark.parametrize(("files", "expected"), [(1, 0), (3, 0), (4, 1), (10, 1), (2000, 1)])
def test_one_file_is_corrupt_unless_there_are_few(files: int, expected: int) -> None:
    landing = Landing(files=files, file_bytes=100)
    assert sum(file.corrupt for file in landing) == expected


def test_every_way_to_store_a_file_occurs(many: list[LandedFile]) -> None:
    readable = [file for file in many if not file.corrupt]
    suffixes = Counter(file.key.rpartition(".")[2] for file in readable)
    assert suffixes["gz"] > suffixes["ndjson"] > 0
    assert suffixes["zst"] > 0
    assert any(first_member(file) != plain(file) for file in readable if file.key.endswith(".gz"))
    assert any(b"\r\n" in plain(file) for file in readable)
    assert any(plain(file)[-1:] not in (b"", b"\n") for file in readable)
    assert any(plain(file) == b"" for file in readable)


def first_member(file: LandedFile) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(file.body)


def test_keys_are_unique_and_ordered_by_time_and_some_need_encoding(many: list[LandedFile]) -> None:
    hours = [re.match(r"(?:clicks|orders)/(\d{4}/\d\d/\d\d/\d\d)/", file.key) for file in many]
    assert all(hour is not None for hour in hours)
    stamps = [hour[1] for hour in hours if hour is not None]
    assert all(earlier <= later for earlier, later in pairwise(stamps))
    assert (stamps[0], stamps[-1]) == ("2026/11/21/00", "2026/11/23/11")
    assert len({file.key for file in many}) == len(many)
    for character in " +%é日&?":
        assert any(character in file.key for file in many)


def test_sizes_vary_around_the_given_mean() -> None:
    sizes = [file.ndjson_bytes for file in Landing(files=500, file_bytes=10_000)]
    assert 9_000 < sum(sizes) / len(sizes) < 11_500
    assert min(sizes) < 5_000
    assert max(sizes) > 20_000


def test_fields_drift_with_time(many: list[LandedFile]) -> None:
    events = [
        [record(line) for line in plain(file).split(b"\n")]
        for file in many
        if file.dataset == "clicks" and not file.corrupt
    ]
    early = [event for file in events[:200] for event in file if event]
    late = [event for file in events[-200:] for event in file if event]
    assert not any("experiment" in event for event in early)
    assert all("experiment" in event for event in late)
    assert {type(event["duration_ms"]) for event in early} == {int, type(None)}
    assert {type(event["duration_ms"]) for event in late} == {int, str, type(None)}
    assert any("consent" in event for event in early + late)


def test_numbers_that_no_double_holds_stand_as_written(many: list[LandedFile]) -> None:
    everything = b"\n".join(plain(file) for file in many if not file.corrupt)
    assert re.search(rb'"total": ?\d+\.\d0[,}]', everything)
    assert b"18446744073709551617" in everything
    assert b"1E400" in everything


def test_events_move_with_the_start_that_is_given() -> None:
    start = datetime(2024, 2, 28, 12, tzinfo=UTC)
    file = Landing(files=4, start=start, span=timedelta(hours=4)).file(0)
    assert file.key.startswith("clicks/2024/02/28/12/")
    assert START.year == 2026


def test_a_landed_file_names_its_object_as_s3_would(many: list[LandedFile]) -> None:
    source = many[0].source("landing", "v1")
    assert (source.bucket, source.key, source.size, source.version_id) == (
        "landing",
        many[0].key,
        len(many[0].body),
        "v1",
    )
    assert re.fullmatch(r"[0-9a-f]{32}", source.etag)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_large_file_stores_what_is_asked_for_and_tells_the_truth(compressed: bool) -> None:
    landing = Landing(files=4, seed=3, broken=0.05)
    file = landing.large(1, 300_000, compressed=compressed)
    assert 300_000 <= len(file.body) < 1_500_000
    ndjson = gzip.decompress(file.body) if compressed else file.body
    assert len(ndjson) == file.ndjson_bytes
    counts, ids = recount(ndjson)
    assert counts == file.counts
    assert ids == list(file.event_ids())
    assert file.dataset == "orders"
    assert file == landing.large(1, 300_000, compressed=compressed)


def test_large_files_share_neither_keys_nor_ids_with_others() -> None:
    landing = Landing(files=4, seed=3)
    files = [*landing, *(landing.large(index, 1000, compressed=False) for index in range(3))]
    ids = [name for file in files for name in file.event_ids()]
    assert len(set(ids)) == len(ids)
    assert len({file.key for file in files}) == len(files)
