"""The audit finds every kind of damage, and calls nothing else wrong."""

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from small_lake import DAY, Lake, lines, without_lineage

from headsaw.adapters.table import Always, Put
from headsaw.core.commit import CommitRecord, digest
from headsaw.core.conversion import FileCounts, OutputKind
from headsaw.core.model import Batch, SourceFile
from headsaw.core.notification import Landed, parse_notification
from headsaw.demo.landing import LandedFile, Landing
from headsaw.errors import UsageError
from headsaw.operate.audit import AuditOptions, AuditReport, audit
from headsaw.operate.audit_report import FINDINGS_MAX, Finding, Kind

NOW = AuditOptions(grace_seconds=0)


async def audited(lake: Lake, options: AuditOptions = NOW, dataset: str = "clicks") -> AuditReport:
    return await audit(lake.config, lake, dataset, options)


def only(report: AuditReport) -> Finding:
    (finding,) = report.findings
    assert report.missing + report.duplicated + report.miscounted == 1
    return finding


async def landed(lake: Lake, made: list[LandedFile]) -> list[SourceFile]:
    return [await lake.land(file.key, file.body) for file in made]


async def published(lake: Lake) -> tuple[Batch, CommitRecord]:
    """One batch of two files: good, blank and bad lines."""
    first = await lake.land("clicks/a.ndjson", lines(1, 2, 3) + "\nbad\n")
    second = await lake.land("clicks/b.ndjson", lines(4, 5))
    return await lake.publish(first, second)


def rewritten(body: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    out = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(body))), out)
    return out.getvalue()


# --- nothing is wrong


async def test_generated_traffic_is_found_complete_with_exactly_the_lines_that_were_made(
    make_lake: Callable[..., Lake],
) -> None:
    lake = make_lake({"name": "clicks", "partition_by": [{"field": "ts", "granularity": "day"}]}, {"name": "orders"})
    landing = Landing(files=60, file_bytes=3000, seed=3, corrupt=2, broken=0.05)
    truth = {name: FileCounts() for name in landing.datasets}
    for name in landing.datasets:
        made = iter([file for file in landing if file.dataset == name])
        while group := list(islice(made, 13)):
            dataset = lake.config.dataset(name)
            await lake.publish(*await landed(lake, group), dataset=dataset)
            truth[name] = sum((file.counts for file in group), truth[name])
    for number, message in enumerate(landing.record_messages(6)):
        source = await lake.spool(f"m{number}", message.body)
        await lake.publish(source, dataset=lake.config.dataset(message.dataset))
        truth[message.dataset] += message.counts
    for name in landing.datasets:
        report = await audited(lake, dataset=name)
        assert report.clean, report.findings
        assert report.counts == truth[name]
        assert report.files == report.done + report.rejected
        assert report.pending == report.failed == report.not_recounted == 0
    assert (await audited(lake)).rejected + (await audited(lake, dataset="orders")).rejected == 2


async def test_an_empty_landing_bucket_is_in_order(lake: Lake) -> None:
    report = await audited(lake)
    assert report.clean
    assert (report.files, report.batches, report.counts) == (0, 0, FileCounts())


async def test_without_lineage_a_batch_is_compared_as_a_whole(lake: Lake) -> None:
    file = await lake.land("clicks/a", lines(1, 2) + "\n")
    _, record = await lake.publish(file, dataset=without_lineage(lake.dataset))
    assert (await audited(lake)).counts == FileCounts(3, 2, 0, 1)
    (upload,) = record.uploads
    await lake.store.put("lake", upload.key, rewritten(lake.tables()[upload.key], lambda table: table.slice(0, 1)))
    report = await audited(lake)
    assert {finding.what for finding in report.findings} == {"object", "batch"}
    assert report.miscounted == 2


async def test_an_unknown_dataset_is_a_usage_error_that_names_the_known_ones(lake: Lake) -> None:
    with pytest.raises(UsageError, match="clicks"):
        await audited(lake, dataset="klicks")


async def test_what_the_globs_leave_out_and_what_landed_too_long_ago_is_not_judged(
    make_lake: Callable[..., Lake],
) -> None:
    lake = make_lake({"name": "clicks", "exclude": ["*.tmp"]}, ledger_retention="30d")
    await lake.land("clicks/old", lines(1))
    await lake.pass_time(31 * DAY)
    await lake.land("clicks/new.tmp", lines(1))
    await lake.land("clicks/folder/", "")
    report = await audited(lake)
    assert report.clean
    assert (report.files, report.outside, report.excluded) == (0, 1, 2)
    assert (await audited(lake, replace(NOW, reprocess=True))).missing == 1


