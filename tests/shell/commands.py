"""Runs the `headsaw` command in this process, as a shell would see it."""

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from headsaw.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        document: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        assert document["format"] == 1
        return document


class Shell:
    """`run` is the command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *words: object) -> Ran:
        """The command ended; whatever it printed is taken."""
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["headsaw", *map(str, words)])
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        else:
            status = 0
        captured = self._capsys.readouterr()
        return Ran(status, captured.out, captured.err)
