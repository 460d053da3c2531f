"""What a worker makes of a Spark run, and the objects that it and the driver exchange."""

from dataclasses import replace

import pytest

from headsaw.core.commit import PendingUpload, UploadedPart
from headsaw.core.conversion import FileCounts, Notice, OutputKind, Rejection, RejectReason
from headsaw.core.delegation import (
    GaveUp,
    KeepWaiting,
    Manifest,
    RunState,
    RunStatus,
    SparkReport,
    StartRun,
    TakeReport,
    Trouble,
    UndoRun,
    next_step,
    read_report,
    report_json,
)
from headsaw.core.model import BatchId, RecordRange, SourceFile, SparkRun
from headsaw.core.settings import DatasetSettings, S3Prefix

RUN = SparkRun("glue", since=100.0, id="jr_1")
REGISTERED = replace(RUN, driver="d1", driver_run="jr_1")
REPORT = SparkReport(
    files={0: FileCounts(3, 2, 1)},
    rejections=(Rejection(1, RejectReason.MISSING, "gone"),),
    uploads=(
        PendingUpload("lake", "a b/ü.parquet", "u", "t", (UploadedPart(1, "e", 9, "c"),), OutputKind.TABLE, "", 2, 4),
    ),
    schema_version=4,
    rescued_values=5,
    bytes_in=60,
    oldest_upload_at=7.5,
    seconds=8.0,
    cpu_seconds=9.0,
    tasks=2,
    notices=(Notice(0, "odd"),),
)


def step(
    run: SparkRun, state: RunState | None, report: SparkReport | GaveUp | None = None, now: float = 200.0
) -> object:
    status = None if state is None else RunStatus(state, "told so")
    return next_step(run, status, report, now, run_seconds_max=1000.0)


@pytest.mark.parametrize("state", [*RunState, None])
def test_a_report_is_taken_whatever_the_engine_says_and_however_late(state: RunState | None) -> None:
    assert step(REGISTERED, state, REPORT, now=1e9) == TakeReport(REPORT)


@pytest.mark.parametrize(("trouble", "counts"), [(Trouble.DATA, True), (Trouble.OUTAGE, False)])
def test_a_driver_that_gave_up_counts_only_if_the_data_made_it(trouble: Trouble, counts: bool) -> None:
    assert step(REGISTERED, RunState.FAILED, GaveUp(trouble, "why")) == UndoRun("why", counts=counts)


def test_an_intent_without_a_known_run_leads_to_a_start() -> None:
    assert step(SparkRun("glue", 100.0), None) == StartRun()


def test_a_registered_driver_is_waited_for_where_its_engine_cant_be_asked() -> None:
    assert step(SparkRun("glue", 100.0, driver="d1"), None) == KeepWaiting()
    assert step(REGISTERED, None) == KeepWaiting()


def test_a_run_at_work_is_waited_for_until_its_time_is_over() -> None:
    late = "no result 1000 s after the intent to start it"
    assert step(REGISTERED, RunState.RUNNING, now=1100.0) == KeepWaiting()
    assert step(REGISTERED, RunState.RUNNING, now=1100.1) == UndoRun(late, counts=True)
    assert step(RUN, RunState.RUNNING, now=1100.0) == KeepWaiting()
    assert step(RUN, RunState.RUNNING, now=1100.1) == UndoRun(late, counts=False)


def test_a_failed_run_counts_once_its_driver_had_the_data() -> None:
    assert step(REGISTERED, RunState.FAILED) == UndoRun("glue: told so", counts=True)
    assert step(RUN, RunState.FAILED) == UndoRun("glue: told so", counts=False)


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.GONE])
@pytest.mark.parametrize("run", [RUN, REGISTERED])
def test_a_stopped_or_forgotten_run_is_nobodys_failure(state: RunState, run: SparkRun) -> None:
    assert step(run, state) == UndoRun("glue: told so", counts=False)


def test_a_run_that_ended_well_without_a_report_is_judged_by_whose_driver_it_was() -> None:
    assert step(RUN, RunState.SUCCEEDED) == UndoRun("glue: the run ended without registering", counts=False)
    assert step(REGISTERED, RunState.SUCCEEDED) == UndoRun("glue: the run ended without a report", counts=True)
    unknown = replace(REGISTERED, driver_run=None)  # perhaps the other of two runs, which lost the registration
    assert step(unknown, RunState.SUCCEEDED) == KeepWaiting()


def test_the_registered_drivers_run_is_the_one_to_ask_about() -> None:
    assert replace(REGISTERED, id="jr_2").known_id == "jr_1"
    assert RUN.known_id == "jr_1"


def test_reports_are_read_back_unchanged() -> None:
    for report in (REPORT, GaveUp(Trouble.OUTAGE, "no answer")):
        assert read_report(report_json(report)) == report


def test_a_manifest_is_read_back_unchanged() -> None:
    settings = DatasetSettings.model_validate(
        {"name": "clicks", "source": "s3://landing/clicks/", "destination": "s3://lake/clicks/"}
    )
    manifest = Manifest(
        BatchId("b"),
        3,
        12.5,
        settings,
        (SourceFile("landing", "clicks/ü", "e", 5, "v", True), RecordRange("m", "control", "spool/x", 1, 2)),
        S3Prefix.model_validate("s3://control/headsaw/"),
        S3Prefix.model_validate("s3://control/quarantine/"),
        "headsaw-ledger",
        86400.0,
        "eu-west-1",
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize("read", [read_report, Manifest.from_json])
def test_another_format_is_refused_with_what_to_do(read: object) -> None:
    with pytest.raises(ValueError, match="must be of one version"):
        read(b'{"format": 2}')  # type: ignore[operator]  # either function
