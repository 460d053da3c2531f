"""What is refused, value by value and between values, and what is said about it."""

from copy import deepcopy
from typing import Any

import pytest

from headsaw.config.load import validate

QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/landing"

SOUND: dict[str, Any] = {
    "queue_url": QUEUE,
    "dlq_url": f"{QUEUE}-dlq",
    "control": "s3://lake-control/headsaw/",
    "quarantine": "s3://lake-control/quarantine/",
    "datasets": [
        {"name": "clicks", "source": "s3://landing/clicks/", "destination": "s3://lake/clicks/"},
        {"name": "orders", "source": "s3://landing/orders/", "destination": "s3://lake/orders/"},
    ],
}


SERVERLESS: dict[str, Any] = {
    "application_id": "00f1abcd2efgh309",
    "execution_role_arn": "arn:aws:iam::111122223333:role/headsaw-spark",
    "entry_point": "s3://code/job.py",
}


def spark_glue(**changes: Any) -> dict[str, Any]:
    return {"spark": {"glue": {"job_name": "headsaw", **changes}}}


def spark_serverless(**changes: Any) -> dict[str, Any]:
    return {"spark": {"emr_serverless": {**SERVERLESS, **changes}}}


def problems_of(
    first: dict[str, Any] | None = None, second: dict[str, Any] | None = None, **changes: Any
) -> dict[str, str]:
    """What is wrong, by path, once the sound settings (and those of the first and second dataset) are changed."""
    written = deepcopy(SOUND) | changes
    for dataset, change in zip(written["datasets"], (first, second), strict=False):
        dataset |= change or {}
    settings, problems = validate(written)
    assert settings is not None or problems
    return {problem.path: f"{problem.message} ({problem.remedy})" for problem in problems}


def test_sound_settings_have_no_problem() -> None:
    assert problems_of() == {}


