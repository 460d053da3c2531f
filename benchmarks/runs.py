"""Runs: each in a process of its own, round after round, and what the best of them took."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.conversions import PARSERS
from benchmarks.corpora import Prepared
from benchmarks.rightness import Answer, fault

ROOT = Path(__file__).resolve().parents[1]
RUN_SECONDS_MAX = 900
_FAULT_CHARACTERS = 110


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and whether it looks at every line before it settles on a schema."""

    name: str
    python: str
    whole: bool = False

    @property
    def label(self) -> str:
        """Its name in tables."""
        return self.name + (", all lines" if self.whole else "")

    @property
    def is_peer(self) -> bool:
        """Whether it is somebody else's."""
        return self.name not in PARSERS


@dataclass(frozen=True, slots=True)
class Result:
    """One tool on one file: the best of its rounds; `fault` is empty where the answer is right."""

    label: str
    is_peer: bool
    fault: str
    version: str = ""
    mb_per_cpu_second: float = 0.0
    mb_per_second: float = 0.0
    peak_bytes: int = 0
    output_bytes: int = 0

    @property
    def converted(self) -> bool:
        """Whether there was an answer, right or wrong."""
        return self.output_bytes > 0

    def best(self, other: "Result") -> "Result":
        """Both rounds' better speeds, and the higher peak of memory."""
        return replace(
            self,
            mb_per_cpu_second=max(self.mb_per_cpu_second, other.mb_per_cpu_second),
            mb_per_second=max(self.mb_per_second, other.mb_per_second),
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )


def convert(tool: Tool, sources: Sequence[Path], directory: Path, *options: str) -> dict[str, object]:
    """What `benchmarks.conversions` said; "error" if it crashed or took too long."""
    more = (*options, "--whole") if tool.whole else options
    command = [tool.python, "-m", "benchmarks.conversions", tool.name, str(directory), *map(str, sources), *more]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=RUN_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"no end after {RUN_SECONDS_MAX} s"}
    last = done.stdout.decode(errors="replace").strip().rsplit("\n", 1)[-1]
    if done.returncode or not last.startswith("{"):
        return {"error": f"exit status {done.returncode}: {done.stderr.decode(errors='replace').strip()[-200:]}"}
    return dict(json.loads(last))


def run(tool: Tool, corpus: Prepared, source: Path, check: bool) -> Result:
    """One run; its answer is looked at if `check`."""
    with tempfile.TemporaryDirectory(dir=corpus.plain.parent) as name:
        directory = Path(name)
        said = convert(tool, [source], directory)
        if "error" in said:
            return Result(tool.label, tool.is_peer, _shortened("fails: " + str(said["error"])))
        paths = tuple(sorted(directory.glob("**/*.parquet")))
        schema = said.get("schema")
        wrong = fault(corpus, Answer(paths, schema if isinstance(schema, list) else None)) if check else ""
        size = corpus.ndjson_bytes / 1e6
        return Result(
            tool.label,
            tool.is_peer,
            _shortened(f"wrong: {wrong}") if wrong else "",
            str(said["version"]),
            size / max(1e-9, float(str(said["cpu_seconds"]))),
            size / max(1e-9, float(str(said["wall_seconds"]))),
            int(str(said["peak_bytes"])),
            sum(path.stat().st_size for path in paths),
        )


def _shortened(text: str) -> str:
    text = text.replace(f"{Path.cwd()}/", "")
    text = " ".join(text.split())
    return text if len(text) <= _FAULT_CHARACTERS else text[: _FAULT_CHARACTERS - 1] + "…"


def rounds(
    tools: list[Tool], corpus: Prepared, source: Path, number: int, say: Callable[[str], object]
) -> list[Result]:
    """Each tool's best of `number` rounds, in which the tools take turns.

    A peer whose answer with its defaults is wrong also runs inferring its schema from every line.
    """
    results: dict[Tool, Result] = {}
    for tool in tools:
        say(f"{source.name}: {tool.label}")
        results[tool] = run(tool, corpus, source, check=True)
        if results[tool].fault and tool.is_peer:
            second = replace(tool, whole=True)
            results[second] = run(second, corpus, source, check=True)
    for round_ in range(2, number + 1):
        for tool, result in results.items():
            if result.converted:
                say(f"{source.name}: {tool.label}, round {round_}")
                results[tool] = result.best(run(tool, corpus, source, check=False))
    return list(results.values())
