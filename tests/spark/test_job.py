"""The driver and its tasks, over a store and a ledger in memory and a cluster that is this process."""

import gzip
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.spark.delegated import NOW, TOKEN, Bench, HereCluster, MemorySite

from headsaw.core.delegation import GaveUp, SparkReport, Trouble
from headsaw.core.lifecycle import Fail, Release
from headsaw.core.model import RecordRange, Source, SourceFile
from headsaw.core.splits import LineRun, Range, Together
from headsaw.errors import Unreachable
from headsaw.spark.driver import Ending
from headsaw.spark.rounds import DATA_TRIES_MAX, OUTAGE_SECONDS_MAX, REPORT_SECONDS_MAX, GivingUp
from headsaw.spark.work import Convert, Failed, Look, Outcome, Task, Work

LINES = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"x" * (n % 50)) for n in range(400))
BROKEN = LINES.replace(b'{"n":7,', b"broken").replace(b'{"n":333,', b"\xff")


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(MemorySite())
    yield made
    made.connection.close()


def pending(bench: Bench) -> int:
    assert isinstance(bench.site, MemorySite)
    return sum(len(bench.site.store.pending_uploads(bucket)) for bucket in ("lake", "control"))


def test_a_batch_of_all_kinds_of_sources_becomes_what_a_worker_makes_of_it(bench: Bench) -> None:
    spool = b'{"n":-1}\n{"n":-2}\nbroken\n'
    bench.connection.call(bench.reach.store.put("control", "spool", spool))
    sources: list[Source] = [
        *bench.land({"small": b'{"n":1}\n', "large": BROKEN, "z.gz": gzip.compress(BROKEN), "empty": b""}),
        RecordRange("m1", "control", "spool", 9, 9),
        *bench.land(
            {
                "cut.gz": gzip.compress(LINES)[:-5],
                "wide": LINES.decode().encode("utf-16"),
                "bom": b"\xef\xbb\xbf" + LINES,
            }
        ),
    ]
    inline = bench.inline("01inline", sources, bench.settings("inline"))
    cluster = HereCluster()
    spark = bench.by_spark(bench.delegate("01spark", sources, bench.settings("spark")), cluster, 2000)
    assert spark == inline
    assert spark.rejections == {5: "truncated_stream", 6: "utf16"}
    assert sum(isinstance(task, Convert) and isinstance(task.portion, LineRun) for task in cluster.passes[1]) > 10
    assert pending(bench) == 0


def test_a_second_driver_makes_nothing(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())
    cluster = HereCluster()
    assert bench.drive(manifest, cluster, token="first") is Ending.REPORTED
    before = pending(bench)
    assert bench.drive(manifest, HereCluster(), token="second") is Ending.NOT_REGISTERED
    assert pending(bench) == before
    assert bench.report(manifest, "second") is None


def test_a_driver_whose_batch_was_taken_back_leaves_nothing(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    def taken_back(task: Task, _number: int) -> None:
        if isinstance(task, Convert):
            bench.apply(bench.batch(manifest), Fail(NOW, "it took too long"))

    assert bench.drive(manifest, HereCluster(taken_back)) is Ending.NOT_WANTED
    assert bench.report(manifest) is None
    assert pending(bench) == 0


def test_an_outage_in_a_task_is_tried_again_with_pauses(bench: Bench) -> None:
    sources = bench.land({"a": LINES})
    failing = iter([1, 1])

    def outage(task: Task, _number: int) -> Outcome | None:
        return Failed(Trouble.OUTAGE, "Throttled: slow down", 0.1) if next(failing, 0) else None

    spark = bench.by_spark(bench.delegate("01", sources, bench.settings()), HereCluster(outage))
    assert len(spark.rows) == 400
    assert bench.pauses == [1.5, 2.5]


def test_an_outage_that_lasts_is_given_up_as_nobodys_failure(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES, "b": LINES}), bench.settings())

    def outage(task: Task, _number: int) -> Outcome | None:
        failing = isinstance(task, Convert) and task.sources[0].name.endswith("b")
        return Failed(Trouble.OUTAGE, "Throttled: slow down", 0.0) if failing else None

    cluster = HereCluster(outage)
    assert bench.drive(manifest, cluster, len(LINES)) is Ending.GAVE_UP
    assert bench.report(manifest) == GaveUp(Trouble.OUTAGE, "Throttled: slow down")
    assert 600 < sum(bench.pauses) <= OUTAGE_SECONDS_MAX
    assert [len(tasks) for tasks in cluster.passes[1:]] == [2, *[1] * len(bench.pauses)], (
        "what is done isn't done again"
    )
    assert pending(bench) == 0


def test_a_failure_that_the_data_may_have_caused_is_tried_twice(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings(schema={"mode": "rescue"}))

    def failing(task: Task, _number: int) -> Outcome | None:
        return Failed(Trouble.DATA, "MemoryError", 0.0) if isinstance(task, Convert) else None

    cluster = HereCluster(failing)
    assert bench.drive(manifest, cluster) is Ending.GAVE_UP
    assert bench.report(manifest) == GaveUp(Trouble.DATA, "MemoryError")
    assert len(cluster.passes) == 1 + DATA_TRIES_MAX