@pytest.mark.parametrize(
    ("engine", "engines"),
    [
        ("none", {}),
        ("local", {}),
        ("glue", spark_glue()),
        ("glue", spark_glue(worker_type="G.8X", execution_class="STANDARD")),
        ("emr-serverless", spark_serverless()),
        ("emr-serverless", spark_serverless(executor_cores=16, executor_memory="120GiB")),
        ("emr", {"spark": {"emr": {"cluster_id": "j-2AXXXXXXGAPLF", "entry_point": "s3://code/job.py"}}}),
    ],
)
def test_a_dataset_may_name_any_engine_that_is_configured(engine: str, engines: dict[str, Any]) -> None:
    assert problems_of({"spark": {"engine": engine}}, **engines) == {}


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"queue_url": "landing"}, "queue_url", "'landing' is no queue URL (copy it from the queue"),
        ({"queue_url": f"{QUEUE},{QUEUE}"}, "queue_url", "is no queue URL"),
        ({"queue_url": []}, "queue_url", "it is empty (give at least one)"),
        ({"queue_url": [QUEUE, 5]}, "queue_url[1]", "must be text, not 5"),
        ({"queue_url": [QUEUE, QUEUE]}, "queue_url[1]", "this queue stands twice"),
        ({"dlq_url": QUEUE}, "dlq_url", "it is one of queue_url"),
        ({"region": "Ireland!"}, "region", "doesn't have the right form"),
        ({"ledger_retention": "3d"}, "ledger_retention", "'3d' is too small (use 15d or more)"),
        ({"ledger_retention": "3 weeks"}, "ledger_retention", "is no duration (write it as 300s, 5m, 1h or 30d)"),
        ({"control": "lake-control"}, "control", "is no S3 prefix (write it as s3://bucket/prefix/)"),
        ({"control": ["s3://a/"]}, "control", "is no S3 prefix"),
        ({"datasets": []}, "datasets", "it is empty (give at least one)"),
        ({"datasets": {"name": "a"}}, "datasets", "must be a list"),
        ({"datasets": ["clicks"]}, "datasets[0]", "must be a mapping, not 'clicks'"),
        ({"pollers": "many"}, "pollers", "must be a whole number, not 'many'"),
        ({"pollers": 0}, "pollers", "0 is too small (use 1 or more)"),
        ({"pollers": 65}, "pollers", "65 is too large (use 64 or less)"),
        ({"memory_bytes": "1MiB"}, "memory_bytes", "'1MiB' is too small (use 16MiB or more)"),
        ({"memory_bytes": "lots"}, "memory_bytes", "is no size (write it as 65536, 64KiB, 256MiB or 2GiB)"),
        ({"visibility": "13h"}, "visibility", "'13h' is too large (use 12h or less)"),
        ({"lease": {"length": "1s"}}, "lease.length", "'1s' is too small (use 3s or more)"),
        ({"lease": None}, "lease", "must be a mapping, not nothing"),
        ({"lease": "60s"}, "lease", "must be a mapping, not '60s'"),
        ({"http": {"port": 70000}}, "http.port", "70000 is too large (use 65535 or less)"),
        (
            {"log": {"level": "LOUD"}},
            "log.level",
            "'LOUD' is none of its values (use 'DEBUG', 'INFO', 'WARNING' or 'ERROR')",
        ),
        ({"log": {"allow_debug": "maybe"}}, "log.allow_debug", "must be true or false, not 'maybe'"),
        ({"log": {"level": "debug"}}, "log.level", "DEBUG may write object keys to the log (add allow_debug: true"),
        ({"log": {"level": "DEBUG", "allow_debug": "no"}}, "log.level", "DEBUG may write object keys"),
        ({"default_dataset": "click"}, "default_dataset", "no dataset is called 'click' (did you mean clicks?)"),
        ({"default_dataset": "x"}, "default_dataset", "no dataset is called 'x' (use one of: clicks, orders)"),
        ({7: 1}, "7", "keys must be text"),
        ({"spark": {"poll": 0.5}}, "spark.poll", "0.5 is too small (use 1s or more)"),
        ({"spark": {"glue": {}}}, "spark.glue.job_name", "is required (add it: The name of the job definition.)"),
        ({"spark": {"flink": {}}}, "spark.flink", "unknown key"),
        (spark_glue(execution_class="flex"), "spark.glue.execution_class", "(use 'FLEX' or 'STANDARD')"),
        (spark_glue(worker_type="G.4X"), "spark.glue", "FLEX has no G.4X workers (use G.1X, G.2X, or"),
        (spark_glue(workers_min=9, workers_max=8), "spark.glue", "workers_min is above workers_max"),
        (spark_glue(workers_max=1), "spark.glue.workers_max", "1 is too small (use 2 or more)"),
        (spark_glue(timeout="60s"), "spark.glue.timeout", "'60s' is too small (use 5m or more)"),
        (spark_glue(timeout="24h"), "spark.glue.timeout", "1d isn't below spark.run_max (1d) (lower it, or raise"),
        (
            {"spark": {"run_max": "3h", "emr_serverless": SERVERLESS}},
            "spark.emr_serverless.timeout",
            "4h isn't below spark.run_max (3h)",
        ),
        (spark_serverless(application_id="App"), "spark.emr_serverless.application_id", "doesn't have the right form"),
        (spark_serverless(execution_role_arn="r"), "spark.emr_serverless.execution_role_arn", "the right form"),
        (spark_serverless(entry_point="job.py"), "spark.emr_serverless.entry_point", "names no S3 object (write it as"),
        (spark_serverless(archive="s3://b/a b"), "spark.emr_serverless.archive", "names no S3 object"),
        (spark_serverless(archive="s3://b/a#b"), "spark.emr_serverless.archive", "without spaces, commas and '#'"),
        (
            spark_serverless(executor_memory="31GiB"),
            "spark.emr_serverless",
            "has no executors of 4 vCPUs and that memory (set executor_memory between 8GiB and 30GiB, or other",
        ),
        (spark_serverless(executor_cores=3), "spark.emr_serverless.executor_cores", "none of its values"),
        (spark_serverless(executors_min=50), "spark.emr_serverless", "executors_min is above executors_max"),
        ({"spark": {"emr": {"cluster_id": "x", "entry_point": "s3://code/job.py"}}}, "spark.emr.cluster_id", "form"),
        ({"spark": {"local": {"cores": 0}}}, "spark.local.cores", "0 is too small (use 1 or more)"),
    ],
)
def test_a_setting_of_the_service_is_refused_in_plain_words(changes: dict[Any, Any], path: str, words: str) -> None:
    written = deepcopy(SOUND) | changes
    _, problems = validate(written)
    told = {problem.path: f"{problem.message} ({problem.remedy})" for problem in problems}
    assert list(told) == [path]
    assert words in told[path]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"name": "Clicks"}, "name", "'Clicks' doesn't have the right form (Names the dataset everywhere: lower-case"),
        ({"name": "clicks"}, "name", "datasets[0] is called 'clicks' too"),
        (
            {"source": "s3://landing/orders"},
            "source",
            "so it also means keys such as s3://landing/orders2/a (write s3://landing/orders/)",
        ),
        ({"destination": "s3://lake/orders"}, "destination", "doesn't end with '/'"),
        ({"source": "s3://Landing/"}, "source", "'s3://Landing/' is no S3 prefix"),
        ({"source_account": 111122223333}, "source_account", "must be text, not 111122223333 (put it in quotes)"),
        ({"identity": "name"}, "identity", "'name' is none of its values (use 'etag' or 'key')"),
        ({"batch": {"max_age": "5 mins"}}, "batch.max_age", "'5 mins' is no duration"),
        ({"batch": {"max_age": 0}}, "batch.max_age", "0 is too small (use more than 0s)"),
        ({"batch": {"max_age": "7h"}}, "batch.max_age", "'7h' is too large (use 6h or less)"),
        ({"batch": {"max_bytes": True}}, "batch.max_bytes", "True is no size"),
        ({"max_bad_fraction": 5}, "max_bad_fraction", "5 is too large (use 1.0 or less)"),
        ({"max_bad_fraction": "few"}, "max_bad_fraction", "must be a number, not 'few'"),
        ({"where": " "}, "where", "it is empty"),
        ({"select": ["a", ""]}, "select[1]", "it is empty"),
        ({"select": "a"}, "select", "must be a list, not 'a' (write it as [a, b]"),
        (
            {"spark": {"engine": "glue"}},
            "spark.engine",
            "'glue' is asked for, but there is no spark.glue (add spark.glue with its job_name beside datasets",
        ),
        (
            {"spark": {"engine": "emr-serverless"}},
            "spark.engine",
            "there is no spark.emr_serverless (add spark.emr_serverless with its application_id",
        ),
        ({"spark": {"engine": "emr"}}, "spark.engine", "there is no spark.emr (add spark.emr with its cluster_id"),
        ({"spark": {"engine": "flink"}}, "spark.engine", "'flink' is none of its values"),
        ({"include": ["s3://landing/clicks/*"]}, "include[0]", "can't match any key under the source"),
        ({"include": ["/*.gz"]}, "include[0]", "write what follows the source prefix, such as *.ndjson.gz"),
        ({"exclude": ["!*.tmp"]}, "exclude[0]", "negates nothing here"),
        ({"exclude": ["*"]}, "exclude", "it leaves out every file of the source"),
        ({"include": ["*.gz"], "exclude": ["*.gz", "*.zst"]}, "exclude", "it leaves out every file of the source"),
        ({"schema": {"hints": {"price": 5}}}, "schema.hints.price", "must be text, not 5"),
        ({"schema": {"hints": {"price": "money"}}}, "schema.hints.price", "'money' is no type"),
        ({"schema": {"hints": {"x[": "int64"}}}, "schema.hints.x[", "its brackets aren't []"),
        ({"schema": {"hints": {"x[0].y": "int64"}}}, "schema.hints.x[0].y", "its brackets aren't []"),
        ({"schema": {"hints": {"_Batch": "string"}}}, "schema.hints._Batch", "the service writes this column itself"),
        ({"schema": {"mode": "evolved"}}, "schema.mode", "(use 'evolve', 'rescue' or 'strict')"),
        ({"parquet": {"sort_by": ["ts", ""]}}, "parquet.sort_by[1]", "it is empty"),
    ],
)
def test_a_setting_of_a_dataset_is_refused_in_plain_words(change: dict[str, Any], path: str, words: str) -> None:
    told = problems_of(second=change)
    assert list(told) == [f"datasets[1].{path}"]
    assert words in told[f"datasets[1].{path}"]


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ({}, "give exactly one of field, key_regex, ingestion: true"),
        ({"field": "ts", "ingestion": True}, "give exactly one of"),
        ({"ingestion": True}, "ingestion time needs a granularity"),
        ({"key_regex": "dt=(.*)/", "granularity": "day"}, "a part of the key isn't cut into times"),
        ({"field": "country", "window": {"past": "1d"}}, "a window limits event times"),
        (
            {"field": "country", "name": "country"},
            "the directory 'country' has the name of a field that is partitioned by",
        ),
        (
            {"field": "country", "name": "Country"},
            "the directory 'Country' has the name of a field that is partitioned by",
        ),
        ({"field": "country", "name": "price"}, "the directory 'price' has the name of a hinted column"),
        ({"field": "country", "name": "items"}, "the directory 'items' has the name of a hinted column"),
        ({"field": "country", "name": "user_id"}, "the directory 'user_id' has the name of a column of sort_by"),
        ({"field": "_ts", "granularity": "day"}, "readers skip a directory called '_ts_day' (add name: ts_day)"),
    ],
)
def test_a_partition_is_refused_in_plain_words(level: dict[str, Any], words: str) -> None:
    hints = {"price": "int64", "items[].sku": "string"}
    told = problems_of(first={"partition_by": [level], "schema": {"hints": hints}, "parquet": {"sort_by": ["user_id"]}})
    assert list(told) == ["datasets[0].partition_by[0]"]
    assert words in told["datasets[0].partition_by[0]"]


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("dt=(", "is no regular expression: missing ), unterminated subpattern"),
        ("dt=.*", "it has 0 groups, but one names the partition's value"),
        ("(a)/(b)", "it has 2 groups"),
    ],
)
def test_a_key_regex_has_one_group(regex: str, words: str) -> None:
    told = problems_of(first={"partition_by": [{"key_regex": regex}]})
    assert list(told) == ["datasets[0].partition_by[0].key_regex"]
    assert words in told["datasets[0].partition_by[0].key_regex"]


