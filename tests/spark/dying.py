"""A site whose tasks meet each trouble once: after a part of an output is stored, in whichever process that is."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsaw.spark.reach import AwsSite, Reach


@dataclass(frozen=True, slots=True)
class DyingSite:
    """`troubles` in their order: the `process` dies, its `executor` is killed.

    Files in the directory `marks` say which of them have been.
    """

    site: AwsSite
    marks: str
    troubles: tuple[str, ...]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Reach]:
        async with self.site.connect() as reach:
            store: Any = _Store(reach.store, self)
            yield Reach(store, reach.ledger, reach.clock)


class _Store:
    def __init__(self, store: Any, site: DyingSite) -> None:
        self._store = store
        self._site = site

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def upload_part(self, *upload: Any) -> Any:
        part = await self._store.upload_part(*upload)
        match next(filter(self._first, self._site.troubles), None):
            case "process":
                os._exit(9)
            case "executor":
                os.kill(_parent(os.getppid()), signal.SIGKILL)  # the parent is Spark's daemon for Python
        return part

    def _first(self, trouble: str) -> bool:
        """Nobody has met it before."""
        try:
            os.close(os.open(f"{self._site.marks}/{trouble}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("PPid:")[2].split()[0])
