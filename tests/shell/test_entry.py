"""The console script itself: how it ends before it has begun."""

import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize("after_seconds", [0.1, 0.3])
def test_ctrl_c_while_everything_is_loaded_is_quiet(after_seconds: float) -> None:
    code = "import headsaw.cli, sys; print(flush=True); sys.argv = ['headsaw', '--help']; headsaw.cli.main()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err == b""
    assert process.returncode == 130
