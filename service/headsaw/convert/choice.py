"""Which parser is used: the native one where it is installed in the version that goes with this one, or the reference.

HEADSAW_PARSER=native or =reference asks for one. An installed native parser that isn't used is never passed over
in silence.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata

from headsaw.convert import native
from headsaw.convert.native import NativeParser
from headsaw.convert.reference import ReferenceParser
from headsaw.errors import UsageError


@dataclass(frozen=True, slots=True)
class ParserChoice:
    """The parser in use; `passed_over` says why an installed native parser isn't, where nobody asked for that."""

    parser: type[NativeParser] | type[ReferenceParser]
    passed_over: str = ""

    @property
    def name(self) -> str:
        """`native` or `reference`."""
        return self.parser.name

    def __str__(self) -> str:
        return f"{self.name}; {self.passed_over}" if self.passed_over else self.name


def parser_choice() -> ParserChoice:
    """What this environment asks for and has; raises UsageError as `choose` does."""
    return choose(os.environ.get("HEADSAW_PARSER", ""), usable=native.available(), installed=_installed())


def choose(wanted: str, *, usable: bool, installed: str | None) -> ParserChoice:
    """`native` or `reference` as wanted, or by default the native parser where it is usable.

    `installed` is the version of headsaw-native, if any. Raises UsageError for another name, and where the native
    parser is asked for and isn't usable.
    """
    match wanted:
        case "reference":
            return ParserChoice(ReferenceParser)
        case "" | "native" if usable:
            return ParserChoice(NativeParser)
        case "":
            return ParserChoice(ReferenceParser, _unusable(installed))
        case "native":
            reason = _unusable(installed) or "headsaw_native isn't installed"
            raise UsageError(f"HEADSAW_PARSER=native, but {reason}: `make native` builds it")
        case _:
            raise UsageError(f"HEADSAW_PARSER={wanted}: there are native and reference")


def _unusable(installed: str | None) -> str:
    """Why the installed version isn't used; nothing where none is installed."""
    if installed is None:
        return ""
    if installed == native.VERSION:
        return f"headsaw_native {installed} is installed and can't be loaded"
    return f"headsaw_native {installed} is installed and {native.VERSION} is needed"


@lru_cache(maxsize=1)
def _installed() -> str | None:
    try:
        return metadata.version("headsaw-native")
    except metadata.PackageNotFoundError:
        return None
