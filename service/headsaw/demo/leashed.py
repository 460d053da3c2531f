"""`python -m headsaw.demo.leashed …` is `headsaw …` that ends when its standard input does.

A demo's worker is started so: whatever way the demo dies, the pipe that it held ends, and the worker with it, and the
Spark runs in the folder that HEADSAW_DEMO_RUNS names, which by themselves outlive any worker.
"""

import os
import runpy
import sys
import threading
from pathlib import Path

from headsaw.detached import stop_all

RUNS_VARIABLE = "HEADSAW_DEMO_RUNS"
ABANDONED = 1
"""Exit status, for nobody: whoever would read it is gone."""


def _watch(runs: str) -> None:
    while os.read(0, 4096):
        pass
    if runs:
        stop_all(Path(runs))
    os._exit(ABANDONED)  # at once: leases run out, and the AWS that it spoke to is probably gone too


if __name__ == "__main__":
    runs = os.environ.pop(RUNS_VARIABLE, "")
    threading.Thread(target=_watch, args=(runs,), name="leash", daemon=True).start()
    sys.argv[0] = "headsaw"
    runpy.run_module("headsaw", run_name="__main__", alter_sys=True)