async def test_since_leaves_out_what_landed_and_was_published_before(lake: Lake) -> None:
    await published(lake)
    await lake.pass_time(DAY)
    middle = lake.clock.now()
    await lake.pass_time(DAY)
    await lake.publish(await lake.land("clicks/c.ndjson", lines(6)))
    report = await audited(lake, replace(NOW, since=middle))
    assert report.clean, report.findings
    assert (report.files, report.batches, report.outside, report.counts.lines) == (1, 1, 2, 1)


async def test_a_superseded_version_that_was_published_is_no_fault_of_its_successor(lake: Lake) -> None:
    await lake.publish(await lake.land("clicks/a", lines(1, 2)))
    await lake.pass_time(60)
    await lake.publish(await lake.land("clicks/a", lines(3)))
    report = await audited(lake)
    assert report.clean, report.findings
    assert (report.files, report.done, report.not_recounted, report.counts.rows) == (1, 1, 1, 3)


async def test_the_same_bytes_landed_again_long_after_are_the_same_file(lake: Lake) -> None:
    await lake.publish(await lake.land("clicks/a", lines(1)))
    await lake.pass_time(DAY)
    middle = lake.clock.now()
    await lake.pass_time(DAY)
    await lake.land("clicks/a", lines(1))
    report = await audited(lake, replace(NOW, since=middle))
    assert report.clean, report.findings
    assert (report.files, report.done) == (1, 1)


async def test_with_identity_by_key_a_rewritten_object_is_the_same_file(make_lake: Callable[..., Lake]) -> None:
    lake = make_lake({"name": "clicks", "identity": "key"})
    file = replace(await lake.land("clicks/a", lines(1)), by_key=True)
    await lake.publish(file)
    await lake.land("clicks/a", lines(1, 2))
    report = await audited(lake)
    assert report.clean, report.findings
    assert (report.done, report.not_recounted) == (1, 1)


async def test_the_children_of_a_split_batch_hold_its_files(lake: Lake) -> None:
    files = [await lake.land(f"clicks/{name}", lines(1)) for name in "abc"]
    await lake.split(*files)
    report = await audited(lake)
    assert report.clean
    assert (report.files, report.pending) == (3, 3)


async def test_a_failed_file_is_the_operators_turn_and_not_missing(lake: Lake) -> None:
    await lake.fail(await lake.land("clicks/a", lines(1)))
    report = await audited(lake)
    assert report.clean
    assert (report.files, report.failed) == (1, 1)


async def test_a_rejected_file_that_was_redriven_and_published_is_done(lake: Lake) -> None:
    good = await lake.land("clicks/a", lines(1))
    stale = replace(good, etag="0" * 32)
    _, record = await lake.publish(stale)
    assert len(record.rejected) == 1
    await lake.publish(good)
    report = await audited(lake)
    assert report.clean, report.findings
    assert (report.done, report.rejected) == (1, 0)


# --- on their way


async def test_a_file_of_an_unfinished_batch_is_pending(lake: Lake) -> None:
    first, second = [await lake.land(f"clicks/{name}", lines(1)) for name in "ab"]
    await lake.claim(first)
    await lake.commit(await lake.claim(second))
    report = await audited(lake)
    assert report.clean, report.findings
    assert (report.files, report.pending) == (2, 2)


async def test_a_young_file_that_nobody_has_is_pending_for_the_grace_and_missing_after_it(lake: Lake) -> None:
    await lake.land("clicks/a", lines(1))
    young = await audited(lake, AuditOptions())
    assert (young.pending, young.missing) == (1, 0)
    assert young.grace_seconds == 2 * 300 + 420
    await lake.pass_time(young.grace_seconds + 1)
    old = await audited(lake, AuditOptions())
    assert (old.pending, old.missing) == (0, 1)


async def test_a_file_whose_message_is_still_queued_is_pending_however_old(lake: Lake) -> None:
    await lake.land("clicks/a", lines(1), notified=True)
    await lake.pass_time(7 * DAY)
    report = await audited(lake)
    assert (report.pending, report.missing) == (1, 0)
    assert (await lake.queue.depth()).visible == 1


async def test_a_file_as_young_as_a_queued_message_may_have_one_too(lake: Lake) -> None:
    await lake.land("clicks/before", lines(1))
    await lake.pass_time(DAY)
    await lake.land("clicks/queued", lines(2), notified=True)
    await lake.pass_time(60)
    await lake.land("clicks/after", lines(3))
    report = await audited(lake)
    assert (report.pending, report.missing) == (2, 1)
    assert only(report).where == "s3://landing/clicks/before"


# --- missing


async def test_a_file_that_nobody_was_notified_of_is_missing_and_fix_notifies(lake: Lake) -> None:
    await published(lake)
    lost = await lake.land("clicks/lost file+ü.ndjson", lines(9))
    finding = only(await audited(lake))
    assert (finding.kind, finding.where) == (Kind.MISSING, "s3://landing/clicks/lost file+ü.ndjson")
    assert "--fix" in finding.remedy
    assert await lake.queue.receive(limit=10, wait_seconds=0, visibility_seconds=0) == []
    report = await audited(lake, replace(NOW, fix=True))
    assert (report.missing, report.fixed) == (1, 1)
    (message,) = lake.queue.peek()
    assert parse_notification(message.body, {}) == Landed((lost,))
    again = await audited(lake)
    assert (again.missing, again.pending) == (0, 1)


