"""Made lines: a web log, events of a code host, Windows-like events. Seeded, endless."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

START = datetime(2026, 11, 23, tzinfo=UTC)
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def words(text: str) -> list[str]:
    """The words of the text."""
    return text.split()


WORDS = words(
    "fix add remove update bump merge branch test parser for the of in when from build docs release config reader "
    "writer memory lease schema column index cache retry timeout error handling null value stream batch küche naïve"
)
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "curl/8.15.0",
)
_REFERERS = ("", "https://example.com/", "https://example.com/search?q=oak+beam", "https://news.example.org/item?id=42")


def line(record: dict[str, Any]) -> bytes:
    """The record as a line of NDJSON."""
    return _JSON.encode(record).encode() + b"\n"


def sentence(rng: Random, shortest: int, longest: int) -> str:
    """As many words, drawn."""
    return " ".join(rng.choices(WORDS, k=rng.randint(shortest, longest)))


def hexadecimal(rng: Random, digits: int) -> str:
    """As many digits, drawn."""
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def instant(at: datetime, timespec: str = "seconds") -> str:
    """The moment in RFC 3339, UTC."""
    return at.isoformat(timespec=timespec).replace("+00:00", "Z")


def flat_lines() -> Iterator[bytes]:
    """A web server's log: 15 columns, one of them null half of the time."""
    rng = Random(1)
    at = START
    while True:
        at += timedelta(milliseconds=rng.randrange(40))
        yield line(
            {
                "ts": instant(at, "milliseconds"),
                "host": f"web-{rng.randrange(40):02}",
                "ip": ".".join(str(rng.randrange(256)) for _ in range(4)),
                "method": rng.choice(("GET", "GET", "GET", "POST", "PUT")),
                "path": f"/api/v1/items/{rng.randrange(100_000)}",
                "query": None if rng.random() < 0.5 else f"page={rng.randrange(50)}&q=a%20b",
                "status": rng.choice((200, 200, 200, 201, 304, 404, 500)),
                "bytes": rng.randrange(1, 500_000),
                "duration_ms": round(rng.random() * 1000, 3),
                "user_agent": rng.choice(_AGENTS),
                "referer": rng.choice(_REFERERS),
                "user_id": rng.randrange(10**9),
                "session": hexadecimal(rng, 16),
                "cached": rng.random() < 0.3,
                "country": rng.choice(("DE", "US", "FR", "JP", "BR")),
            }
        )


def people_of(rng: Random, number: int) -> list[dict[str, Any]]:
    """As many accounts."""
    people = []
    for _ in range(number):
        login, id_ = f"{rng.choice(WORDS)}-{rng.choice(WORDS)}{rng.randrange(1000)}", rng.randrange(1000, 10**8)
        url = f"https://api.github.example/users/{login}"
        people.append({"id": id_, "login": login, "display_login": login, "gravatar_id": "", "url": url})
    return people


def _commits(rng: Random, repo: str) -> list[dict[str, Any]]:
    commits = []
    for _ in range(min(20, int(rng.expovariate(0.5)) + 1)):
        sha, name = hexadecimal(rng, 40), f"{rng.choice(WORDS)} {rng.choice(WORDS)}".title()
        message = sentence(rng, 3, 14) + ("\n\n" + sentence(rng, 8, 40) if rng.random() < 0.3 else "")
        author = {"email": f"{hexadecimal(rng, 8)}@example.com", "name": name}
        url = f"https://api.github.example/repos/{repo}/commits/{sha}"
        commits.append({"sha": sha, "author": author, "message": message, "distinct": rng.random() < 0.9, "url": url})
    return commits


def push(rng: Random, repo: str) -> dict[str, Any]:
    """A push to the repository, as the events' payload has it."""
    commits = _commits(rng, repo)
    return {
        "push_id": rng.randrange(10**9, 10**10),
        "size": len(commits),
        "distinct_size": sum(commit["distinct"] for commit in commits),
        "ref": f"refs/heads/{rng.choice(('main', 'main', 'dev', 'feature/' + rng.choice(WORDS)))}",
        "head": commits[-1]["sha"],
        "before": hexadecimal(rng, 40),
        "commits": commits,
    }


