"""Whatever stands in a configuration, it is either used or refused with problems that say something."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsaw.config import ServiceSettings, load
from headsaw.config.explain import key_paths
from headsaw.config.load import validate
from headsaw.errors import ConfigError

PATHS = key_paths(ServiceSettings)

TEXTS = st.sampled_from(
    ["", " ", "{x}", "s3://bucket/a/", "s3://bucket", "5m", "1GiB", "DEBUG", "[a", "a.b", "/", "é", "a" * 300]
)
TEXT = st.text(alphabet="ab{}%[]é\ud800 \n", max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def put(written: dict[Any, Any], path: str, value: object) -> None:
    """Sets the value where the path leads, in the first dataset and the first level of its partitions."""
    *outer, last = path.split(".")
    for step in outer:
        inner = written.setdefault(step, [{}] if step in ("datasets", "partition_by") else {})
        written = inner[0] if isinstance(inner, list) and inner else inner
        if not isinstance(written, dict):
            return
    written[last] = value


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(PATHS), VALUES, max_size=6))
def test_any_value_anywhere_is_used_or_refused(values: dict[str, object]) -> None:
    written: dict[Any, Any] = {}
    for path, value in sorted(values.items(), reverse=True):
        put(written, path, value)
    found, problems = validate(written)
    assert found is not None or problems
    assert all(problem.path and problem.message and problem.remedy for problem in problems)


@settings(deadline=None)
@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"#%@,? \n\t0.", max_size=40))
def test_any_text_as_a_file_is_refused_with_problems(tmp_path_factory: Any, text: str) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:  # whatever it is, it lacks required keys
        load(path, {})
    assert caught.value.problems


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"HEADSAW_{path.upper().replace('.', '__')}" for path in PATHS])
        | TEXT.map("HEADSAW_".__add__),
        st.sampled_from(["[", "{", "[]", "{}", "5", "[5]", '[{"name": 1}]', "nan", "[NaN]", " [1"]) | TEXT,
        max_size=4,
    )
)
def test_any_environment_is_used_or_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:  # whatever it is, it lacks required keys
        load(None, environ)
    assert caught.value.problems
