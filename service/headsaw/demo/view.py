"""What a person sees while the demo runs: a live table on a terminal, a line now and then elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headsaw.core.model import BatchState
from headsaw.demo.feed import Truth
from headsaw.demo.fleet import Fleet

LINE_SECONDS = 5.0
_FLOW = (BatchState.READY, BatchState.RUNNING, BatchState.PUBLISHING, BatchState.DONE)


@dataclass(slots=True)
class Progress:
    """How far the demo has come; updated by whoever watches."""

    truth: Truth
    fleet: Fleet
    queued: int = 0
    in_flight: int = 0
    states: Counter[BatchState] = field(default_factory=Counter)
    files_done: int = 0
    rows: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def line(self) -> str:
        """All of it on one line."""
        return (
            f"{self.seconds:4.0f} s  {self.truth.files} files landed, {self.queued} messages waiting, "
            f"{self.states[BatchState.DONE]} batches done, {self.files_done} files published, {self.rows} rows"
            + (f", {self.fleet.kills} workers killed" if self.fleet.kills else "")
        )

    @property
    def seconds(self) -> float:
        """Since the demo's workers were started."""
        return time.monotonic() - self.began

    def table(self) -> Table:
        """For a terminal of 80 columns."""
        table = Table(title="headsaw demo", title_justify="left", box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        done = "" if self.truth.finished else " (still landing)"
        table.add_row("landed", f"{self.truth.files} files, {self.truth.messages} messages{done}")
        table.add_row("queue", f"{self.queued} waiting, {self.in_flight} in flight")
        table.add_row("batches", self._batches())
        table.add_row("published", f"{self.files_done} files, {self.rows} rows")
        table.add_row("workers", self._workers())
        table.add_row("time", f"{self.seconds:.0f} s")
        return table

    def _batches(self) -> Text:
        text = Text()
        for state in (*_FLOW, *(s for s in BatchState if s not in _FLOW and self.states[s])):
            style = "green" if state is BatchState.DONE else "red" if state is BatchState.FAILED else ""
            text.append(f"{state.value.lower()} {self.states[state]}   ", style)
        return text

    def _workers(self) -> str:
        alive = sum(worker.alive for worker in self.fleet.workers)
        killed = f", {self.fleet.kills} killed with -9 and restarted" if self.fleet.kills else ""
        return f"{alive} of {len(self.fleet.workers)} running{killed}"


class View:
    """Shows a `Progress` again and again."""

    def __init__(self, console: Console, live: Live | None, progress: Progress) -> None:
        self._console = console
        self._live = live
        self._progress = progress
        self._last_line = time.monotonic()

    def refresh(self) -> None:
        """What is shown is current; without a terminal, at most a line every few seconds."""
        if self._live is not None:
            self._live.update(self._progress.table(), refresh=True)
        elif time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            self._console.print(self._progress.line)


@contextmanager
def showing(console: Console, progress: Progress) -> Iterator[View]:
    """A live table where the console is a terminal."""
    if not console.is_terminal:
        yield View(console, None, progress)
        return
    with Live(progress.table(), console=console, auto_refresh=False, transient=True) as live:
        yield View(console, live, progress)
