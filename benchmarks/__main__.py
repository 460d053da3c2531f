"""`python -m benchmarks`: NDJSON to Parquet (zstd 1) by Headsaw and by other readers, in turn, and what each took."""

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import rightness, scaling, tables
from benchmarks.conversions import PARSERS, TOOLS
from benchmarks.corpora import CORPORA, Prepared, prepare
from benchmarks.runs import Tool, rounds
from headsaw.convert import native

SCALING = "scaling"
BEGIN, END = "<!-- make bench -->", "<!-- end of make bench -->"


def main() -> None:
    """Print the tables as they come, and write them where asked to."""
    arguments = _arguments()
    console = Console(width=100, highlight=False)
    tools = _tools(arguments)
    if not native.available():
        console.print("headsaw native is left out: it isn't built (it needs cargo; `make native` says more)")
    chosen = [corpus for corpus in CORPORA if corpus.name in arguments.only]
    sections = []
    versions: dict[str, str] = {"headsaw": version("headsaw")}
    prepared: list[Prepared] = []
    for corpus in chosen:
        with Console(stderr=True).status(f"making {corpus.name}") as status:
            ready = prepare(corpus, int(arguments.size_mb * 1e6))
            files = (ready.plain, ready.gzip)
            plain, zipped = (rounds(tools, ready, path, arguments.rounds, status.update) for path in files)
        prepared.append(ready)
        measured = tables.Measured(ready.line(), plain, zipped)
        versions |= {
            result.label.split(",")[0]: result.version for result in plain if result.is_peer and result.version
        }
        cells, notes = tables.rows(measured), tables.conclusions(measured)
        console.print(tables.for_terminal(measured.title, tables.HEAD, cells))
        console.print(*(f"headsaw native, {note}" for note in notes), "", sep="\n")
        sections.append(_section(measured.title, tables.HEAD, cells, notes))
    if SCALING in arguments.only:
        sections.append(_scaling(console, arguments, prepared))
    machine = about(versions)
    console.print(machine)
    if arguments.write:
        _write(arguments.write, "\n".join([_introduction(arguments, machine), *sections]))


def _arguments() -> argparse.Namespace:
    names = [corpus.name for corpus in CORPORA] + [SCALING]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--rounds", type=int, default=3, help="how often each tool runs; the best counts (3)")
    parser.add_argument("--size-mb", type=float, default=128, help="megabytes of NDJSON of each shape (128)")
    parser.add_argument("--only", type=_names(names), default=names, help=f"some of {','.join(names)}")
    parser.add_argument("--tools", type=_names(list(TOOLS)), default=list(TOOLS), help=f"some of {','.join(TOOLS)}")
    parser.add_argument("--write", type=Path, help=f"Markdown file with {BEGIN} and {END}, between which they go")
    return parser.parse_args()


class _names:  # noqa: N801 - an argument's type, called like a function
    def __init__(self, known: list[str]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if unknown := sorted(set(names) - set(self._known)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(self._known)}")
        return names or self._known


def _tools(arguments: argparse.Namespace) -> list[Tool]:
    return [
        Tool(name, sys.executable if name in PARSERS else arguments.python)
        for name in arguments.tools
        if PARSERS.get(name) != "native" or native.available()
    ]


def _section(title: str, head: tuple[str, ...], cells: list[tuple[str, ...]], notes: list[str]) -> str:
    name, _, rest = title.partition(": ")
    remarks = "\n".join(f"- headsaw native, {note}" for note in notes)
    return f"### {name}\n\n{rest}\n\n{tables.as_markdown(head, cells)}\n{remarks}\n"


def _scaling(console: Console, arguments: argparse.Namespace, prepared: list[Prepared]) -> str:
    tool = next((tool for tool in _tools(arguments) if PARSERS.get(tool.name) == "native"), None)
    problem = scaling.why_not() or ("" if tool else "the native parser isn't built or chosen")
    title = "scaling: a second core, wall time"
    if problem or tool is None:
        console.print(f"{title}: left out, {problem}\n")
        return f"### scaling\n\nLeft out: {problem}.\n"
    corpora = prepared[:2] or [prepare(CORPORA[0], int(arguments.size_mb * 1e6))]
    cells = scaling.measure(tool, corpora, arguments.rounds)
    console.print(tables.for_terminal(title, scaling.HEAD, cells), "")
    return _section(title, scaling.HEAD, cells, [])


def about(versions: dict[str, str]) -> str:
    """The machine, and what ran on it."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}; " + ", ".join(f"{name} {text}" for name, text in versions.items())
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown processor")


def _introduction(arguments: argparse.Namespace, about: str) -> str:
    options = f"ROUNDS={arguments.rounds} SIZE_MB={arguments.size_mb:g}"
    if len(arguments.only) <= len(CORPORA):
        options += f" ONLY={','.join(arguments.only)}"
    paragraphs = (rightness.__doc__ or "").strip().split("\n\n", 1)
    return f"    make bench {options}\n\n{about}.\n\n{paragraphs[1]}\n"


def _write(path: Path, text: str) -> None:
    """The text stands between the marks."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{path} lacks the marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
