"""The results as tables: for a terminal of 100 columns, and as Markdown."""

from dataclasses import dataclass

from rich.table import Table

from benchmarks.runs import Result

NATIVE = "headsaw native"
HEAD = ("tool", "MB/CPU-s", "gzip", "MB/s", "gzip", "peak MiB", "out MB", "answer")


@dataclass(frozen=True, slots=True)
class Measured:
    """A corpus' results, plain and gzip."""

    title: str
    plain: list[Result]
    gzip: list[Result]

    def pairs(self) -> list[tuple[str, Result | None, Result | None]]:
        """By tool; None where it had no reason to run."""
        plain, zipped = ({result.label: result for result in results} for results in (self.plain, self.gzip))
        return [(label, plain.get(label), zipped.get(label)) for label in plain | zipped]


def rows(measured: Measured) -> list[tuple[str, ...]]:
    """The table's cells. Speeds of wrong answers stand in brackets."""
    table = []
    for label, plain, zipped in measured.pairs():
        either = [result for result in (plain, zipped) if result is not None and result.converted]
        peak = f"{max(result.peak_bytes for result in either) / 2**20:,.0f}" if either else ""
        size = f"{either[0].output_bytes / 1e6:,.1f}" if either else ""
        speeds = [_speed(result, kind) for kind in ("mb_per_cpu_second", "mb_per_second") for result in (plain, zipped)]
        table.append((label, *speeds, peak, size, _answer(plain, zipped)))
    return table


def _speed(result: Result | None, kind: str) -> str:
    if result is None or not result.converted:
        return "–"
    text = f"{getattr(result, kind):,.0f}"
    return f"({text})" if result.fault else text


def _answer(plain: Result | None, zipped: Result | None) -> str:
    faults = [result.fault or "right" for result in (plain, zipped) if result is not None]
    if len(set(faults)) == 1:
        return faults[0] if plain and zipped else f"{'plain' if plain else 'gzip'}: {faults[0]}"
    return f"plain: {faults[0]}; gzip: {faults[1]}"


def conclusions(measured: Measured) -> list[str]:
    """How Headsaw's native parser compares with the fastest peer, right or wrong, and with the smallest output."""
    return [
        line
        for kind, results in (("plain", measured.plain), ("gzip", measured.gzip))
        for line in [_conclusion(kind, results)]
        if line
    ]


def _conclusion(kind: str, results: list[Result]) -> str:
    mine = next((result for result in results if result.label == NATIVE and result.converted), None)
    peers = [result for result in results if result.is_peer and result.converted]
    if mine is None or not peers:
        return ""
    fastest = max(peers, key=lambda result: result.mb_per_cpu_second)
    smallest = min(peers, key=lambda result: result.output_bytes)
    right = [peer for peer in peers if not peer.fault]
    text = f"{kind}: {_times(mine, fastest)} the fastest peer's MB/CPU-s ({_named(fastest)})"
    if fastest.fault and right:
        best = max(right, key=lambda result: result.mb_per_cpu_second)
        text += f", {_times(mine, best)} the fastest right one's ({best.label})"
    elif fastest.fault:
        text += ", and no peer is right"
    sizes = f"; output {mine.output_bytes / fastest.output_bytes:.2f} × the fastest's"
    return text + f"{sizes}, {mine.output_bytes / smallest.output_bytes:.2f} × the smallest ({_named(smallest)})"


def _times(mine: Result, other: Result) -> str:
    return f"{mine.mb_per_cpu_second / other.mb_per_cpu_second:.2f} ×"


def _named(result: Result) -> str:
    return result.label + (", wrong" if result.fault else "")


def for_terminal(title: str, head: tuple[str, ...], cells: list[tuple[str, ...]]) -> Table:
    """A table that fits 100 columns: the last cell wraps."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, width=100, pad_edge=False)
    for number, name in enumerate(head):
        text = number in (0, len(head) - 1)
        table.add_column(name, justify="left" if text else "right", no_wrap=name != head[-1], overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def as_markdown(head: tuple[str, ...], cells: list[tuple[str, ...]]) -> str:
    """The table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 2) + "|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join(lines) + "\n"
