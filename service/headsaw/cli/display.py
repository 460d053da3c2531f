"""How commands speak to people: numbers, ages, names that are no markup, and progress on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.markup import escape as plain
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from headsaw.cli.shared import err
from headsaw.operate.site import Progress as Told
from headsaw.operate.site import silent

__all__ = ["age", "count", "count_of", "moment", "plain", "progress_bar"]


def count(number: int) -> str:
    """With thousands set apart."""
    return f"{number:,}"


def count_of(number: int, thing: str, things: str | None = None) -> str:
    """`1 file`, `2 files`; `things` where the plural isn't made by an s."""
    return f"{count(number)} {thing if number == 1 else things or f'{thing}s'}"


def age(seconds: float | None) -> str:
    """In the largest unit that it has two of: `90s`, `45m`, `30h`, `12d`."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0.0):.0f}s"


def moment(at: float) -> str:
    """A time in UTC, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def progress_bar() -> Iterator[Told]:
    """What to tell the progress to. Silent where nobody watches; gone when the context ends."""
    if not err.is_terminal:
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(doing: str, done: int, total: int | None) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=total)
            bars.update(tasks[doing], completed=done, total=total)

        yield told
