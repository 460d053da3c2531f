"""Batching, routing, naming, retry, ids and commit records."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.core.test_lifecycle import batch

from headsaw.core.batching import Buffer, FlushCause
from headsaw.core.commit import (
    CommitRecord,
    PendingUpload,
    RejectedSource,
    UploadedPart,
    decode_source,
    encode_source,
    part_violations,
    violations,
)
from headsaw.core.conversion import FileCounts, OutputKind, RejectReason
from headsaw.core.ids import new_id
from headsaw.core.model import RecordRange, Source, SourceFile
from headsaw.core.retry import Backoff
from headsaw.core.routing import BulkTarget, Excluded, Foreign, Routes
from headsaw.core.settings import BatchLimits, DatasetSettings

MIB = 1024**2


def file(key: str = "k", etag: str = "e", size: int | None = 10) -> SourceFile:
    return SourceFile("landing", key, etag, size)


def dataset(**settings: Any) -> DatasetSettings:
    return DatasetSettings.model_validate(
        {"name": "clicks", "source": "s3://landing/clicks/", "destination": "s3://lake/clicks/", **settings}
    )


# --- batching


def test_a_buffer_flushes_at_max_files() -> None:
    buffer = Buffer[SourceFile, str](BatchLimits(max_files=2))
    buffer.add(file("a"), "r1", now=0.0)
    assert buffer.due(1.0) is None
    buffer.add(file("b"), "r2", now=0.0)
    assert buffer.due(1.0) is FlushCause.FILES


def test_a_buffer_flushes_at_max_bytes() -> None:
    buffer = Buffer[SourceFile, str](BatchLimits.model_validate({"max_bytes": 15}))
    buffer.add(file("a"), "r1", now=0.0)
    assert buffer.due(1.0) is None
    buffer.add(file("b"), "r2", now=0.0)
    assert buffer.due(1.0) is FlushCause.BYTES


def test_a_buffer_flushes_when_its_oldest_source_is_too_old() -> None:
    buffer = Buffer[SourceFile, str](BatchLimits(max_age=5.0))
    assert (buffer.due(1e9), buffer.due_at()) == (None, None)
    buffer.add(file("a"), "r1", now=10.0)
    buffer.add(file("b"), "r2", now=14.0)
    assert buffer.due(14.9) is None
    assert (buffer.due(15.0), buffer.due_at()) == (FlushCause.AGE, 15.0)


def test_a_duplicate_within_a_buffer_adds_its_receipt_to_the_same_entry() -> None:
    buffer = Buffer[SourceFile, str](BatchLimits())
    assert buffer.add(file("a"), "r1", now=0.0)
    assert not buffer.add(file("a", size=None), "r2", now=0.0)
    assert buffer.add(file("a", etag="other"), "r3", now=0.0)
    entries = buffer.take()
    assert [entry.receipts for entry in entries] == [["r1", "r2"], ["r3"]]
    assert (len(buffer), buffer.due(1e9)) == (0, None)


def test_a_batch_never_holds_more_than_its_limits_and_the_rest_keeps_its_age() -> None:
    buffer = Buffer[SourceFile, str](BatchLimits(max_files=2, max_age=5.0))
    for number in range(5):
        buffer.add(file(str(number)), "r", now=float(number))
    assert [entry.source.name[-1] for entry in buffer.take()] == ["0", "1"]
    assert (len(buffer), buffer.due_at(), buffer.due(3.0)) == (3, 7.0, FlushCause.FILES)
    big = Buffer[SourceFile, str](BatchLimits.model_validate({"max_bytes": 15}))
    big.add(file("huge", size=1000), "r", now=0.0)
    big.add(file("next", size=1), "r", now=0.0)
    assert [len(big.take()), len(big.take()), len(big.take())] == [1, 1, 0]


def gathering(target: BulkTarget, **limits: Any) -> Buffer[SourceFile, str]:
    buffer = Buffer[SourceFile, str](BatchLimits.model_validate({"max_files": 2, "max_age": 5.0, **limits}))
    buffer.gather(target)
    return buffer


def test_a_buffer_that_gathers_in_bulk_waits_for_the_bulk_target_and_becomes_one_batch() -> None:
    buffer = gathering(BulkTarget(files=4, bytes=1000))
    for number in range(3):
        buffer.add(file(str(number)), "r", now=0.0)
    assert (buffer.capacity, buffer.due(1.0)) == (4, None)
    buffer.add(file("3"), "r", now=0.0)
    assert buffer.due(1.0) is FlushCause.BULK
    assert len(buffer.take()) == 4
    buffer.add(file("huge", size=1000), "r", now=0.0)
    assert buffer.due(1.0) is FlushCause.BULK


def test_max_age_holds_for_a_bulk_batch_too() -> None:
    buffer = gathering(BulkTarget(files=100, bytes=1000))
    for number in range(7):
        buffer.add(file(str(number)), "r", now=0.0)
    assert buffer.due(5.0) is FlushCause.AGE
    assert len(buffer.take()) == 7


def test_what_was_gathered_when_the_backlog_ends_is_one_batch_and_the_next_one_keeps_its_limits() -> None:
    buffer = gathering(BulkTarget(files=100, bytes=1000))
    for number in range(7):
        buffer.add(file(str(number)), "r", now=0.0)
    buffer.gather(None)
    assert buffer.due(1.0) is FlushCause.BULK
    assert len(buffer.take()) == 7
    for number in range(7):
        buffer.add(file(str(number)), "r", now=0.0)
    assert len(buffer.take()) == 2


def test_a_backlog_that_ends_before_anything_was_gathered_leaves_no_trace() -> None:
    buffer = gathering(BulkTarget(files=100, bytes=1000))
    buffer.gather(None)
    for number in range(7):
        buffer.add(file(str(number)), "r", now=0.0)
    assert len(buffer.take()) == 2


# --- routing


def test_a_key_goes_to_the_dataset_whose_prefix_it_has() -> None:
    clicks, orders = dataset(), dataset(name="orders", source="s3://landing/orders/", destination="s3://lake/orders/")
    routes = Routes([clicks, orders])
    assert routes.route("landing", "orders/1.json") == orders
    assert routes.route("landing", "other/1.json") == Foreign()
    assert routes.route("elsewhere", "orders/1.json") == Foreign()


def test_globs_leave_keys_out_and_folder_markers_are_never_wanted() -> None:
    routes = Routes([dataset(include=["*.ndjson*"], exclude=["tmp/*"])])
    assert isinstance(routes.route("landing", "clicks/2026/a.ndjson.gz"), DatasetSettings)
    assert routes.route("landing", "clicks/tmp/a.ndjson") == Excluded("clicks")
    assert routes.route("landing", "clicks/readme.txt") == Excluded("clicks")
    assert routes.route("landing", "clicks/folder.ndjson/") == Excluded("clicks")


# --- retry and ids


def test_backoff_grows_to_its_cap_and_never_below_its_floor() -> None:
    backoff = Backoff(base_seconds=1.0, cap_seconds=10.0, floor_seconds=0.5)
    assert [backoff.wait(n, 0.999999) for n in (0, 1, 2, 3, 4, 1000)] == pytest.approx([1, 2, 4, 8, 10, 10], rel=1e-3)
    assert backoff.wait(5, 0.0) == 0.5


def test_ids_sort_by_time_and_keep_every_random_bit() -> None:
    assert len(new_id(1.0, 0)) == 26
    assert new_id(1.0, 2**80 - 1) < new_id(1.001, 0)
    assert len({new_id(1.0, 1 << bit) for bit in range(80)}) == 80


# --- identity and commit records

SOURCES: list[Source] = [
    file("a b/ü.json"),
    SourceFile("b", "k", "e", None, "v1", by_key=True),
    RecordRange("m-1", "control", "spool/1.ndjson", 3, 8),
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_survives_its_short_form(source: Source) -> None:
    assert decode_source(encode_source(source)) == source


def test_identity_is_bucket_key_and_etag_or_the_key_alone() -> None:
    assert file(etag="1").identity != file(etag="2").identity
    assert file(size=1).identity == replace(file(size=2), version_id="v9").identity
    by_key = replace(file(etag="1"), by_key=True)
    assert by_key.identity == replace(file(etag="2"), by_key=True).identity


def upload(rows: int, *sizes: int, kind: OutputKind = OutputKind.TABLE) -> PendingUpload:
    parts = tuple(UploadedPart(number, "e", size, "c") for number, size in enumerate(sizes, start=1))
    return PendingUpload("lake", "k", "u", "t", parts, kind, "ts_day=2026-11-23", rows, 1)


def record(**changes: Any) -> CommitRecord:
    whole = CommitRecord(
        batch=batch().id,
        dataset="clicks",
        attempt=2,
        lease_epoch=3,
        engine="inline",
        settings="h",
        schema_version=1,
        sources=(*SOURCES, file("z")),
        files={0: FileCounts(3, 2, 1), 1: FileCounts(5, 4, 0, 1), 3: FileCounts()},
        rejected=(RejectedSource(2, RejectReason.CORRUPT_STREAM, "bad CRC"),),
        uploads=(upload(6, 5 * MIB, 7), upload(1, 9, kind=OutputKind.QUARANTINE)),
        oldest_upload_at=1.5,
        rescued_values=2,
        bytes_in=99,
    )
    return replace(whole, **changes)


def test_a_commit_record_survives_its_json_form() -> None:
    assert CommitRecord.from_json(record().to_json()) == record()


def test_a_commit_record_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format"):
        CommitRecord.from_json(record().to_json().replace(b'"format":1', b'"format":2'))


def test_a_sound_record_may_be_committed() -> None:
    assert violations(record(), batch()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attempt": 1}, "another attempt"),
        ({"lease_epoch": 2}, "another attempt or lease"),
        ({"sources": tuple(SOURCES)}, "3 sources, the batch has 4"),
        ({"rejected": ()}, "either counted or rejected"),
        ({"files": {0: FileCounts(4, 2, 1), 1: FileCounts(5, 4, 0, 1), 3: FileCounts()}}, "source 0 aren't conserved"),
        ({"uploads": (upload(5, 7), upload(1, 9, kind=OutputKind.QUARANTINE))}, "5 table rows written, 6 counted"),
        ({"uploads": (upload(6, 7),)}, "0 quarantine rows written, 1 counted"),
    ],
)
def test_an_unsound_record_may_not_be_committed(changes: dict[str, Any], sentence: str) -> None:
    assert any(sentence in found for found in violations(record(**changes), batch()))


def test_uploads_that_s3_would_refuse_are_found_before_the_commit_point() -> None:
    assert part_violations(upload(1, 5 * MIB, 1)) == []
    assert part_violations(upload(1, 5 * MIB - 1, 1)) == ["a part under 5 MiB that isn't the last"]
    assert part_violations(upload(1)) == ["an upload with 0 parts"]
    gap = replace(upload(1, 5 * MIB, 1), parts=(UploadedPart(2, "e", 1, "c"),))
    assert part_violations(gap) == ["part numbers that aren't 1, 2, 3 …"]
