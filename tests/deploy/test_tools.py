"""A test that can't run says so, and in CI nothing passes for want of a tool."""

import pytest
from rendering import tool


def test_a_missing_tool_skips_the_test_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-tool isn't installed: run `make deploy-tools`"):
        tool("no-such-tool")


def test_a_missing_tool_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool isn't installed"):
        tool("no-such-tool")
