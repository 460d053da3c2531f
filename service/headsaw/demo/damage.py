"""Lines that are no valid record, each for one reason that is known beforehand, and lines that hold nothing."""

from collections.abc import Callable
from random import Random

from headsaw.core.conversion import LineReason

Damage = Callable[[Random, bytes], bytes]
"""From chance and a valid line, a line that must be quarantined."""

BLANKS = (b"", b"", b"   ", b"\t")
"""What stands on a line that counts as blank."""

_DEPTH = 1_100
_CUT_FROM = 0.2


def damage(rng: Random, line: bytes, *, text: bool = False) -> tuple[bytes, LineReason]:
    """A broken form of `line` and the reason that quarantine must give. With `text`, only Unicode text."""
    make, reason = rng.choice(_TEXT_FORMS if text else _FORMS)
    return make(rng, line), reason


def _truncated(rng: Random, line: bytes) -> bytes:
    """Cut right after a quote: the writer died. Never inside a character, so the reason is exact."""
    cut = line.find(b'"', int(len(line) * (_CUT_FROM + rng.random() * 0.6)))
    return line[: cut + 1] if 0 <= cut < len(line) - 1 else line[:-1]


def _two_objects(rng: Random, line: bytes) -> bytes:
    """Two writers, one line: the first one's end was lost."""
    return line + rng.choice((b"", b" ")) + b'{"event_id":"of another line"}'


def _not_a_number(rng: Random, line: bytes) -> bytes:
    return b'{"load":' + rng.choice((b"NaN", b"Infinity", b"-Infinity")) + b"," + line[1:]


def _single_quotes(_: Random, line: bytes) -> bytes:
    return b"{'source': 'repr', " + line[1:]


def _log_line(rng: Random, _: bytes) -> bytes:
    return b"2026-11-23 07:%02d:00 ERROR upstream timed out after 30000 ms" % rng.randrange(60)


def _not_an_object(rng: Random, _: bytes) -> bytes:
    return rng.choice((b"null", b"42", b'"just text"', b'["an", "array"]', b"true"))


def _duplicate_key(_: Random, line: bytes) -> bytes:
    return b'{"event_id":"written twice",' + line[1:]


def _invalid_utf8(rng: Random, line: bytes) -> bytes:
    """Latin-1, an overlong form, an encoded surrogate, a stray continuation."""
    return b'{"note":"caf' + rng.choice((b"\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"\xbf")) + b'",' + line[1:]


def _lone_surrogate(_: Random, line: bytes) -> bytes:
    return b'{"note":"half a pair: \\ud83d",' + line[1:]


def _too_deep(_: Random, line: bytes) -> bytes:
    return b'{"bomb":' + b"[" * _DEPTH + b"]" * _DEPTH + b"," + line[1:]


_TEXT_FORMS: tuple[tuple[Damage, LineReason], ...] = (
    (_truncated, LineReason.NOT_JSON),
    (_truncated, LineReason.NOT_JSON),
    (_two_objects, LineReason.NOT_JSON),
    (_not_a_number, LineReason.NOT_JSON),
    (_single_quotes, LineReason.NOT_JSON),
    (_log_line, LineReason.NOT_JSON),
    (_not_an_object, LineReason.NOT_AN_OBJECT),
    (_duplicate_key, LineReason.DUPLICATE_KEY),
    (_lone_surrogate, LineReason.LONE_SURROGATE),
    (_too_deep, LineReason.TOO_DEEP),
)
_FORMS = (*_TEXT_FORMS, (_invalid_utf8, LineReason.INVALID_UTF8), (_invalid_utf8, LineReason.INVALID_UTF8))