async def test_a_file_of_a_batch_that_the_ledger_lost_is_missing_and_fix_cannot_help(lake: Lake) -> None:
    file = await lake.land("clicks/a", lines(1))
    batch = await lake.claim(file)
    del lake.table._items[next(key for key in lake.table._items if key.sk == "batch")]
    report = await audited(lake, replace(NOW, fix=True))
    assert batch.id in only(report).why
    assert report.fixed == 0


async def test_a_parquet_object_that_is_gone_is_one_finding_that_counts_its_files(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.TABLE)
    lake.store.delete("lake", key)
    report = await audited(lake)
    finding = only(report)
    assert (finding.kind, finding.where) == (Kind.MISSING, f"s3://lake/{key}")
    assert "it isn't there; 2 of the batch's files lack lines for it" in finding.why


async def test_a_quarantine_object_that_is_gone_is_missing(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.QUARANTINE)
    lake.store.delete("control", key)
    report = await audited(lake)
    finding = only(report)
    assert (finding.kind, finding.where) == (Kind.MISSING, f"s3://control/{key}")
    assert "1 of the batch's files" in finding.why


@pytest.mark.parametrize("spoil", ["gone", "changed"])
async def test_a_commit_record_that_is_not_the_accepted_one_is_missing(lake: Lake, spoil: str) -> None:
    batch, record = await published(lake)
    assert batch.commit is not None
    lake.store.delete("control", batch.commit.key)
    if spoil == "changed":
        await lake.store.put("control", batch.commit.key, replace(record, rescued_values=7).to_json())
    report = await audited(lake)
    finding = only(report)
    assert (finding.kind, finding.what, finding.where) == (Kind.MISSING, "commit record", batch.id)


# --- duplicated


async def test_an_object_under_another_key_is_duplicated(lake: Lake) -> None:
    batch, _ = await published(lake)
    (body,) = lake.tables().values()
    await lake.store.put("lake", "clicks/copy.parquet", body)
    assert only(await audited(lake)).where == "s3://lake/clicks/copy.parquet"
    lake.store.delete("lake", "clicks/copy.parquet")
    await lake.store.put("lake", f"clicks/{batch.id}-1-0-9.parquet", body)
    finding = only(await audited(lake))
    assert (finding.kind, finding.where) == (Kind.DUPLICATED, f"s3://lake/clicks/{batch.id}-1-0-9.parquet")


async def test_another_quarantine_object_is_duplicated_and_other_things_are_none_of_the_audits_business(
    lake: Lake,
) -> None:
    await published(lake)
    (body,) = lake.quarantine().values()
    await lake.store.put("lake", "clicks/_SUCCESS", b"")
    await lake.store.put("control", "quarantine/clicks/copy.ndjson.zst", body)
    assert only(await audited(lake)).where == "s3://control/quarantine/clicks/copy.ndjson.zst"


async def test_a_line_that_is_published_twice_is_duplicated_although_the_count_is_right(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.TABLE)

    def first_row_twice(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table.slice(0, 1), table.slice(0, 1), table.slice(2)])

    await lake.store.put("lake", key, rewritten(lake.tables()[key], first_row_twice))
    report = await audited(lake)
    assert report.duplicated == 1
    finding = next(finding for finding in report.findings if finding.kind is Kind.DUPLICATED)
    assert (finding.where, finding.why) == (
        "s3://landing/clicks/a.ndjson",
        "published more than once: line 1 (2 times)",
    )


async def test_a_line_that_is_both_row_and_quarantined_is_duplicated(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.QUARANTINE)
    entry = {"file": "s3://landing/clicks/a.ndjson", "line": 2, "offset": 0, "reason": "not_json", "text": ""}
    await lake.store.put("control", key, zstandard.compress(json.dumps(entry).encode() + b"\n"))
    assert (await audited(lake)).duplicated == 1


async def test_rows_of_a_file_that_the_batch_does_not_hold_are_duplicated(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.QUARANTINE)
    entries = [{"file": f"s3://landing/clicks/{name}.ndjson", "line": 5} for name in "az"]
    body = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    await lake.store.put("control", key, zstandard.compress(body))
    report = await audited(lake)
    assert [f.where for f in report.findings if f.kind is Kind.DUPLICATED] == ["s3://landing/clicks/z.ndjson"]