def test_a_cluster_that_fails_ends_the_run(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    def lost(task: Task, _number: int) -> None:
        if isinstance(task, Convert):
            raise GivingUp(Trouble.DATA, "Spark: Job aborted")

    assert bench.drive(manifest, HereCluster(lost)) is Ending.GAVE_UP
    assert bench.report(manifest) == GaveUp(Trouble.DATA, "Spark: Job aborted")
    assert pending(bench) == 0


def test_an_outage_of_the_store_within_a_task_leaves_no_upload(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    async def unreachable(*_: object) -> None:
        raise Unreachable("write to s3://lake")

    monkeypatch.setattr(bench.reach.store, "upload_part", unreachable)
    assert bench.drive(manifest, HereCluster()) is Ending.GAVE_UP
    assert bench.report(manifest) == GaveUp(Trouble.OUTAGE, "Unreachable: write to s3://lake")
    assert pending(bench) == 0


def test_what_a_task_tells_of_an_unforeseen_error_quotes_no_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    async def odd(*_: object) -> None:
        raise ValueError('{"secret": 1}')

    monkeypatch.setattr(bench.reach.store, "create_upload", odd)
    assert bench.drive(manifest, HereCluster()) is Ending.GAVE_UP
    assert bench.report(manifest) == GaveUp(Trouble.DATA, "ValueError")


def test_an_unanswered_report_keeps_its_uploads(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    async def unreachable(*_: object) -> None:
        raise Unreachable("write to s3://control")

    def while_converting(_task: Task, _number: int) -> None:
        monkeypatch.setattr(bench.reach.store, "put", unreachable)

    assert bench.drive(manifest, HereCluster(while_converting)) is Ending.UNHEARD
    assert pending(bench) == 1
    assert 3500 < sum(bench.pauses) <= REPORT_SECONDS_MAX


def test_an_error_budget_is_judged_over_all_parts_of_a_file(bench: Bench) -> None:
    bad = LINES.replace(b'{"n":1', b"x")  # 111 of 400 lines, most of them in a few ranges
    settings = bench.settings("within", max_bad_fraction=0.3)
    assert not bench.by_spark(bench.delegate("01", bench.land({"a": bad}), settings), HereCluster(), 1000).rejections
    strict = bench.settings("over", max_bad_fraction=0.25)
    over = bench.by_spark(bench.delegate("02", bench.land({"b": bad, "c": LINES}), strict), HereCluster(), 1000)
    assert over.rejections == {0: "error_budget"}
    assert (len(over.rows), over.quarantined) == (400, [])
    assert pending(bench) == 0


def test_a_file_that_the_table_schema_forbids_is_rejected_with_all_its_parts(bench: Bench) -> None:
    settings = bench.settings(schema={"mode": "strict"})
    bench.by_spark(bench.delegate("01", bench.land({"a": LINES}), settings), HereCluster())
    new = LINES.replace(b'{"n":200,', b'{"new":1,"n":200,')
    done = bench.by_spark(bench.delegate("02", bench.land({"b": new, "c": LINES}), settings), HereCluster(), 1000)
    assert done.rejections == {0: "strict_schema"}
    assert len(done.rows) == 400
    assert pending(bench) == 0


def test_a_file_that_is_gone_or_was_replaced_is_rejected_by_whatever_pass_meets_it(bench: Bench) -> None:
    sources = bench.land({"gone": LINES, "replaced": LINES, "here": LINES, "late": LINES})
    assert isinstance(bench.site, MemorySite)
    bench.site.store.delete("landing", "gone")
    bench.land({"replaced": LINES + b"{}\n"})
    store = bench.site.store

    def gone_between(task: Task, _number: int) -> None:
        if isinstance(task, Convert):
            store.delete("landing", "late")

    done = bench.by_spark(bench.delegate("01", sources, bench.settings()), HereCluster(gone_between), 3000)
    assert done.rejections == {0: "missing", 1: "superseded", 3: "missing"}
    assert len(done.rows) == 400
    assert pending(bench) == 0


def test_a_schema_that_is_known_and_may_not_grow_needs_no_first_pass_over_whole_files(bench: Bench) -> None:
    settings = bench.settings(schema={"mode": "rescue"})
    bench.by_spark(bench.delegate("01", bench.land({"a": LINES}), settings), HereCluster())
    cluster = HereCluster()
    done = bench.by_spark(bench.delegate("02", bench.land({"b": LINES, "c": b'{"new":1}\n'}), settings), cluster, 5000)
    looks = [task for task in cluster.passes[0] if isinstance(task, Look)]
    assert len(looks) == len(cluster.passes[0]) > 1
    assert all(task.schema is None and isinstance(task.split, Range) for task in looks)
    assert done.rescued_values == 1


def test_growth_is_agreed_on_before_anything_is_written(bench: Bench) -> None:
    late = LINES + b'{"late":1.5,"n":1}\n'
    done = bench.by_spark(
        bench.delegate("01", bench.land({"a": LINES, "b": late}), bench.settings()), HereCluster(), 2000
    )
    assert done.schema.version == 1
    assert [str(column) for column in done.schema.columns] == ["n:int64", "text:string", "late:float64"]
    assert done.rescued_values == 0


def test_no_two_task_attempts_share_a_name(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": BROKEN}), bench.settings())
    bench.drive(manifest, HereCluster(), 1000)
    report = bench.report(manifest)
    assert isinstance(report, SparkReport)
    keys = [upload.key for upload in report.uploads]
    assert len(set(keys)) == len(keys) > 10
    assert not any(f"{manifest.batch}-1-0-" in key for key in keys), "0 is a worker's"


def test_results_of_attempts_that_the_cluster_drops_are_in_no_report(bench: Bench) -> None:
    """A speculative copy, and an executor that is lost after its upload: the other attempt's result counts."""

    class Twice(HereCluster):
        def run(self, work: Work, tasks: list[Task]) -> list[Outcome]:  # type: ignore[override]
            super().run(work, tasks)
            return super().run(work, tasks)

    done = bench.by_spark(bench.delegate("01", bench.land({"a": BROKEN}), bench.settings()), Twice(), 2000)
    assert done.rows == bench.inline("02", bench.land({"a": BROKEN}), bench.settings("inline")).rows
    assert pending(bench) > 0, "the dropped attempts' uploads are the lifecycle rule's"


def test_lines_that_were_found_and_not_converted_are_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    class Forgetful(HereCluster):
        def run(self, work: Work, tasks: list[Task]) -> list[Outcome]:  # type: ignore[override]
            return [
                replace(outcome, files={}) if isinstance(task, Convert) and at == 1 else outcome  # type: ignore[call-arg]
                for at, (task, outcome) in enumerate(zip(tasks, super().run(work, tasks), strict=True))
            ]

    assert bench.drive(manifest, Forgetful(), 1000) is Ending.GAVE_UP
    report = bench.report(manifest)
    assert isinstance(report, GaveUp)
    assert report.reason.startswith("ConversionFailed: 400 lines were found in source 0")
    assert pending(bench) == 0


def test_a_batch_that_went_back_to_the_workers_registers_nobody(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())
    bench.apply(bench.batch(manifest), Release(NOW))
    assert bench.drive(manifest, HereCluster()) is Ending.NOT_REGISTERED
    assert bench.report(manifest, TOKEN) is None


def test_small_files_share_a_task(bench: Bench) -> None:
    sources = bench.land({f"{number:03}": b'{"n":%d}\n' % number for number in range(150)})
    cluster = HereCluster()
    done = bench.by_spark(bench.delegate("01", sources, bench.settings()), cluster)
    assert [row["n"] for row in done.rows] == list(range(150))
    assert [task.portion for task in cluster.passes[1] if isinstance(task, Convert)] == [Together(tuple(range(150)))]


@pytest.mark.parametrize("size", [1, len(LINES) // 2, len(LINES), 3 * len(LINES), None])
def test_no_line_is_lost_where_a_notification_told_another_size(bench: Bench, size: int | None) -> None:
    (source,) = bench.land({"a": LINES})
    assert isinstance(source, SourceFile)
    told = replace(source, size=size)
    done = bench.by_spark(bench.delegate("01", [told], bench.settings()), HereCluster(), 2000)
    assert [row["n"] for row in done.rows] == list(range(400))


def test_a_bucket_that_is_missing_waits_for_an_operator(bench: Bench) -> None:
    settings = bench.settings(destination="s3://nowhere/")
    manifest = bench.delegate("01", bench.land({"a": LINES}), settings)
    assert bench.drive(manifest, HereCluster()) is Ending.GAVE_UP
    report = bench.report(manifest)
    assert isinstance(report, GaveUp)
    assert (report.trouble, report.reason.partition(":")[0]) == (Trouble.OUTAGE, "UsageError")


def test_a_source_that_is_denied_while_others_can_be_read_is_rejected_at_the_third_attempt(bench: Bench) -> None:
    assert isinstance(bench.site, MemorySite)
    bench.site.store.denied.add("landing/denied")
    sources = [*bench.land({"a": LINES}), SourceFile("landing", "denied", "e", 2 * len(LINES))]
    early = bench.delegate("01", sources, bench.settings("early"))
    assert bench.drive(early, HereCluster(), 2000) is Ending.GAVE_UP
    report = bench.report(early)
    assert isinstance(report, GaveUp)
    assert report.trouble is Trouble.OUTAGE
    others = [*bench.land({"b": LINES}), SourceFile("landing", "denied", "f", 2 * len(LINES))]
    done = bench.by_spark(bench.delegate("02", others, bench.settings("late"), attempt=3), HereCluster(), 2000)
    assert done.rejections == {1: "access_denied"}
    assert len(done.rows) == 400
