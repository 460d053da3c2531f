"""The native parser is the default where it is usable; HEADSAW_PARSER chooses, and is no setting of the service's."""

import tomllib
from pathlib import Path

import pytest

from headsaw.config.load import PARSER_VARIABLE, load
from headsaw.convert import native, parser_choice
from headsaw.convert.choice import choose
from headsaw.errors import ConfigError, UsageError

NATIVE = Path(__file__).resolve().parents[3] / "native"


def test_the_native_parser_is_the_default_where_it_is_usable() -> None:
    choice = choose("", usable=True, installed=native.VERSION)
    assert (choice.name, str(choice)) == ("native", "native")


def test_the_reference_parser_is_the_default_where_no_native_one_is_installed() -> None:
    choice = choose("", usable=False, installed=None)
    assert (choice.name, str(choice)) == ("reference", "reference")


def test_another_version_of_the_native_parser_is_passed_over_and_it_is_said() -> None:
    choice = choose("", usable=False, installed="0.0.9")
    assert choice.name == "reference"
    assert str(choice) == f"reference; headsaw_native 0.0.9 is installed and {native.VERSION} is needed"


def test_a_native_parser_that_cannot_be_loaded_is_passed_over_and_it_is_said() -> None:
    choice = choose("", usable=False, installed=native.VERSION)
    assert str(choice) == f"reference; headsaw_native {native.VERSION} is installed and can't be loaded"


@pytest.mark.parametrize("usable", [True, False])
def test_the_reference_parser_is_used_where_it_is_asked_for(usable: bool) -> None:
    choice = choose("reference", usable=usable, installed="0.0.9")
    assert str(choice) == "reference", "nothing is passed over: that is what was asked for"


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        (None, "headsaw_native isn't installed: `make native` builds it"),
        ("0.0.9", "0.0.9 is installed and .* is needed"),
    ],
)
def test_asking_for_a_native_parser_that_is_not_there_is_refused(installed: str | None, told: str) -> None:
    assert choose("native", usable=True, installed=native.VERSION).name == "native"
    with pytest.raises(UsageError, match=told):
        choose("native", usable=False, installed=installed)


@pytest.mark.parametrize("usable", [True, False])
def test_another_name_is_refused(usable: bool) -> None:
    with pytest.raises(UsageError, match="native and reference"):
        choose("fast", usable=usable, installed=None)


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARSER_VARIABLE, "reference")
    assert parser_choice().name == "reference"
    monkeypatch.setenv(PARSER_VARIABLE, "")
    assert parser_choice().name == ("native" if native.available() else "reference")


def test_the_choice_is_no_unknown_setting() -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {PARSER_VARIABLE: "native", "HEADSAW_NONSENSE": "1"})
    told = str(refused.value)
    assert "HEADSAW_NONSENSE" in told
    assert PARSER_VARIABLE not in told


@pytest.mark.parametrize(("file", "table"), [("Cargo.toml", "package"), ("pyproject.toml", "project")])
def test_the_version_that_is_asked_for_is_the_one_that_is_built(file: str, table: str) -> None:
    assert tomllib.loads((NATIVE / file).read_text())[table]["version"] == native.VERSION
