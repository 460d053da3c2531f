"""Strict JSON that loses nothing: RFC 8259, one object a line, and numbers that keep their text.

A decoded value is None, bool, str, list, dict, int (an integer within int64), or bytes: the text of any other number.
Checks come in a fixed order, so that every parser names the same reason: UTF-8, nesting, grammar, being an object,
distinct keys, surrogates.
"""

import json
import re
import sys
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import NoReturn, cast

from headsaw.core.conversion import LineReason

Json = None | bool | int | bytes | str | list["Json"] | dict[str, "Json"]

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_NOT_A_BRACKET = re.compile(r"[^\[\]{}]+")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_NEGATIVE_ZERO = re.compile(r"-0[ \t\r\n,\]}]")
SPACE = " \t\r\n"


class BadLine(Exception):  # noqa: N818 - a verdict, not an error
    """A line isn't a valid record; expected, and caught by the parser."""

    def __init__(self, reason: LineReason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason)


class _DuplicateKey(ValueError):  # noqa: N818 - a verdict, not an error
    pass


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateKey
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _exact_int(text: str) -> int | bytes:
    if len(text) <= 20 and text != "-0":
        value = int(text)
        if INT64_MIN <= value <= INT64_MAX:
            return value
    return text.encode()


_Scan = Callable[[str, int], tuple[Json, int]]


def _scanner(hook: Callable[[list[tuple[str, Json]]], dict[str, Json]], integer: Callable[[str], int | bytes]) -> _Scan:
    decoder = json.JSONDecoder(
        object_pairs_hook=hook,
        parse_float=cast("Callable[[str], float]", str.encode),
        parse_int=cast("Callable[[str], int]", integer),
        parse_constant=_refuse_constant,
    )
    return cast("_Scan", vars(decoder)["scan_once"])


scan: _Scan = _scanner(_unique, int)
"""Decodes the value that starts at an index; fast, but leaves big integers and -0 to `decode`."""

_scan_exact = _scanner(_unique, _exact_int)
_scan_grammar = _scanner(dict, _exact_int)


def needs_care(text: str) -> bool:
    """Some line of the text may hold what `scan` alone gets wrong: an escaped surrogate, or a negative zero."""
    return ("\\u" in text and _SURROGATE_ESCAPE.search(text) is not None) or _NEGATIVE_ZERO.search(text) is not None


def allow_depth(depth: int) -> None:
    """Recursive code over values of that nesting runs. The interpreter's limit suffices for the default depth."""
    wanted = 2 * depth + 400
    if sys.getrecursionlimit() < wanted:
        sys.setrecursionlimit(wanted)


def too_deep(line: str, depth_max: int) -> bool:
    """Brackets outside strings nest deeper than the limit, whether or not the line is JSON."""
    if len(line) <= depth_max or line.count("{") + line.count("[") <= depth_max:
        return False
    depth = 0
    for bracket in _NOT_A_BRACKET.sub("", _STRING.sub("", line)):
        depth += 1 if bracket in "[{" else -1
        if depth > depth_max:
            return True
    return False


def decode(line: str, depth_max: int) -> dict[str, Json]:
    """The record that a line is; raises BadLine with the first reason that applies."""
    if too_deep(line, depth_max):
        raise BadLine(LineReason.TOO_DEEP)
    try:
        value = _whole(_scan_exact, line)
    except _DuplicateKey:
        value = _whole(_scan_grammar, line)
        reason = LineReason.DUPLICATE_KEY if isinstance(value, dict) else LineReason.NOT_AN_OBJECT
        raise BadLine(reason) from None
    if not isinstance(value, dict):
        raise BadLine(LineReason.NOT_AN_OBJECT)
    if _SURROGATE_ESCAPE.search(line) is not None and not _encodable(value):
        raise BadLine(LineReason.LONE_SURROGATE)
    return value


def _whole(scan_value: _Scan, line: str) -> Json:
    start = len(line) - len(line.lstrip(SPACE))
    try:
        value, end = scan_value(line, start)
    except StopIteration as stop:
        raise BadLine(LineReason.NOT_JSON, f"no value at character {stop.value}") from None
    except json.JSONDecodeError as error:
        raise BadLine(LineReason.NOT_JSON, f"{error.msg} at character {error.pos}") from None
    except _DuplicateKey:
        raise
    except ValueError as error:
        raise BadLine(LineReason.NOT_JSON, str(error)) from None
    if line[end:].strip(SPACE):
        raise BadLine(LineReason.NOT_JSON, f"more after the value, at character {end}")
    return value


def _encodable(value: Json) -> bool:
    try:
        dumps(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def dumps(value: Json) -> str:
    """Compact JSON text of a decoded value; numbers as they were written, characters unescaped where JSON allows."""
    if isinstance(value, str):
        return encode_basestring(value)
    try:
        return _plain_encoder(value)
    except TypeError:  # it holds the text of a number
        parts: list[str] = []
        _write(value, parts.append)
        return "".join(parts)


_plain_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def _write(value: Json, put: Callable[[str], None]) -> None:
    match value:
        case bytes():
            put(value.decode())
        case str():
            put(encode_basestring(value))
        case dict():
            opening = "{"
            for key, member in value.items():
                put(f"{opening}{encode_basestring(key)}:")
                _write(member, put)
                opening = ","
            put("}" if value else "{}")
        case list():
            opening = "["
            for element in value:
                put(opening)
                _write(element, put)
                opening = ","
            put("]" if value else "[]")
        case None | bool():
            put("null" if value is None else "true" if value else "false")
        case int():
            put(str(value))
