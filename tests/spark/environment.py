"""The environment of local Spark runs, as `make test` makes it; tests that need it are skipped without, never in CI."""

import os
import shutil
import sys
from pathlib import Path

import pytest

PYTHON = Path(sys.prefix) / "spark" / "bin" / "python"


def need_spark() -> None:
    """Returns where Java and the environment are."""
    missing = _missing()
    if missing is not None and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing is not None:
        pytest.skip(missing)


def _missing() -> str | None:
    if shutil.which("java") is None:
        return "Spark needs Java 17, which isn't here"
    return None if PYTHON.exists() else "the Spark environment isn't there: `make spark` makes it"
