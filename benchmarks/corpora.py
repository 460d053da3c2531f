"""What is converted: four shapes of NDJSON, plain and gzip, made once, with the facts that tell a right answer."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import github_shape, published, synthetic

KEPT = Path("build/benchmarks")
VERSION = 1
"""Raised when the lines change, so that kept files are made again."""
_GZIP_LEVEL = 6
_PART_BYTES = 1 << 20


@dataclass(slots=True)
class Column:
    """A top-level key over all lines: how often it isn't null, and sums to compare where its values are of one type."""

    present: int = 0
    integers: int = 0
    integer_sum: int = 0
    texts: int = 0
    characters: int = 0

    def add(self, value: Any) -> None:
        """One more value, not null."""
        self.present += 1
        if type(value) is int:
            self.integers += 1
            self.integer_sum += value
        elif type(value) is str:
            self.texts += 1
            self.characters += len(value)


@dataclass(slots=True)
class Facts:
    """What is known of a file's lines, all of which are objects."""

    rows: int = 0
    ndjson_bytes: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)

    def add(self, line: bytes) -> None:
        """One more line."""
        self.rows += 1
        self.ndjson_bytes += len(line)
        record = json.loads(line)
        for name, value in record.items():
            if value is not None:
                self.columns.setdefault(name, Column()).add(value)
        _add_paths(record, "", self.paths)


def _add_paths(value: Any, path: str, paths: set[str]) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            _add_paths(member, f"{path}/{name}", paths)
    elif isinstance(value, list):
        for item in value:
            _add_paths(item, f"{path}/*", paths)
    else:
        paths.add(path)


@dataclass(frozen=True, slots=True)
class Corpus:
    """One shape; `key` is a member by which a row is found again where a tool changes their order."""

    name: str
    key: str
    made: str
    real: str
    lines: Callable[[int], tuple[bool, Iterable[bytes]]]
    """For a size in bytes: whether published lines are in it, and lines without end, or as many as there are."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A corpus on disk."""

    name: str
    key: str
    title: str
    plain: Path
    gzip: Path
    rows: int
    ndjson_bytes: int
    paths: int
    columns: dict[str, Column]

    def line(self) -> str:
        """What it is, on a line."""
        size = f"{self.ndjson_bytes / 1e6:,.0f} MB"
        return (
            f"{self.name}: {self.title}; {size}, {self.rows:,} lines, {len(self.columns)} columns, {self.paths} paths"
        )


def _flat(size: int) -> tuple[bool, Iterable[bytes]]:
    return False, synthetic.flat_lines()


def _nested(size: int) -> tuple[bool, Iterable[bytes]]:
    return False, synthetic.nested_lines()


def _gharchive(size: int) -> tuple[bool, Iterable[bytes]]:
    events = published.github_events()
    return bool(events), published.copies(events) if events else github_shape.gharchive_lines()


def _sparse(size: int) -> tuple[bool, Iterable[bytes]]:
    files = published.windows_events()
    return bool(files), published.copies(published.heads(files, size)) if files else synthetic.sparse_lines()


CORPORA = (
    Corpus("flat", "session", "a web log", "", _flat),
    Corpus("nested", "id", "code host events, structs and lists of structs", "", _nested),
    Corpus("gharchive", "id", "events shaped like GitHub's (made)", "230 published GitHub events, varied", _gharchive),
    Corpus("sparse", "Message", "events shaped like Windows' (made)", "published Windows event logs", _sparse),
)


def prepare(corpus: Corpus, size: int) -> Prepared:
    """The corpus is on disk, at least `size` bytes and at most one line more; made anew unless it is kept."""
    real, lines = corpus.lines(size)
    stem = KEPT.absolute() / f"{VERSION}-{size}{'-real' if real else ''}" / corpus.name
    plain, zipped, about = stem.with_suffix(".ndjson"), stem.with_suffix(".ndjson.gz"), stem.with_suffix(".json")
    if not about.exists():
        stem.parent.mkdir(parents=True, exist_ok=True)
        facts = write(lines, size, plain, zipped)
        columns_kept = {name: asdict(column) for name, column in facts.columns.items()}
        counts = {"rows": facts.rows, "ndjson_bytes": facts.ndjson_bytes, "paths": len(facts.paths)}
        about.write_text(json.dumps(counts | {"columns": columns_kept}))
    kept = json.loads(about.read_text())
    columns = {name: Column(**column) for name, column in kept.pop("columns").items()}
    title = corpus.real if real else corpus.made
    return Prepared(corpus.name, corpus.key, title, plain, zipped, **kept, columns=columns)


def write(lines: Iterable[bytes], size: int, plain: Path, zipped: Path) -> Facts:
    """Both files hold the same lines, up to the one that reaches the size."""
    facts = Facts()
    with plain.open("wb") as out, gzip.GzipFile(zipped, "wb", _GZIP_LEVEL, mtime=0) as packed:
        for part in _parts(lines, size, facts):
            out.write(part)
            packed.write(part)
    return facts


def _parts(lines: Iterable[bytes], size: int, facts: Facts) -> Iterator[bytes]:
    part: list[bytes] = []
    length = 0
    for line in lines:
        facts.add(line)
        part.append(line)
        length += len(line)
        if length >= _PART_BYTES or facts.ndjson_bytes >= size:
            yield b"".join(part)
            part, length = [], 0
        if facts.ndjson_bytes >= size:
            return
