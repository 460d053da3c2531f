"""The file, the environment over it, and how what is wrong with either is said."""

import json
from pathlib import Path

import pytest
import yaml

from headsaw.config import ServiceSettings, load
from headsaw.config.settings import available_cpus
from headsaw.core.settings import S3Prefix
from headsaw.errors import ConfigError, UsageError

QUEUE = "https://sqs.eu-west-1.amazonaws.com/111122223333/landing"
DLQ = "https://sqs.eu-west-1.amazonaws.com/111122223333/dlq"

LEAST = f"""
queue_url: {QUEUE}
dlq_url: {DLQ}
control: s3://lake-control/headsaw/
quarantine: s3://lake-control/quarantine/
datasets:
  - name: clicks
    source: s3://landing/clicks/
    destination: s3://lake/clicks/
"""


class Loader:
    """Loads a text as the file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "headsaw.yaml"

    def load(self, text: str, **environ: str) -> ServiceSettings:
        self.path.write_text(text, encoding="utf-8")
        return load(self.path, environ)

    def refused(self, text: str, **environ: str) -> dict[str, str]:
        """What is wrong, by path."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, **environ)
        return {problem.path: f"{problem.message} ({problem.remedy})" for problem in caught.value.problems}


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def test_the_least_file_gets_every_default(loader: Loader) -> None:
    settings = loader.load(LEAST)
    assert settings.queue_urls == (QUEUE,)
    assert settings.dlq_url == DLQ
    assert settings.ledger_table == "headsaw-ledger"
    assert settings.ledger_retention == 90 * 86400
    assert settings.control == S3Prefix(bucket="lake-control", prefix="headsaw/")
    assert (settings.region, settings.visibility, settings.default_dataset) == (None, None, None)
    assert (settings.pollers, settings.attempts_max, settings.memory_bytes) == (4, 3, 256 * 1024**2)
    assert (settings.lease_seconds, settings.drain_seconds, settings.foreign_after) == (60, 50, 3600)
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 8080)
    assert (settings.log.level, settings.log.format) == ("INFO", "json")
    assert settings.conversions >= 1


def test_a_dataset_is_found_by_its_name(loader: Loader) -> None:
    assert str(loader.load(LEAST).dataset("clicks").source) == "s3://landing/clicks/"


def test_an_unknown_dataset_is_answered_with_the_likely_one(loader: Loader) -> None:
    with pytest.raises(UsageError, match=r"did you mean clicks\?"):
        loader.load(LEAST).dataset("click")


def test_a_dataset_unlike_any_is_answered_with_the_known_ones(loader: Loader) -> None:
    with pytest.raises(UsageError, match="known: clicks"):
        loader.load(LEAST).dataset("orders")


def test_several_queues_are_a_list(loader: Loader) -> None:
    text = LEAST.replace(f"queue_url: {QUEUE}", f"queue_url: [{QUEUE}, {QUEUE}-2]")
    assert loader.load(text).queue_urls == (QUEUE, f"{QUEUE}-2")


def test_the_environment_goes_over_the_file(loader: Loader) -> None:
    settings = loader.load(
        LEAST + "http: {port: 1, host: 127.0.0.1}\n",
        HEADSAW_HTTP__PORT="9000",
        HEADSAW_LEASE__LENGTH="30s",
        HEADSAW_QUEUE_URL=json.dumps([QUEUE, f"{QUEUE}-2"]),
        HEADSAW_LOG__LEVEL="debug",
        HEADSAW_LOG__ALLOW_DEBUG="true",
        HOME="/",
    )
    assert (settings.http.port, settings.http.host) == (9000, "127.0.0.1")
    assert settings.lease_seconds == 30
    assert settings.queue_urls == (QUEUE, f"{QUEUE}-2")
    assert settings.log.level == "DEBUG"


def test_the_environment_alone_is_enough() -> None:
    datasets = yaml.safe_load(LEAST)["datasets"]
    settings = load(
        None,
        {
            "HEADSAW_QUEUE_URL": QUEUE,
            "HEADSAW_DLQ_URL": DLQ,
            "HEADSAW_CONTROL": "s3://lake-control/headsaw/",
            "HEADSAW_QUARANTINE": "s3://lake-control/quarantine/",
            "HEADSAW_DATASETS": json.dumps(datasets),
        },
    )
    assert [dataset.name for dataset in settings.datasets] == ["clicks"]


def test_an_empty_variable_counts_as_not_set(loader: Loader) -> None:
    assert loader.load(LEAST, HEADSAW_REGION="").region is None


def test_the_variable_that_names_the_file_is_no_setting(loader: Loader) -> None:
    loader.load(LEAST, HEADSAW_CONFIG="/etc/headsaw/headsaw.yaml")


def test_what_kubernetes_sets_for_a_service_of_our_name_is_left_alone(loader: Loader) -> None:
    loader.load(
        LEAST,
        HEADSAW_SERVICE_HOST="10.0.0.1",
        HEADSAW_SERVICE_PORT="8080",
        HEADSAW_SERVICE_PORT_METRICS="8080",
        HEADSAW_PORT="tcp://10.0.0.1:8080",
        HEADSAW_PORT_8080_TCP="tcp://10.0.0.1:8080",
        HEADSAW_PORT_8080_TCP_ADDR="10.0.0.1",
        HEADSAW_WORKER_SERVICE_HOST="10.0.0.2",
        HEADSAW_WORKER_PORT="tcp://10.0.0.2:8080",
    )


