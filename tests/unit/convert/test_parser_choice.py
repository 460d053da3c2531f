"""HEADSAW_PARSER chooses the parser, and is no setting of the service's."""

import pytest

from headsaw.config.load import PARSER_VARIABLE, load
from headsaw.convert import native, parser_name
from headsaw.errors import ConfigError, UsageError


@pytest.mark.parametrize("wanted", ["", "reference"])
def test_the_reference_parser_is_the_default(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv(PARSER_VARIABLE, wanted)
    assert parser_name() == "reference"


def test_the_native_parser_is_used_where_it_is_asked_for_and_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARSER_VARIABLE, "native")
    if native.available():
        assert parser_name() == "native"
    else:
        with pytest.raises(UsageError, match="make native"):
            parser_name()


def test_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARSER_VARIABLE, "fast")
    with pytest.raises(UsageError, match="native and reference"):
        parser_name()


def test_the_choice_is_no_unknown_setting() -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {PARSER_VARIABLE: "native", "HEADSAW_NONSENSE": "1"})
    told = str(refused.value)
    assert "HEADSAW_NONSENSE" in told
    assert PARSER_VARIABLE not in told
