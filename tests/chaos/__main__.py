"""`python -m tests.chaos --minutes 10`: see `run`. Exit status 1 if anything was wrong."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from tests.chaos.run import Plan, chaos


def main() -> int:
    """Runs it and prints what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long everything may fail")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--lease", type=float, default=5.0, help="seconds (at least 3)")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", type=float, default=0.25, help="the share of requests that meet a fault")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="headsaw-chaos-"))
    plan = Plan(chosen.minutes, chosen.workers, chosen.lease, chosen.seed, folder, chosen.faults)
    began = time.monotonic()

    def say(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - began:5.0f} s  {line}\n")
        sys.stdout.flush()

    say(f"logs are in {folder}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(chaos(plan, say))
    sys.stdout.write("\n".join(report.lines()) + "\n")
    if report.skipped and os.environ.get("CI"):
        sys.stdout.write("in CI nothing may be skipped\n")
        return 1
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
