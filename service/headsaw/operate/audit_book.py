"""The audit's scratch pad: what landed, what batches hold, what they promised, what is there; joined by SQLite.

It lives in a private file on disk that goes with the connection, so memory doesn't grow with the number of files.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from headsaw.core.model import FileIdentity

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE landed (scope TEXT, version TEXT, etag TEXT, size INT, at REAL, PRIMARY KEY (scope, version))
    WITHOUT ROWID;
CREATE TABLE held (scope TEXT, version TEXT, batch TEXT, fate INT);
CREATE INDEX held_by_file ON held (scope, version);
CREATE TABLE promised (place TEXT, size INT, batch TEXT, published INT);
CREATE INDEX promised_by_place ON promised (place);
CREATE TABLE found (place TEXT PRIMARY KEY, size INT, at REAL) WITHOUT ROWID;
CREATE TABLE lost (scope TEXT, version TEXT, etag TEXT, size INT, at REAL);
"""
_ROWS_AT_ONCE = 500


class Fate(IntEnum):
    """What became of a file in one batch, worst first: of several batches, the best one tells."""

    FAILED = 1
    REJECTED = 2
    PENDING = 3
    DONE = 4


class LandedRow(NamedTuple):
    """An object that landed. `at` in Unix seconds."""

    scope: str
    version: str
    etag: str
    size: int
    at: float

    @property
    def identity(self) -> FileIdentity:
        """The ledger's name of it."""
        return FileIdentity(self.scope, self.version)


class FoundRow(NamedTuple):
    """An object that is there; `place` is `bucket/key`."""

    place: str
    size: int
    at: float


class Twice(NamedTuple):
    """Something that belongs to several batches."""

    name: str
    batches: str


class Promise(NamedTuple):
    """An object of an accepted commit record, and the size that it has (None if it isn't there)."""

    place: str
    size: int
    batch: str
    actual: int | None


class AuditBook:
    """See the module. Used by one caller at a time."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """The scratch file is gone."""
        self._db.close()

    # --- what is known

    def land(self, rows: Sequence[LandedRow]) -> None:
        """These objects landed."""
        self._insert("INSERT OR REPLACE INTO landed VALUES (?, ?, ?, ?, ?)", rows)

    def hold(self, batch: str, identities: Sequence[tuple[FileIdentity, Fate]]) -> None:
        """The batch has these files."""
        rows = [(identity.scope, identity.version, batch, int(fate)) for identity, fate in identities]
        self._insert("INSERT INTO held VALUES (?, ?, ?, ?)", rows)

    def promise(self, batch: str, objects: Sequence[tuple[str, int]], *, published: bool) -> None:
        """The batch's commit record lists these objects (place, size); all must be there if it is `published`."""
        rows = [(place, size, batch, int(published)) for place, size in objects]
        self._insert("INSERT INTO promised VALUES (?, ?, ?, ?)", rows)

    def find(self, rows: Sequence[FoundRow]) -> None:
        """These objects are there."""
        self._insert("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", rows)

    def lose(self, row: LandedRow) -> None:
        """Nobody was ever notified of this object."""
        self._insert("INSERT INTO lost VALUES (?, ?, ?, ?, ?)", [row])

    def _insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(statement, rows)
        self._db.execute("COMMIT")

    # --- what follows

    def fates(self) -> dict[Fate, int]:
        """How many landed files have each fate; those that no batch has are in none."""
        rows = self._db.execute(
            "SELECT fate, COUNT(*) FROM (SELECT MAX(fate) AS fate FROM landed JOIN held USING (scope, version)"
            " GROUP BY scope, version) GROUP BY fate"
        )
        return dict.fromkeys(Fate, 0) | {Fate(fate): count for fate, count in rows}

    def landed(self) -> int:
        """How many objects landed."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM landed").fetchone()
        return int(count)

    def found(self) -> int:
        """How many objects are there that a commit record lists."""
        (count,) = self._db.execute(
            "SELECT COUNT(*) FROM found WHERE EXISTS (SELECT 1 FROM promised WHERE promised.place = found.place)"
        ).fetchone()
        return int(count)

    def unheld(self) -> Iterator[LandedRow]:
        """Landed files that no batch has."""
        for row in self._paged(
            "SELECT l.* FROM landed l LEFT JOIN held h USING (scope, version) WHERE h.batch IS NULL"
        ):
            yield LandedRow(*row)

    def lost(self) -> Iterator[LandedRow]:
        """Objects that nobody was ever notified of."""
        for row in self._paged("SELECT * FROM lost"):
            yield LandedRow(*row)

    def held_twice(self) -> Iterator[Twice]:
        """Files that several batches published."""
        for scope, batches in self._paged(
            f"SELECT scope, GROUP_CONCAT(batch, ', ') FROM held WHERE fate = {int(Fate.DONE)}"  # noqa: S608 - a number
            " GROUP BY scope, version HAVING COUNT(*) > 1"
        ):
            yield Twice(scope, batches)

    def promised_twice(self) -> Iterator[Twice]:
        """Objects that several commit records list."""
        for row in self._paged(
            "SELECT place, GROUP_CONCAT(batch, ', ') FROM promised GROUP BY place HAVING COUNT(*) > 1"
        ):
            yield Twice(*row)

    def broken_promises(self) -> Iterator[Promise]:
        """Objects of published batches that aren't there, or have another size."""
        for row in self._paged(
            "SELECT p.place, p.size, p.batch, f.size FROM promised p LEFT JOIN found f USING (place)"
            " WHERE p.published AND (f.size IS NULL OR f.size != p.size)"
        ):
            yield Promise(*row)

    def unpromised(self, since: float) -> Iterator[FoundRow]:
        """Objects that no commit record lists, from `since` on."""
        for row in self._paged(
            "SELECT f.* FROM found f LEFT JOIN promised p USING (place) WHERE p.batch IS NULL AND f.at >= ?", since
        ):
            yield FoundRow(*row)

    def _paged(self, query: str, *arguments: object) -> Iterator[Any]:
        rows = self._db.execute(query, arguments)
        while page := rows.fetchmany(_ROWS_AT_ONCE):
            yield from page
