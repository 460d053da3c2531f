"""`python -m benchmarks.spark`: the delegated job against Spark's own JSON reader, in the same Spark, on two cores.

Both read the same files, a made web log, with the same table schema given, and write Parquet with zstd at level 1. The
job also keeps what the schema lacks, quarantines what is no JSON, and says of every row which line it was.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median

import pyarrow.compute as pc
import pyarrow.dataset as ds
from rich.console import Console

from benchmarks import tables
from benchmarks.__main__ import about
from benchmarks.synthetic import flat_lines
from headsaw.convert import Observer
from headsaw.core.conversion import SourceStream
from headsaw.core.inference import Rules, grow
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.operate.oneshot import LocalFile, Watch

MODES = {"headsaw, evolve": "evolve", "headsaw, rescue": "rescue"}
SPARK = "spark.read.json"
ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "benchmarks"
BLOCK_LINES = 500_000
SUMMED = ("bytes", "user_id", "status")
HEAD = ("tool", "MB/s", "MB/CPU-s", "seconds", "CPU-s", "peak MiB", "out MB", "files", "answer")
BEGIN, END = "<!-- make bench-spark -->", "<!-- end of make bench-spark -->"

Run = dict[str, float]


def main() -> None:
    """Make the input, run the tools in turn, print the table, and write it where asked to."""
    arguments = _arguments()
    console = Console(width=110, highlight=False)
    root = KEPT / f"spark-{arguments.gb:g}-{arguments.file_gb:g}"
    lines = _make(root, int(arguments.gb * 1e9), int(arguments.file_gb * 1e9))
    schema = _schema(root / "warm" / "landing")
    size = sum(path.stat().st_size for path in (root / "landing").iterdir())
    cells, speeds, spark = [], {}, ""
    sums: dict[str, int] = {}
    for tool in arguments.tools:
        runs: list[Run] = []
        for _ in range(arguments.rounds):
            taken, spark = _run(tool, root, schema, arguments.packages)
            runs.append(taken)
        answer = _answer(root / "lake", lines, sums, runs[-1])
        took = runs[-1] | {name: median(run[name] for run in runs) for name in runs[0]}
        speeds[tool] = took["seconds"]
        cells.append(_cells(tool, size, took, answer))
        console.print(tables.for_terminal(f"{size / 1e9:g} GB", HEAD, cells))
    ratios = [f"{tool}: {speeds[SPARK] / speeds[tool]:.2f} × as fast as {SPARK}" for tool in speeds if SPARK in speeds]
    notes = "\n".join(f"- {ratio}" for ratio in ratios if not ratio.startswith(SPARK))
    machine = about({"headsaw": version("headsaw"), "spark": spark})
    console.print(notes, machine, sep="\n\n")
    if arguments.write:
        command = f"    make bench-spark GB={arguments.gb:g} FILE_GB={arguments.file_gb:g} ROUNDS={arguments.rounds}"
        _write(arguments.write, f"{command}\n\n{machine}.\n\n{tables.as_markdown(HEAD, cells)}\n{notes}\n")
    if not arguments.keep:
        shutil.rmtree(root)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark", description=__doc__)
    names = [*MODES, SPARK]
    parser.add_argument("--packages", type=Path, required=True, help="the folder of packages that has pyspark")
    parser.add_argument("--gb", type=float, default=1.0, help="gigabytes of NDJSON (1)")
    parser.add_argument("--file-gb", type=float, default=1.0, help="gigabytes of a file (1)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each tool runs; the median counts (1)")
    parser.add_argument("--tools", nargs="+", choices=names, default=names, help="some of them")
    parser.add_argument("--write", type=Path, help=f"Markdown file with {BEGIN} and {END}, between which it goes")
    parser.add_argument("--keep", action="store_true", help="keep the input for another time")
    return parser.parse_args()


def _make(root: Path, size: int, file_bytes: int) -> int:
    """The files are there, made of one block of lines over and over; returns how many lines they have."""
    warm = root / "warm" / "landing"
    warm.mkdir(parents=True, exist_ok=True)
    landing = root / "landing"
    landing.mkdir(exist_ok=True)
    block = list(islice(flat_lines(), BLOCK_LINES))
    (warm / "0.ndjson").write_bytes(b"".join(block[:1000]))
    lines = 0
    for number in range(-(-size // file_bytes)):
        path, left = landing / f"{number:03}.ndjson", min(size - number * file_bytes, file_bytes)
        wanted = path.stat().st_size if path.exists() else 0
        with path.open("ab" if wanted else "wb") as stream:
            while left > 0:
                part, held = _cut(block, left)
                lines += len(part)
                left -= held
                if not wanted:
                    stream.write(b"".join(part))
    return lines


def _cut(block: Sequence[bytes], size: int) -> tuple[Sequence[bytes], int]:
    """As many lines as begin within the size, and their bytes."""
    held = 0
    for number, line in enumerate(block):
        if held >= size:
            return block[:number], held
        held += len(line)
    return block, held


def _schema(directory: Path) -> str:
    """Of the lines' keys, as Headsaw infers it."""
    settings = DatasetSettings.model_validate({"name": "bench", "source": "s3://landing/", "destination": "s3://lake/"})
    files: list[SourceStream] = [LocalFile(path, Watch(lambda _: None)) for path in directory.iterdir()]
    observer = Observer(settings, TableSchema())
    observer.take(files)
    return grow(TableSchema(), observer.seen, Rules.of(settings.table_schema)).to_json()


def _run(tool: str, root: Path, schema: str, packages: Path) -> tuple[Run, str]:
    """What it took, and Spark's version."""
    for directory in (root, root / "warm"):
        for name in ("lake", "control", "quarantine"):
            shutil.rmtree(directory / name, ignore_errors=True)
    ours = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}",
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = [sys.executable, "-m", "benchmarks.spark_runs", tool, str(root), schema]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **ours}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{tool}: exit status {done.returncode}: {done.stderr.strip()[-2000:]}")
    taken: dict[str, float] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return taken, str(taken.pop("spark"))


def _answer(lake: Path, lines: int, sums: dict[str, int], took: Run) -> str:
    """Right: as many rows as lines, and the same sums of integers as the tools before had; adds what was written."""
    paths = [path for path in lake.rglob("*.parquet") if not path.name.startswith(".")]
    took["output_bytes"] = sum(path.stat().st_size for path in paths)
    took["files"] = len(paths)
    table = ds.dataset(paths).to_table(columns=list(SUMMED))
    if table.num_rows != lines:
        return f"wrong: {table.num_rows} rows of {lines} lines"
    found = {name: pc.sum(table.column(name)).as_py() for name in SUMMED}
    sums.update(sums or found)
    return "right" if found == sums else f"wrong: sums {found}, {sums}"


def _cells(tool: str, size: int, took: Run, answer: str) -> tuple[str, ...]:
    return (
        tool,
        f"{size / 1e6 / took['seconds']:,.0f}",
        f"{size / 1e6 / took['cpu_seconds']:,.0f}",
        f"{took['seconds']:,.1f}",
        f"{took['cpu_seconds']:,.1f}",
        f"{took['peak_bytes'] / 2**20:,.0f}",
        f"{took['output_bytes'] / 1e6:,.0f}",
        f"{took['files']:.0f}",
        answer,
    )


def _write(path: Path, text: str) -> None:
    """The text stands between the marks."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{path} lacks the marks {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