def small_payload(rng: Random, kind: str) -> dict[str, Any]:
    """The payload of a kind that has a small one."""
    if kind == "WatchEvent":
        return {"action": "started"}
    text = sentence(rng, 2, 12) if rng.random() < 0.7 else None
    return {
        "ref": f"v{rng.randrange(9)}.{rng.randrange(30)}",
        "ref_type": rng.choice(("branch", "tag")),
        "description": text,
    }


def nested_lines() -> Iterator[bytes]:
    """Events of a code host: pushes with lists of commits, and a few smaller kinds; `org` in a third of them."""
    rng = Random(2)
    people = people_of(rng, 3000)
    repos = [
        (f"{rng.choice(people)['login']}/{rng.choice(WORDS)}-{rng.choice(WORDS)}", rng.randrange(10**9))
        for _ in range(2000)
    ]
    number, at = 28_000_000_000, START
    while True:
        number += rng.randrange(1, 9)
        at += timedelta(milliseconds=rng.randrange(60))
        repo, repo_id = repos[min(int(rng.expovariate(0.004)), len(repos) - 1)]
        kind = rng.choice(("PushEvent", "PushEvent", "PushEvent", "CreateEvent", "WatchEvent"))
        event = {
            "id": str(number),
            "type": kind,
            "actor": rng.choice(people),
            "repo": {"id": repo_id, "name": repo, "url": f"https://api.github.example/repos/{repo}"},
            "payload": push(rng, repo) if kind == "PushEvent" else small_payload(rng, kind),
            "public": True,
            "created_at": instant(at),
        }
        if rng.random() < 0.33:
            owner = repo.partition("/")[0]
            event["org"] = {"id": repo_id // 7, "login": owner, "url": f"https://api.github.example/orgs/{owner}"}
        yield line(event)


_COLUMNS, _EVENT_IDS = 236, 30
_COMMON = words(
    "@timestamp Channel Computer EventID EventRecordID Keywords Level Message ProviderGuid SourceName Task Version "
    "tags host"
)


def _guid(rng: Random) -> str:
    text = hexadecimal(rng, 32).upper()
    return "{" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])) + "}"


def _columns_of(rng: Random, kind: int) -> list[int]:
    """The kind's own columns, and some that others have too."""
    return sorted({*range(kind, _COLUMNS, _EVENT_IDS), *rng.sample(range(_COLUMNS), rng.randint(2, 18))})


def _field(rng: Random, column: int) -> Any:
    """A value of the column, whose number decides what it holds."""
    match column % 6:
        case 0:
            return f"0x{rng.getrandbits(24):x}"
        case 1:
            return rng.randrange(65_536)
        case 2:
            return _guid(rng)
        case 3:
            return f"C:\\Windows\\System32\\{rng.choice(WORDS)}{rng.randrange(40)}.exe"
        case 4:
            return sentence(rng, 1, 6)
        case _:
            return str(rng.randrange(10 ** rng.randint(1, 9)))


def sparse_lines() -> Iterator[bytes]:
    """Windows-like events: 30 kinds with 20 to 40 of 250 columns each."""
    rng = Random(4)
    kinds = [_columns_of(rng, kind) for kind in range(_EVENT_IDS)]
    at = START
    for number in range(10**9):
        at += timedelta(milliseconds=rng.randrange(30))
        kind = min(int(rng.expovariate(0.15)), _EVENT_IDS - 1)
        fields = {f"Field{column:03}": _field(rng, column) for column in kinds[kind]}
        message = "\r\n".join([sentence(rng, 3, 6) + ":", *(f"\t{name}:\t{value}" for name, value in fields.items())])
        yield line(
            dict(zip(_COMMON, _common(rng, number, kind, instant(at, "milliseconds"), message), strict=True)) | fields
        )


def _common(rng: Random, number: int, kind: int, at: str, message: str) -> tuple[Any, ...]:
    computer = f"WORKSTATION{rng.randrange(12)}.example.com"
    provider = "Microsoft-Windows-Security-Auditing" if kind % 2 else "Microsoft-Windows-Sysmon"
    guid = "{54849625-5478-4994-A5BA-3E3B0328C30D}"
    return (
        at,
        "Security",
        computer,
        4600 + kind,
        number,
        "0x8020000000000000",
        4,
        message,
        guid,
        provider,
        kind,
        2,
        ["lab"],
        computer,
    )