def test_a_misspelled_variable_is_a_problem(loader: Loader) -> None:
    problems = loader.refused(LEAST, HEADSAW_HTTP_PORT="9000", HEADSAW_QUEUE_ULR=QUEUE, HEADSAW_FROBNICATE="1")
    assert "did you mean HEADSAW_HTTP__PORT?" in problems["HEADSAW_HTTP_PORT"]
    assert "did you mean HEADSAW_QUEUE_URL?" in problems["HEADSAW_QUEUE_ULR"]
    assert "headsaw config schema" in problems["HEADSAW_FROBNICATE"]


def test_a_problem_names_the_variable_that_set_the_value(loader: Loader) -> None:
    problems = loader.refused(LEAST, HEADSAW_HTTP__PORT="web", HEADSAW_DATASETS='[{"name": "a"}]')
    assert "set by HEADSAW_HTTP__PORT" in problems["http.port"]
    assert "set by HEADSAW_DATASETS" in problems["datasets[0].source"]


def test_a_list_in_the_environment_is_json(loader: Loader) -> None:
    problems = loader.refused(LEAST, HEADSAW_DATASETS="[{name: a}]")
    assert "it is no JSON" in problems["HEADSAW_DATASETS"]


@pytest.mark.parametrize("variable", ["HEADSAW_DATASETS__0__NAME", "HEADSAW_DATASETS__NAME"])
def test_no_variable_leads_into_a_list(loader: Loader, variable: str) -> None:
    problems = loader.refused(LEAST, **{variable: "b"})
    assert "set the whole list, as JSON, with HEADSAW_DATASETS" in problems[variable]


def test_a_variable_fills_a_mapping_that_was_left_empty(loader: Loader) -> None:
    assert loader.load(LEAST + "http:\n", HEADSAW_HTTP__PORT="9000").http.port == 9000


def test_a_variable_below_a_value_that_is_no_mapping_leaves_the_problem_to_the_value(loader: Loader) -> None:
    problems = loader.refused(LEAST + "http: 8080\n", HEADSAW_HTTP__PORT="9000")
    assert list(problems) == ["http"]
    assert "must be a mapping, not 8080" in problems["http"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such file"):
        load(tmp_path / "nowhere.yaml", {})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it can't be read"):
        load(tmp_path, {})


def test_a_file_in_another_encoding_is_refused(loader: Loader) -> None:
    loader.path.write_bytes("region: é".encode("utf-16"))
    with pytest.raises(ConfigError, match="it isn't UTF-8"):
        load(loader.path, {})


def test_broken_yaml_is_told_by_line_and_column(loader: Loader) -> None:
    [(path, text)] = loader.refused("queue_url: a\ndatasets: [1, 2\npollers: 4\n").items()
    assert path == f"{loader.path}:3:8"
    assert "it is no YAML" in text


def test_tabs_get_a_remedy_of_their_own(loader: Loader) -> None:
    [(path, text)] = loader.refused("http:\n\tport: 1\n").items()
    assert path == f"{loader.path}:2:1"
    assert "indent with spaces instead of tabs" in text


@pytest.mark.parametrize(
    "text", ["when: 2026-99-99\n", "a: \x07\n", "? [a, b]\n: c\n", "--- 1\n--- 2\n", "&a {b: !x 1}\n"]
)
def test_whatever_yaml_refuses_is_a_problem_of_the_file(loader: Loader, text: str) -> None:
    [(path, message)] = loader.refused(text).items()
    assert path.startswith(str(loader.path))
    assert "it is no YAML" in message


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "42\n"])
def test_a_file_without_a_mapping_is_refused(loader: Loader, text: str) -> None:
    [message] = loader.refused(text).values()
    assert "it holds no mapping of keys to values" in message


def test_an_empty_file_lacks_everything_that_is_required(loader: Loader) -> None:
    assert set(loader.refused("# nothing yet\n")) == {"queue_url", "dlq_url", "control", "quarantine", "datasets"}


def test_a_key_that_stands_twice_is_a_problem(loader: Loader) -> None:
    problems = loader.refused(LEAST + "    name: again\npollers: 2\npollers: 3\n")
    assert problems == {
        f"{loader.path}:10:5": "name stands twice in the same mapping (keep one of the two)",
        f"{loader.path}:12:1": "pollers stands twice in the same mapping (keep one of the two)",
    }


def test_anchors_and_merges_repeat_no_key(loader: Loader) -> None:
    settings = loader.load(
        LEAST.replace("  - name", "  - &base\n    name")
        + "    batch: &batch {max_files: 7, max_age: 10s}\n"
        + "  - {<<: *base, name: views, source: s3://landing/views/, destination: s3://lake/views/, batch: *batch}\n"
    )
    assert [(dataset.name, dataset.batch.max_files) for dataset in settings.datasets] == [("clicks", 7), ("views", 7)]


def test_settings_are_frozen(loader: Loader) -> None:
    settings = loader.load(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        settings.pollers = 5  # type: ignore[misc]


def test_settings_survive_being_written_and_read_again(loader: Loader) -> None:
    settings = loader.load(LEAST)
    written = yaml.safe_dump(settings.model_dump(mode="json", by_alias=True))
    assert loader.load(written) == settings


@pytest.mark.parametrize(
    ("quota", "cpus"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None), ("?", None)]
)
def test_a_container_s_quota_bounds_the_conversions(tmp_path: Path, quota: str, cpus: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert available_cpus(file) == (cpus or available_cpus(tmp_path / "none"))
