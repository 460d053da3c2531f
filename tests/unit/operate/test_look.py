from dataclasses import replace

import pytest
from small_lake import HOUR, Lake, lines

from headsaw.cli import look, look_json
from headsaw.cli.display import moment
from headsaw.core.conversion import FileCounts
from headsaw.core.lifecycle import Delegate, Start, Wait
from headsaw.core.model import Batch, BatchState, FileMark
from headsaw.core.naming import report_name
from headsaw.core.settings import S3Prefix
from headsaw.operate.describe import BatchStory, NotFound, describe_batch, describe_file, describe_message
from headsaw.operate.look import batches, status


def place(key: str) -> S3Prefix:
    return S3Prefix.model_validate(f"s3://landing/{key}")


async def test_status_counts_queues_and_batches_and_names_the_oldest_unfinished_one(lake: Lake) -> None:
    done, _ = await lake.publish(await lake.land("clicks/a", lines(1, 2)), await lake.land("clicks/b", lines(3)))
    await lake.pass_time(HOUR)
    waiting = await lake.claim(await lake.land("clicks/c", lines(4), notified=True))
    await lake.pass_time(HOUR)
    await lake.claim(await lake.land("clicks/d", lines(5)))
    await lake.fail(await lake.land("clicks/e", lines(6)))
    seen = await status(lake.config, lake)
    (dataset,) = seen.datasets
    assert seen.queues[0].depth.visible == 1
    assert seen.dlq.depth.visible == 1
    assert seen.states == {BatchState.DONE: 1, BatchState.READY: 2, BatchState.FAILED: 1}
    assert seen.unfinished == 2
    assert seen.oldest == waiting
    assert dataset.oldest_unfinished_at == waiting.created_at
    assert dataset.last_done_at == done.finished_at
    assert (dataset.files, dataset.rows, dataset.unfinished_files) == (5, 3, 2)


async def test_status_shows_a_dataset_that_was_removed_while_it_has_batches(lake: Lake) -> None:
    old = lake.dataset.model_copy(update={"name": "old"})
    await lake.claim(await lake.land("old/a", lines(1)), dataset=old)
    names = {dataset.name: dataset.configured for dataset in (await status(lake.config, lake)).datasets}
    assert names == {"clicks": True, "old": False}


async def test_batches_are_listed_newest_first_and_filtered(lake: Lake) -> None:
    made = []
    for name in "abcd":
        made.append(await lake.claim(await lake.land(f"clicks/{name}", lines(1))))
        await lake.pass_time(1)
    failed = await lake.fail(await lake.land("clicks/e", lines(1)))
    assert await batches(lake, limit=3) == [failed, made[3], made[2]]
    assert await batches(lake, state=BatchState.FAILED) == [failed]
    assert await batches(lake, dataset="orders") == []


async def test_a_published_batch_tells_its_counts_its_outputs_and_what_became_of_each_source(lake: Lake) -> None:
    good = await lake.land("clicks/a", lines(1) + "bad\n")
    gone = replace(await lake.land("clicks/b", lines(2)), etag="0" * 32)
    batch, record = await lake.publish(good, gone)
    story = await describe_batch(lake.config, lake, batch.id)
    assert story.batch == batch
    assert story.record == record
    assert [output.visible for output in story.outputs] == [True, True]
    assert [source.counts for source in story.sources] == [FileCounts(2, 1, 1), None]
    assert story.sources[1].rejected == "superseded"
    lake.store.delete("lake", next(upload.key for upload in record.uploads if upload.bucket == "lake"))
    story = await describe_batch(lake.config, lake, batch.id)
    assert sorted(output.visible for output in story.outputs) == [False, True]


async def test_an_unfinished_batch_has_sources_and_no_outcome_yet(lake: Lake) -> None:
    batch = await lake.claim(await lake.land("clicks/a", lines(1)))
    story = await describe_batch(lake.config, lake, batch.id)
    assert (story.record, story.outputs, story.sources[0].counts) == (None, (), None)