def test_partition_directories_differ_from_each_other() -> None:
    levels = [
        {"field": "country"},
        {"field": "region", "name": "Country_Value"},
        {"ingestion": True, "granularity": "day"},
    ]
    told = problems_of(first={"partition_by": levels})
    assert told == {
        "datasets[0].partition_by[1]": "another level is called 'Country_Value' too (give one of them another name)"
    }


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"second": {"source": "s3://landing/clicks/eu/"}}, "datasets[1].source", "lies within datasets[0].source"),
        ({"second": {"source": "s3://landing/"}}, "datasets[1].source", "contains datasets[0].source"),
        ({"second": {"source": "s3://landing/clicks/"}}, "datasets[1].source", "is the same as datasets[0].source"),
        ({"second": {"destination": "s3://lake/clicks/eu/"}}, "datasets[1].destination", "datasets[0].destination"),
        (
            {"first": {"destination": "s3://landing/clicks/out/"}},
            "datasets[0].destination",
            "within datasets[0].source",
        ),
        (
            {"second": {"destination": "s3://landing/clicks/out/"}},
            "datasets[1].destination",
            "within datasets[0].source",
        ),
        ({"second": {"source": "s3://lake/clicks/in/"}}, "datasets[1].source", "lies within datasets[0].destination"),
        ({"quarantine": "s3://lake-control/headsaw/q/"}, "quarantine", "lies within control"),
        ({"quarantine": "s3://lake-control/headsaw/"}, "quarantine", "is the same as control"),
        ({"control": "s3://lake/clicks/headsaw/"}, "datasets[0].destination", "contains control"),
        ({"first": {"source": "s3://lake-control/quarantine/a/"}}, "datasets[0].source", "lies within quarantine"),
    ],
)
def test_no_prefix_lies_within_another(changes: dict[str, Any], path: str, words: str) -> None:
    told = problems_of(**changes)
    assert list(told) == [path]
    assert words in told[path]
    assert "prefixes may not overlap" in told[path]


