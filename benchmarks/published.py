"""Published lines, many times over: ids, digests, times and logins differ in every copy, types and lengths don't.

The first copy is the files themselves, in their order; later ones are shuffled. A value that stood twice in the data
stands twice in each copy, so references stay references.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "real"

_DECIMAL = rb"[0-9]+\.[0-9.]+"
_MOMENT = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
_TOKEN = re.compile(_DECIMAL + rb"|" + _MOMENT + rb"|[A-Za-z0-9-]{5,}")
_TIME = re.compile(_MOMENT)
_DIGEST = re.compile(rb"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})")
_GUID = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_LOGIN = re.compile(rb'"login": ?"([A-Za-z0-9-]{5,})"')
_KEY = re.compile(rb'"([^"\\]+)" ?:')
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_ID_DIGITS = range(5, 16)


def github_events() -> list[bytes]:
    """The published GitHub events, a line each; none where they aren't."""
    folder = REAL / "a_github"
    lines = [line for path in sorted(folder.glob("*.ndjson")) for line in _lines(path)]
    bulk = [line for path in sorted(folder.glob("*gharchive-bulk.json.gz")) for line in _lines(path)]
    return lines + [line for line in bulk if not line.startswith(b'{"index"')]


def windows_events() -> list[list[bytes]]:
    """The published Windows event logs, by file; none where they aren't."""
    return [_lines(path) for path in sorted((REAL / "g_security_logs").glob("OTRF*.json.gz"))]


def _lines(path: Path) -> list[bytes]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line + b"\n" for line in data.split(b"\n") if line.strip()]


def heads(files: list[list[bytes]], size: int) -> list[bytes]:
    """The beginning of each file, `size` bytes in all, or everything if there is less."""
    total = sum(len(line) for lines in files for line in lines)
    share = min(1.0, (size + 1) / total)
    chosen = []
    for lines in files:
        left = share * sum(map(len, lines))
        for line in lines:
            if left <= 0:
                break
            left -= len(line)
            chosen.append(line)
    return chosen


def copies(lines: list[bytes]) -> Iterator[bytes]:
    """The lines, then the same lines varied, endlessly."""
    yield from lines
    data = b"".join(lines)
    logins = set(_LOGIN.findall(data)) - set(_KEY.findall(data))
    del data
    order = list(lines)
    for copy in range(1, 1_000_000):
        rng = Random(copy)
        rng.shuffle(order)
        change = _change(rng, logins)
        for line in order:
            yield _TOKEN.sub(change, line)


def _change(rng: Random, logins: set[bytes]) -> Callable[[re.Match[bytes]], bytes]:
    """What a token becomes in one copy: always the same."""
    known: dict[bytes, bytes] = {}
    shift = rng.randrange(1, len(_LETTERS))
    turned = _LETTERS[shift:] + _LETTERS[:shift]
    alphabet = bytes.maketrans(_LETTERS + _LETTERS.upper(), turned + turned.upper())

    def change(match: re.Match[bytes]) -> bytes:
        token = match[0]
        if token not in known:
            known[token] = token.translate(alphabet) if token in logins else vary(rng, token)
        return known[token]

    return change


def vary(rng: Random, token: bytes) -> bytes:
    """Another token of the same kind and length; the token itself if it is neither id nor digest nor time."""
    if _TIME.fullmatch(token):
        return token[:11] + b"%02d:%02d:%02d" % (rng.randrange(24), rng.randrange(60), rng.randrange(60))
    if _DIGEST.fullmatch(token):
        return b"%0*x" % (len(token), rng.getrandbits(4 * len(token)))
    if _GUID.fullmatch(token):
        digits = b"%032x" % rng.getrandbits(128)
        text = b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return text.upper() if token.upper() == token else text
    if token.isdigit() and len(token) in _ID_DIGITS:
        return token[:1] + b"%0*d" % (len(token) - 1, rng.randrange(10 ** (len(token) - 1)))
    return token