async def delegated(lake: Lake, name: str = "a") -> Batch:
    """A batch that waits for a Spark run."""
    batch = await lake.claim(await lake.land(f"clicks/{name}", lines(1)))
    batch = await lake.move(batch, Delegate("glue", lake.clock.now(), "est. 3.1 GB (600 MB stored x 5.2)"))
    return await lake.move(batch, Wait(lake.clock.now() + 30, "jr_1"))


def shown(capsys: pytest.CaptureFixture[str], now: float, story: BatchStory) -> dict[str, str]:
    """What `describe` prints of a batch, by its label."""
    look._show_batch(now, story)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split("  ", 1) for line in text.splitlines()[1:] if "  " in line.strip()]
    return {label.strip(): value.strip() for label, value in rows}


async def test_a_delegated_batch_tells_its_engine_why_its_run_and_whether_its_driver_is_there(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = await delegated(lake)
    await lake.pass_time(5 * 60)
    story = await describe_batch(lake.config, lake, batch.id)
    assert batch.run is not None
    rows = shown(capsys, lake.clock.now(), story)
    assert rows["state"] == "DELEGATED"
    assert rows["route"] == "est. 3.1 GB (600 MB stored x 5.2)"
    assert (rows["engine"], rows["spark run"]) == ("glue", "jr_1")
    assert rows["since"] == f"{moment(batch.run.since)}, 5m ago"
    assert rows["driver"] == "not registered yet"
    assert (rows["report"], rows["next look"]) == ("not written yet", moment(batch.run.since + 30))
    assert "due" not in rows


async def test_a_registered_driver_its_report_and_a_second_run_are_told(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = await delegated(lake)
    assert await lake.ledger.register_driver(batch.id, batch.attempt, "token", "jr_2") is not None
    rows = shown(capsys, lake.clock.now(), await describe_batch(lake.config, lake, batch.id))
    assert (rows["spark run"], rows["driver"]) == ("jr_2", "registered as token")
    assert rows["another run"].startswith("jr_1")
    assert rows["report"] == "not written yet"
    await lake.store.put("control", lake.config.control.key(report_name(batch.id, batch.attempt, "token")), b"{}")
    story = await describe_batch(lake.config, lake, batch.id)
    assert shown(capsys, lake.clock.now(), story)["report"] == "written, and taken at the next look"
    document = look_json.batch_story(story)
    assert document["reported"] is True
    assert document["batch"]["run"] == {
        "engine": "glue",
        "since": batch.created_at,
        "id": "jr_1",
        "driver": "token",
        "driver_run": "jr_2",
    }


async def test_an_intent_whose_start_nobody_has_heard_of_is_told_as_such(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = await lake.claim(await lake.land("clicks/a", lines(1)))
    batch = await lake.move(batch, Delegate("glue", lake.clock.now(), "why"))
    rows = shown(capsys, lake.clock.now(), await describe_batch(lake.config, lake, batch.id))
    assert rows["spark run"] == "its start isn't known to have been answered"
    assert look._on_spark(batch) == "glue: starting"


async def test_an_inline_batch_tells_why_and_has_no_run(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    batch = await lake.claim(await lake.land("clicks/a", lines(1)))
    batch = await lake.move(batch, Start("no engine is configured"))
    story = await describe_batch(lake.config, lake, batch.id)
    rows = shown(capsys, lake.clock.now(), story)
    assert rows["route"] == "no engine is configured"
    assert not {"engine", "spark run", "driver", "report"} & set(rows)
    assert look_json.batch_story(story)["batch"]["run"] is None


async def test_status_counts_what_waits_for_spark_by_engine(lake: Lake) -> None:
    await delegated(lake, "a")
    await delegated(lake, "b")
    await lake.claim(await lake.land("clicks/c", lines(1)))
    seen = await status(lake.config, lake)
    assert seen.engines == {"glue": 2}
    assert look_json.status(seen)["delegated"] == {"glue": 2}
    assert look_json.status(seen)["batches"]["DELEGATED"] == 2


async def test_a_commit_record_that_is_gone_is_told_and_not_raised(lake: Lake) -> None:
    batch, _ = await lake.publish(await lake.land("clicks/a", lines(1)))
    assert batch.commit is not None
    lake.store.delete("control", batch.commit.key)
    story = await describe_batch(lake.config, lake, batch.id)
    assert story.record is None
    assert story.trouble is not None
    assert "missing" in story.trouble


async def test_a_file_tells_every_version_and_where_its_rows_went(lake: Lake) -> None:
    first, record = await lake.publish(await lake.land("clicks/a", lines(1)))
    second = await lake.claim(await lake.land("clicks/a", lines(1, 2)))
    story = await describe_file(lake.config, lake, place("clicks/a"))
    assert story.dataset == "clicks"
    assert story.head is not None
    by_batch = {version.record.batch: version for version in story.versions}
    assert by_batch[first.id].story is not None
    assert by_batch[first.id].story.counts == FileCounts(1, 1)
    assert by_batch[first.id].outputs == (f"s3://lake/{record.uploads[0].key}",)
    assert by_batch[second.id].holder == second
    assert by_batch[second.id].outputs == ()


async def test_a_file_of_a_split_batch_is_found_in_the_child_that_holds_it(lake: Lake) -> None:
    files = [await lake.land(f"clicks/{name}", lines(1)) for name in "abc"]
    parent, left, right = await lake.split(*files)
    for key, child in (("clicks/a", left), ("clicks/b", right), ("clicks/c", right)):
        (version,) = (await describe_file(lake.config, lake, place(key))).versions
        assert version.holder == child
        assert version.root == parent
        assert version.story is not None
        assert version.story.source.identity.scope == f"landing/{key}"
    story = await describe_batch(lake.config, lake, right.id)
    assert [source.source.name for source in story.sources] == ["s3://landing/clicks/b", "s3://landing/clicks/c"]


async def test_a_failed_file_tells_its_mark(lake: Lake) -> None:
    await lake.fail(await lake.land("clicks/a", lines(1)))
    (version,) = (await describe_file(lake.config, lake, place("clicks/a"))).versions
    assert (version.record.mark, version.record.reason) == (FileMark.FAILED, "poison")


async def test_a_landed_file_that_the_ledger_never_heard_of_has_no_versions(lake: Lake) -> None:
    await lake.land("clicks/a", lines(1))
    story = await describe_file(lake.config, lake, place("clicks/a"))
    assert story.head is not None
    assert story.versions == ()


async def test_a_record_message_is_described_by_its_id(lake: Lake) -> None:
    batch, _ = await lake.publish(await lake.spool("m-1", lines(1, 2)))
    (version,) = (await describe_message(lake.config, lake, "m-1")).versions
    assert version.holder == batch
    assert version.story is not None
    assert version.story.counts == FileCounts(2, 2)


async def test_unknown_things_are_said_to_be_unknown(lake: Lake) -> None:
    with pytest.raises(NotFound, match="no such batch"):
        await describe_batch(lake.config, lake, "nothing")
    with pytest.raises(NotFound, match="not URL-encoded"):
        await describe_file(lake.config, lake, place("clicks/nothing"))
    with pytest.raises(NotFound, match="no such record message"):
        await describe_message(lake.config, lake, "nothing")


async def test_a_file_whose_batch_is_lost_is_told_as_such(lake: Lake) -> None:
    await lake.claim(await lake.land("clicks/a", lines(1)))
    del lake.table._items[next(key for key in lake.table._items if key.sk == "batch")]
    (version,) = (await describe_file(lake.config, lake, place("clicks/a"))).versions
    assert version.trouble == "the ledger has nothing of the batch that claimed it"