@pytest.mark.parametrize(
    "changes",
    [
        {"second": {"source": "s3://landing/clicks2/"}},
        {"second": {"source": "s3://other/clicks/"}},
        {"first": {"source": "s3://landing-clicks"}},
        {"control": "s3://headsaw-control", "quarantine": "s3://headsaw-quarantine/"},
    ],
)
def test_prefixes_side_by_side_are_fine(changes: dict[str, Any]) -> None:
    assert problems_of(**changes) == {}


def test_a_batch_is_claimed_before_its_messages_return() -> None:
    told = problems_of(first={"batch": {"max_age": "10m"}}, visibility="5m")
    assert told == {
        "datasets[0].batch.max_age": "10m isn't below visibility (5m) (lower it, or raise visibility)",
        "datasets[1].batch.max_age": "5m isn't below visibility (5m) (lower it, or raise visibility)",
    }


def test_max_age_below_visibility_is_fine() -> None:
    assert problems_of(visibility="301s") == {}


@pytest.mark.parametrize(
    ("first", "path", "remedy"),
    [
        ({"sorce": "s3://a/"}, "datasets[0].sorce", "did you mean source?"),
        ({"table_schema": {}}, "datasets[0].table_schema", "known here: name, source,"),
        ({"max_age": "5m"}, "datasets[0].max_age", "did you mean batch.max_age?"),
        ({"batch": {"maxage": "5m"}}, "datasets[0].batch.maxage", "did you mean max_age?"),
        ({"spark": {"xyz": 1}}, "datasets[0].spark.xyz", "known here: engine, min_bytes"),
        ({"partition_by": [{"field": "a", "granularty": 1}]}, "datasets[0].partition_by[0].granularty", "granularity?"),
    ],
)
def test_an_unknown_key_is_answered_with_the_likely_one(first: dict[str, Any], path: str, remedy: str) -> None:
    told = problems_of(first=first)
    assert list(told) == [path]
    assert "unknown key" in told[path]
    assert remedy in told[path]


def test_every_problem_is_told_at_once_whatever_else_is_wrong() -> None:
    told = problems_of(
        first={"sorce": 1, "batch": {"max_age": "1 day"}},
        second={"destination": "s3://landing/clicks/x/", "name": "clicks", "source": 7},
        queue_urls=QUEUE,
        http={"port": "web"},
        quarantine="s3://lake-control/headsaw/",
        visibility="2m",
        default_dataset="order",
    )
    assert set(told) == {
        "queue_urls",
        "http.port",
        "quarantine",
        "default_dataset",
        "datasets[0].sorce",
        "datasets[0].batch.max_age",
        "datasets[1].source",
        "datasets[1].name",
        "datasets[1].destination",
        "datasets[1].batch.max_age",
    }


def test_what_is_unsound_itself_causes_no_problem_elsewhere() -> None:
    told = problems_of(first={"name": 5}, default_dataset="clicks")
    assert list(told) == ["datasets[0].name"]


def test_a_long_value_is_cut() -> None:
    told = problems_of(region="x y" * 100)
    assert len(told["region"]) < 250
