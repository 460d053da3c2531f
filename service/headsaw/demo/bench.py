"""`make bench-e2e`: one worker against a backlog of small files, on the embedded AWS.

Measures what doesn't depend on the emulator, which shares the machine: the worker's CPU a file, its requests and the
ledger's write units a file; and files a second, which does. Prints a table for docs/benchmarks.md.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from headsaw.demo.feed import Truth, feed
from headsaw.demo.fleet import Fleet
from headsaw.demo.plan import Plan
from headsaw.demo.show import Site
from headsaw.telemetry.metrics import WRITE_UNITS, api_calls, single_value

FILES = 10_000
FILE_BYTES = 10_000
WATCH_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. CPU without what an idle worker needs to start."""

    files: int
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    calls: dict[str, dict[str, int]]
    write_units: float

    def table(self) -> str:
        """Markdown, figures per file."""
        sqs = sum(self.calls.get("sqs", {}).values())
        s3 = sum(self.calls.get("s3", {}).values())
        dynamodb = sum(self.calls.get("dynamodb", {}).values())
        rows = [
            ("files a second (the emulator shares the cores)", f"{self.files / self.seconds:.0f}"),
            ("worker CPU a file", f"{1000 * self.cpu_seconds / self.files:.2f} ms"),
            ("files a second and core of worker CPU", f"{self.files / self.cpu_seconds:.0f}"),
            ("DynamoDB write units a file", f"{self.write_units / self.files:.2f}"),
            ("DynamoDB requests a file", f"{dynamodb / self.files:.3f}"),
            ("SQS requests a file", f"{sqs / self.files:.3f}"),
            ("S3 requests a file", f"{s3 / self.files:.3f}"),
            ("largest resident memory", f"{self.peak_rss_bytes / 2**20:.0f} MiB"),
        ]
        lines = [f"| {self.files:,} files of {FILE_BYTES / 1000:g} KB, one worker | |", "|---|---|"]
        return "\n".join([*lines, *(f"| {what} | {figure} |" for what, figure in rows)])


async def measure(plan: Plan, site: Site, fleet: Fleet) -> Measured:
    """The backlog is landed first; then one worker runs until all of it is published."""
    truth = Truth()
    await feed(plan, site.store, site.queue, truth)
    # Said to the person who waits, not logged.
    sys.stderr.write(f"{truth.files} files landed, {truth.messages} messages wait; starting one worker\n")
    await fleet.start()
    await fleet.all_answer()
    began, before = time.monotonic(), fleet.used()
    while not await _drained(site):  # noqa: ASYNC110 - the ledger sends no events
        await asyncio.sleep(WATCH_SECONDS)
    seconds, after = time.monotonic() - began, fleet.used()
    pages = await fleet.metrics()
    await fleet.stop()
    return Measured(
        files=truth.files,
        seconds=seconds,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        peak_rss_bytes=after.peak_rss_bytes,
        calls=api_calls(pages[0]),
        write_units=single_value(pages[0], WRITE_UNITS),
    )


async def _drained(site: Site) -> bool:
    depth = await site.queue.depth()
    if depth.visible or depth.in_flight or depth.delayed:
        return False
    return all([batch.state.terminal async for batch in site.ledger.batches()])


def bench_plan(output: Path) -> Plan:
    """Clean files: damage is the demo's matter."""
    files = int(os.environ.get("BENCH_FILES", FILES))
    return replace(Plan(), files=files, file_bytes=FILE_BYTES, workers=1, output=output, benchmark=True)
