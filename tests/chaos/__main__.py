"""`python -m tests.chaos --minutes 10`: see `run`. Exit status 1 if anything was wrong."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop
from tests.chaos.run import Plan, Report, chaos


def main() -> int:
    """Runs it and prints what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long everything may fail")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--lease", type=float, default=5.0, help="seconds (at least 3)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", type=float, default=0.35, help="the share of requests that meet a fault")
    parser.add_argument("--leases-to-done", type=float, default=3.0, help="the p99 allowed after the faults")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headsaw-chaos-"))
    plan = Plan(chosen.minutes, chosen.workers, chosen.lease, chosen.seed, folder, chosen.faults, chosen.leases_to_done)
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:5.0f} s  {line}\n")
        sys.stdout.flush()

    say(f"logs are in {folder}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(_until_told(chaos(plan, say)))
    sys.stdout.write("\n".join(report.lines()) + "\n")
    if report.skipped and os.environ.get("CI"):
        sys.stdout.write("in CI nothing may be skipped\n")
        return 1
    return 1 if report.wrong else 0


async def _until_told(work: Coroutine[Any, Any, Report]) -> Report:
    """SIGTERM ends it as Ctrl-C does: nothing is left running or mounted."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


if __name__ == "__main__":
    sys.exit(main())
