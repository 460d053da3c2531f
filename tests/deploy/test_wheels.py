"""The wheels work in an environment that has neither the sources nor cargo."""

import json
import os
import shutil
from pathlib import Path

import pytest
from rendering import ROOT, run

HEADSAW = ROOT / ".venv" / "installed" / "bin" / "headsaw"
NATIVE_STAMP = ROOT / ".venv" / ".native"
BARE = {"PATH": str(HEADSAW.parent), "LC_ALL": "C.UTF-8"}


@pytest.fixture(autouse=True)
def _wheels() -> None:
    if not HEADSAW.exists():
        pytest.skip("the wheels aren't installed: run `make wheels`")
    if not NATIVE_STAMP.exists():
        told = "the native parser isn't built: run `make native`"
        if os.environ.get("CI") and shutil.which("cargo"):
            pytest.fail(told)
        pytest.skip(told)


def test_the_installed_command_says_that_it_parses_natively() -> None:
    assert shutil.which("cargo", path=BARE["PATH"]) is None
    shown = run(HEADSAW, "--version", env=BARE)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.endswith("(parser: native)\n")


def test_the_installed_command_converts_natively(tmp_path: Path) -> None:
    source = tmp_path / "a.ndjson"
    source.write_text('{"id":1}\n{"id":2,"price":0.1}\nno record\n')
    shown = run(HEADSAW, "convert", source, tmp_path / "lake", "--json", env=BARE)
    assert (shown.returncode, shown.stderr) == (0, "")
    told = json.loads(shown.stdout.splitlines()[-1])
    assert (told["parser"], told["rows"], told["quarantined"]) == ("native", 2, 1)
