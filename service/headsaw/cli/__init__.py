"""The `headsaw` command. Commands are thin: they load the configuration, call the library and show what it returns.

Exit status: 0 done; 1 the check found something, or the work failed; 2 usage or configuration.
"""

import os
import signal

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """The console script. Loading everything takes a moment, in which Ctrl-C ends it as quietly as later."""
    unheard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if unheard:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from headsaw.cli.root import main as run

    if unheard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
