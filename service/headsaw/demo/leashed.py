"""`python -m headsaw.demo.leashed …` is `headsaw …` that ends when its standard input does.

A demo's worker is started so: whatever way the demo dies, the pipe that it held ends, and the worker with it.
"""

import os
import runpy
import sys
import threading

ABANDONED = 1
"""Exit status, for nobody: whoever would read it is gone."""


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os._exit(ABANDONED)  # at once: leases run out, and the AWS that it spoke to is probably gone too


if __name__ == "__main__":
    threading.Thread(target=_watch, name="leash", daemon=True).start()
    sys.argv[0] = "headsaw"
    runpy.run_module("headsaw", run_name="__main__", alter_sys=True)
