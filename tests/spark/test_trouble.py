"""What isn't the data's fault costs the batch nothing but time, and a run that has done its work isn't thrown away."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.spark.delegated import Bench, HereCluster, MemorySite

from headsaw.core.breaker import engine_to_blame
from headsaw.core.delegation import GaveUp, Manifest, RunState, RunStatus, SparkReport, Trouble, UndoRun, next_step
from headsaw.core.model import Source, SourceFile
from headsaw.errors import AccessDenied, Unreachable, UsageError
from headsaw.spark import driver, planning
from headsaw.spark.driver import Ending
from headsaw.spark.planning import looked_nodes
from headsaw.spark.rounds import BACKOFF, OUTAGE_SECONDS_MAX, START_SECONDS_MAX, GivingUp
from headsaw.spark.words import reason_of, trouble_of
from headsaw.spark.work import Convert, Failed, Look, Looked, Outcome, Rehearse, Task, Work

LINES = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"x" * (n % 50)) for n in range(400))
THROTTLED = Failed(Trouble.OUTAGE, "Throttled: slow down", 0.0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(MemorySite())
    yield made
    made.connection.close()


class Rehearsing(HereCluster):
    """The rehearsal goes as `rehearsed` says."""

    def __init__(self, rehearsed: Callable[[], Outcome]) -> None:
        super().__init__()
        self.rehearsed = rehearsed

    def run(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
        return [self.rehearsed()] if tasks == [Rehearse()] else super().run(work, tasks)


def undone(bench: Bench, manifest: Manifest) -> tuple[bool, bool | None]:
    """What a worker makes of a run that failed: whether it counts against the data, whether the engine is to blame."""
    run = bench.batch(manifest).run
    assert run is not None
    status, report = RunStatus(RunState.FAILED), bench.report(manifest)
    step = next_step(run, status, report, run.since + 60, 3600)
    assert isinstance(step, UndoRun)
    return step.counts, engine_to_blame(run, status, report)


def reason(bench: Bench) -> str:
    (told,) = [told for told in bench.told if told.message == "run can't do its work"]
    assert "\n" not in str(told.fields["reason"])
    return str(told.fields["reason"])


# ----------------------------------------------------------------------------------------------------- surroundings


def _without_headsaw() -> Outcome:
    raise GivingUp(Trouble.DATA, "Spark: ModuleNotFoundError: No module named 'headsaw'")


@pytest.mark.parametrize(
    ("rehearsed", "why"),
    [
        (_without_headsaw, "ModuleNotFoundError: No module named 'headsaw'"),
        (lambda: Failed(Trouble.DATA, "ImportError: GLIBC_2.38 not found", 0.0), "ImportError: GLIBC_2.38 not found"),
        (lambda: THROTTLED, "Throttled: slow down"),
    ],
)
def test_executors_that_cant_do_a_task_are_the_engines_fault(
    bench: Bench, rehearsed: Callable[[], Outcome], why: str
) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())
    assert bench.drive(manifest, Rehearsing(rehearsed)) is Ending.UNFIT
    assert undone(bench, manifest) == (False, True)
    assert why in reason(bench)
    assert "make spark-dist" in reason(bench)
    assert sum(bench.pauses) <= START_SECONDS_MAX


def test_a_role_that_may_not_write_a_report_is_found_out_before_anything_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    async def denied(*_: object) -> bool:
        raise AccessDenied("write to s3://control")

    monkeypatch.setattr(bench.reach.store, "put", denied)
    cluster = HereCluster()
    assert bench.drive(manifest, cluster) is Ending.UNFIT
    assert cluster.passes == []
    assert undone(bench, manifest) == (False, True)
    assert "s3://control/headsaw/spark/" in reason(bench)
    assert "s3:PutObject" in reason(bench)


def test_a_second_driver_asks_nothing_of_the_cluster(bench: Bench) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())
    assert bench.drive(manifest, HereCluster(), token="first") is Ending.REPORTED
    assert bench.drive(manifest, Rehearsing(_without_headsaw), token="second") is Ending.NOT_REGISTERED


def test_a_bucket_that_planning_misses_waits_for_an_operator(bench: Bench) -> None:
    sources: list[Source] = [SourceFile("nowhere", "a", "etag", 1 << 20)]
    manifest = bench.delegate("01", sources, bench.settings())
    assert bench.drive(manifest, HereCluster(), 1000) is Ending.GAVE_UP
    report = bench.report(manifest)
    assert isinstance(report, GaveUp)
    assert (report.trouble, report.reason.partition(":")[0]) == (Trouble.OUTAGE, "UsageError")
    assert undone(bench, manifest)[0] is False


@pytest.mark.parametrize("error", [UsageError("no such bucket"), AccessDenied("look"), OSError(28, "No space left")])
def test_what_hinders_the_driver_itself_is_no_failure_of_the_data(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    def hindered(*_: object) -> None:
        raise error

    monkeypatch.setattr(driver, "assemble", hindered)
    assert bench.drive(manifest, HereCluster()) is Ending.GAVE_UP
    report = bench.report(manifest)
    assert isinstance(report, GaveUp)
    assert report.trouble is Trouble.OUTAGE


def test_uploads_that_cant_be_aborted_cost_no_run_its_result(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = LINES.replace(b'{"n":1', b"x")
    manifest = bench.delegate("01", bench.land({"a": bad, "b": LINES}), bench.settings(max_bad_fraction=0.2))

    async def gone(*_: object) -> None:
        raise UsageError("there is no such bucket")

    monkeypatch.setattr(bench.reach.store, "abort_upload", gone)
    assert bench.drive(manifest, HereCluster(), 1000) is Ending.REPORTED
    assert "uploads left over" in [told.message for told in bench.told]


# ---------------------------------------------------------------------------------------------------------- outages


@pytest.mark.parametrize("error", [Unreachable("look at ledger"), UsageError("there is no such table")])
def test_a_driver_that_cant_ask_whether_it_is_wanted_reports_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())

    async def away(*_: object) -> None:
        raise error

    def from_now_on(task: Task, _number: int) -> None:
        if isinstance(task, Convert):
            monkeypatch.setattr(bench.reach.ledger, "batch", away)

    assert bench.drive(manifest, HereCluster(from_now_on)) is Ending.REPORTED
    assert isinstance(bench.report(manifest), SparkReport)


def test_a_report_outlasts_forty_minutes_without_a_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())
    put = bench.reach.store.put

    async def away(bucket: str, key: str, body: bytes) -> bool:
        if sum(bench.pauses) < 2400:
            raise Unreachable("write to s3://control")
        return await put(bucket, key, body)

    def from_now_on(_task: Task, _number: int) -> None:
        monkeypatch.setattr(bench.reach.store, "put", away)

    assert bench.drive(manifest, HereCluster(from_now_on)) is Ending.REPORTED
    assert isinstance(bench.report(manifest), SparkReport)
    assert max(bench.pauses) <= BACKOFF.cap_seconds


def test_an_outage_costs_no_patience_while_other_tasks_succeed(bench: Bench) -> None:
    """One task a round, for so many rounds that their pauses would be too long in a row."""
    count = 60
    settings = bench.settings(schema={"mode": "rescue"})
    bench.by_spark(bench.delegate("00", bench.land({"first": LINES}), settings), HereCluster())
    sources = bench.land({f"{n:02}": LINES for n in range(count)})

    class OneARound(HereCluster):
        def run(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
            slow = [THROTTLED for _ in tasks[1:]]
            silent = isinstance(tasks[0], Convert) and len(self.passes) % 2 == 1  # and every other round none does
            return [*super().run(work, tasks[:1]), *slow] if not silent else self._silent(tasks)

        def _silent(self, tasks: Sequence[Task]) -> list[Outcome]:
            self.passes.append(tasks)
            return [THROTTLED for _ in tasks]

    assert bench.drive(bench.delegate("01", sources, settings), OneARound(), len(LINES)) is Ending.REPORTED
    assert len(bench.pauses) > count
    in_a_row = [BACKOFF.wait(tried, 0.5) for tried in range(len(bench.pauses))]
    assert sum(in_a_row) > OUTAGE_SECONDS_MAX


def test_each_task_has_two_tries_of_its_own(bench: Bench) -> None:
    """A first failure in the third round is a first one."""
    manifest = bench.delegate("01", bench.land({"a": LINES}), bench.settings())
    answers = iter([THROTTLED, THROTTLED, Failed(Trouble.DATA, "MemoryError", 0.0)])

    def failing(task: Task, _number: int) -> Outcome | None:
        return next(answers, None) if isinstance(task, Convert) else None

    assert bench.drive(manifest, HereCluster(failing)) is Ending.REPORTED
    assert next(answers, None) is None


# ----------------------------------------------------------------------------------------------------------- memory


def test_what_all_looks_tell_of_keys_is_bounded_however_many_there_are(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "LOOKS_NODES_MAX", 300)
    told: list[int] = []

    class Counting(HereCluster):
        def run(self, work: Work, tasks: Sequence[Task]) -> list[Outcome]:
            outcomes = super().run(work, tasks)
            told.extend(outcome.seen.nodes for outcome in outcomes if isinstance(outcome, Looked))
            return outcomes

    wide = b"".join(b'{"n":%d,"k%d":{"a":%d}}\n' % (n, n, n) for n in range(400))
    cluster = Counting()
    settings = bench.settings(schema={"max_columns": 10})
    done = bench.by_spark(bench.delegate("01", bench.land({"a": wide}), settings), cluster, 1000)
    looks = [task for task in cluster.passes[0] if isinstance(task, Look)]
    assert len(looks) > 5
    assert max(told) <= max(20, 300 // len(looks))
    assert [row["n"] for row in done.rows] == list(range(400))
    assert done.schema.leaves == 10
    assert done.rescued_values == 400 - 9, "what has no column is in its row all the same"


def test_few_looks_may_tell_more_than_many_but_all_of_an_ordinary_table() -> None:
    assert looked_nodes(0, 1000) == looked_nodes(1, 1000) == 200_000
    assert looked_nodes(20, 1000) == 10_000
    assert looked_nodes(5000, 1000) == 2_000


# ------------------------------------------------------------------------------------------------------ Spark's words


@pytest.mark.parametrize(
    ("said", "stopped", "trouble"),
    [
        ("Job 0 cancelled because SparkContext was shut down", True, Trouble.OUTAGE),
        ("Max number of executor failures (6) reached", True, Trouble.DATA),
        ("Exception when registering: Due to executor failures all available nodes are excluded", True, Trouble.DATA),
        ("An error occurred: java.lang.OutOfMemoryError: Java heap space", True, Trouble.DATA),
        ("Job aborted due to stage failure: Master removed our application: FAILED", True, Trouble.DATA),
        ("Job aborted due to stage failure: Master removed our application: KILLED", True, Trouble.OUTAGE),
        ("Job aborted due to stage failure: Task 3 in stage 1.0 failed 4 times, most …", True, Trouble.DATA),
        ("Job aborted due to stage failure: Task 3 in stage 1.0 failed 4 times, most …", False, Trouble.DATA),
        ("Job 1 cancelled part of cancelled job group", False, Trouble.DATA),
    ],
)
def test_whether_a_cluster_failed_by_the_data_is_what_spark_says(said: str, stopped: bool, trouble: Trouble) -> None:
    assert trouble_of(said, stopped=stopped) is trouble


def test_what_executors_lack_is_told_and_nothing_else_of_their_traceback() -> None:
    first = "Job aborted due to stage failure: Task 0 in stage 0.0 failed 4 times: Traceback (most recent call last):"
    lacking = f"{first}\n  File x\nModuleNotFoundError: No module named 'headsaw'\n\n\tat org.apache.spark\n"
    assert reason_of(lacking) == f"Spark: ModuleNotFoundError: No module named 'headsaw' ({first})"
    quoting = f'{first}\n  File x\nValueError: {{"secret": 1}}\n'
    assert reason_of(quoting) == f"Spark: {first}"
