"""What the demo tells people: commands that work where they stand, and tables that fit."""

import sys
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from headsaw.app_demo import shell_settings
from headsaw.cli.demo import preview
from headsaw.cli.shared import command_name


def printed(frame: pl.DataFrame, width: int = 80) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(preview(frame, width))
    return captured.get().splitlines()


def test_columns_that_do_not_fit_are_left_out_whole() -> None:
    frame = pl.DataFrame({f"a_rather_long_column_{n}": ["x" * 40] for n in range(4)} | {"n": [1]})
    lines = printed(frame)
    assert "a_rather_long_column_0" in lines[1]
    assert "a_rather_long_column_1" in lines[1]
    assert "_2" not in lines[1]
    assert all(len(line) <= 80 for line in lines)
    assert "…" not in lines[1]


def test_nested_columns_and_lineage_are_not_previewed() -> None:
    frame = pl.DataFrame({"list": [[1]], "_batch": ["b"], "a[b]": ["[red]"]})
    text = "\n".join(printed(frame))
    assert "a[b]" in text
    assert "[red]" in text
    assert "_batch" not in text
    assert "list" not in text


def test_a_shell_is_told_what_it_lacks_and_never_its_own_secrets() -> None:
    own = {"AWS_PROFILE": "work", "AWS_SECRET_ACCESS_KEY": "secret", "HOME": "/h"}
    wanted = {"AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "http://127.0.0.1:1/a b"}
    assert shell_settings(own, wanted) == ["unset AWS_PROFILE", "export AWS_ENDPOINT_URL='http://127.0.0.1:1/a b'"]


def test_headsaw_is_called_as_it_was_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "headsaw"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin/headsaw", "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_name() == str(script)
    monkeypatch.setenv("PATH", str(script.parent))
    assert command_name() == "headsaw"
    monkeypatch.setattr(sys, "argv", ["/x/headsaw/__main__.py", "demo"])
    assert command_name() == f"{sys.executable} -m headsaw"
