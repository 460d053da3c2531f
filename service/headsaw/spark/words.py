"""What Spark says of a job that failed: whose trouble that is, and what may be told of it.

Tasks answer with their troubles, so what fails by Spark's own words is a process that died, an executor that was lost,
or the environment. Which of these the data did, an application that was stopped only tells by its message.
"""

import re
from typing import Final

from headsaw.core.delegation import Trouble

REASON_CHARACTERS_MAX: Final = 500

_BY_THE_DATA: Final = re.compile(
    r"executor failures"  # YARN: "Max number of executor failures (6) reached"
    r"|OutOfMemory"  # Java's, in the driver or an executor
    r"|Task \d+ in stage [\d.]+ failed \d+ times"  # each in another process, which died of it
    r"|Master removed our application: FAILED",  # Spark's own clusters, whose executors kept dying
    re.IGNORECASE,
)
_ENVIRONMENT: Final = re.compile(
    r"^\s*((?:ModuleNotFoundError|ImportError|[\w.]*PySparkRuntimeError): .*)$|(\[PYTHON_VERSION_MISMATCH\].*)",
    re.MULTILINE,
)
"""Errors of Python's and pyspark's that name modules and versions, never data."""


def trouble_of(said: str, *, stopped: bool) -> Trouble:
    """An application that was stopped isn't the data's doing, unless Spark says that its processes kept dying."""
    return Trouble.OUTAGE if stopped and not _BY_THE_DATA.search(said) else Trouble.DATA


def reason_of(said: str) -> str:
    """Spark's first line, and what its Python processes lacked, if that was it: neither quotes a record."""
    first = said.strip().partition("\n")[0].strip()
    lacked = _ENVIRONMENT.findall(said)
    told = first if not lacked else f"{' '.join(lacked[-1]).strip()} ({first})"
    return f"Spark: {told[:REASON_CHARACTERS_MAX]}"