async def test_a_file_that_two_batches_published_is_duplicated(lake: Lake) -> None:
    file = await lake.land("clicks/a", lines(1, 2))
    first, _ = await lake.publish(file)
    item = next(key for key in lake.table._items if key.pk == "file#landing/clicks/a")
    del lake.table._items[item]
    second, _ = await lake.publish(file)
    finding = only(await audited(lake))
    assert finding.kind is Kind.DUPLICATED
    assert first.id in finding.why
    assert second.id in finding.why


# --- miscounted


async def test_a_row_count_that_was_tampered_with_is_miscounted(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.TABLE)
    await lake.store.put("lake", key, rewritten(lake.tables()[key], lambda table: table.slice(0, 4)))
    report = await audited(lake)
    assert report.miscounted == 2
    assert [finding.where for finding in report.findings] == ["s3://landing/clicks/b.ndjson", f"s3://lake/{key}"]
    assert "2 lines in the source; found 1 rows + 0 quarantined + 0 blank + 0 filtered = 1" in report.findings[0].why


async def test_a_commit_record_with_wrong_counts_does_not_fool_the_audit(lake: Lake) -> None:
    batch, record = await published(lake)
    assert batch.commit is not None
    lying = replace(record, files={index: FileCounts(100, 100) for index in record.files})
    await lake.store.put("control", batch.commit.key, lying.to_json())
    item = dict(next(item for key, item in lake.table._items.items() if key.sk == "batch"))
    await lake.table.write(Put({**item, "commit_sha256": digest(lying.to_json())}, Always()))
    report = await audited(lake)
    assert report.clean, report.findings
    assert report.counts == FileCounts(7, 5, 1, 1)


async def test_a_row_of_a_line_that_the_file_does_not_have_is_miscounted(lake: Lake) -> None:
    _, record = await published(lake)
    key = next(upload.key for upload in record.uploads if upload.kind is OutputKind.TABLE)

    def renumbered(table: pa.Table) -> pa.Table:
        numbers = pa.array([number + 10 for number in table["_source_line"].to_pylist()])
        return table.set_column(table.schema.get_field_index("_source_line"), "_source_line", numbers)

    await lake.store.put("lake", key, rewritten(lake.tables()[key], renumbered))
    report = await audited(lake)
    assert any("claims to be line 13 of it" in finding.why for finding in report.findings)


async def test_an_object_that_cannot_be_read_any_more_is_miscounted(lake: Lake) -> None:
    _, record = await published(lake)
    for upload in record.uploads:
        await lake.store.put(upload.bucket, upload.key, b"x" * upload.size)
    report = await audited(lake)
    unreadable = [finding for finding in report.findings if "can't be read" in finding.why]
    assert len(unreadable) == 2


async def test_rows_of_a_rejected_file_are_miscounted(lake: Lake) -> None:
    good = await lake.land("clicks/a", lines(1))
    _, record = await lake.publish(good, SourceFile("landing", "clicks/gone", "e", 1))
    key = record.uploads[0].key

    def renamed(table: pa.Table) -> pa.Table:
        names = pa.array(["s3://landing/clicks/gone"] * table.num_rows)
        return table.set_column(table.schema.get_field_index("_source_file"), "_source_file", names)

    await lake.store.put("lake", key, rewritten(lake.tables()[key], renamed))
    report = await audited(lake)
    assert any("rejected as a whole, but 1 rows" in finding.why for finding in report.findings)


async def test_a_source_damaged_since_its_conversion_is_miscounted(lake: Lake) -> None:
    body = gzip.compress(lines(1, 2).encode())
    file = await lake.land("clicks/a.gz", body)
    await lake.publish(file)
    held = lake.store._buckets["landing"].versions["clicks/a.gz"]
    held[-1] = replace(held[-1], body=body[:-4])
    assert "can't be decompressed" in only(await audited(lake)).why


# --- many


async def test_findings_are_counted_all_and_named_up_to_a_hundred(lake: Lake) -> None:
    for number in range(FINDINGS_MAX + 20):
        await lake.land(f"clicks/{number:03d}", lines(number))
    report = await audited(lake, replace(NOW, fix=True))
    assert (report.missing, len(report.findings), report.fixed) == (FINDINGS_MAX + 20, FINDINGS_MAX, 120)
    notified = [parse_notification(message.body, {}) for message in lake.queue.peek()]
    assert {len(landed.files) for landed in notified if isinstance(landed, Landed)} == {5}


def test_a_report_is_one_flat_json_object() -> None:
    report = AuditReport(
        "clicks", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, FileCounts(1, 1), 0, 2, 0, 0, 1,
        (Finding(Kind.MISCOUNTED, "file", "s3://b/k", "why", "remedy"),), 0, 0.5,
    )  # fmt: skip
    document = json.loads(json.dumps(report.document()))
    assert (document["lines"], document["rows"], document["miscounted"]) == (1, 1, 1)
    assert document["findings"][0]["kind"] == "miscounted"
