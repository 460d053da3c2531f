"""Web events that look real: what people's applications send, with the habits that make NDJSON hard to convert.

Everything here is a valid record; `demo.damage` makes the others. `progress` (0 to 1) is how far the traffic has come
in its time span: fields drift with it. Nothing is random but through the `Random` that is handed in.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

Event = dict[str, Any]
Maker = Callable[[Random, str, float, float], Event]
"""From chance, an event id, the time in epoch seconds and the progress."""

EXPERIMENT_FROM = 0.5
DURATION_TEXT_FROM = 0.65
ZIP_TEXT_FROM = 0.35
DISCOUNT_FRACTION_FROM = 0.25

_VERBATIM = "@@"
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_ESCAPED = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
_SPACED = json.JSONEncoder(ensure_ascii=False)

_TYPES = ("page_view",) * 8 + ("click",) * 5 + ("scroll",) * 3 + ("search", "search", "add_to_cart", "purchase")
_PLACES = (
    ("DE", "München", 48.1374, 11.5755),
    ("DE", "Köln", 50.9375, 6.9603),
    ("FR", "Saint-Étienne", 45.4397, 4.3872),
    ("JP", "東京", 35.6895, 139.6917),
    ("BR", "São Paulo", -23.5505, -46.6333),
    ("US", "Portland", 45.5152, -122.6784),
    ("IN", "मुंबई", 19.076, 72.8777),
    ("IS", "Reykjavík", 64.1466, -21.9426),
    ("EG", "القاهرة", 30.0444, 31.2357),
    ("KR", "서울", 37.5665, 126.978),
)
_PATHS = (
    "/",
    "/cart",
    "/checkout",
    "/search",
    "/blog/why-we-saw",
    "/p/oak-beam",
    "/p/küchenbrett",
    "/p/檜の板",
    "/account/orders",
)
_TITLES = (
    "Home",
    "Your cart",
    "Oak beam, 4 m",
    "Küchenbrett – Eiche massiv",
    "檜の板 | 製材所",
    "Why we saw ✂️",
    'The 2" plank',
)
_QUERIES = (
    "oak beam",
    "küchenbrett",
    "檜",
    "2x4 \\ planed",
    "tisch\tplatte",
    "“live edge”",
    "🪵🪚",
    "naïve café table",
    "דלת עץ",
)
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile",
)
_REFERRERS = ("https://www.google.com/", "https://news.ycombinator.com/item?id=4242", "android-app://com.example.wood")
_SCREENS = ([1920, 1080], [390, 844], [2560, 1440], [412, 915])
_SEGMENTS = ("new", "returning", "trade", None)
_TAGS = ("newsletter", "beta", "b2b", "früh", "vip")
_SKUS = ("OAK-4M", "ASH-2M", "HINOKI-檜", "PINE-R", "WALNUT/EU", "BIRCH PLY")
_NAMES = ("Åsa Lindqvist", "José Núñez", "Nguyễn Thị Hồng", "O'Brien, Seán", "山田 花子", "Ümit Yılmaz", "Anna Smith")
_STREETS = ("Sägewerkstraße 7", "12 Mill Lane", "Rue de l'Érable 3 bis", "Av. Paulista, 1578", "丸の内1-1")
_NOTES = (
    None,
    None,
    None,
    "leave at the gate",
    "Bitte klingeln!\nHinterhof",
    'says "call first"',
    "C:\\orders\\2026",
    "ring 3×",
)
_ODD_NUMBERS = (
    "18446744073709551617",
    "1E400",
    "1e-7",
    "-0.0",
    "0.1234567890123456789012",
    "123456789012345678901234567890",
)


def click(rng: Random, event_id: str, at: float, progress: float) -> Event:
    """One event of a visitor of a web shop."""
    kind = rng.choice(_TYPES)
    event: Event = {
        "event_id": event_id,
        "ts": _timestamp(rng, at),
        "type": kind,
        "user": _user(rng),
        "session": {"id": f"{rng.getrandbits(64):016x}", "seq": rng.randrange(60)},
        "page": _page(rng),
        "device": {"agent": rng.choice(_AGENTS), "screen": rng.choice(_SCREENS), "touch": rng.random() < 0.5},
        "geo": _geo(rng),
        "duration_ms": _duration(rng, progress),
    }
    if kind == "search":
        event["search"] = {"q": rng.choice(_QUERIES), "results": rng.randrange(200), "filters": []}
    elif kind == "scroll":
        event["depth"] = round(rng.random(), 3)
    elif kind in ("add_to_cart", "purchase"):
        event["items"] = [_item(rng) for _ in range(rng.randrange(1, 4))]
        event["value"] = _money(rng)
    if progress >= EXPERIMENT_FROM:
        event["experiment"] = {"name": "checkout-v2", "variant": rng.choice("ABC"), "weight": rng.randrange(100)}
    if rng.random() < 0.02:
        _add_oddity(rng, event)
    return event


def order(rng: Random, event_id: str, at: float, progress: float) -> Event:
    """One order, with money as decimal numbers of two digits and identifiers beyond 2^53."""
    lines = [_item(rng) for _ in range(rng.randrange(1, 6))]
    event: Event = {
        "event_id": event_id,
        "ts": _timestamp(rng, at),
        "order_no": 9_000_000_000_000_000_000 + rng.getrandbits(57),
        "customer": {"name": rng.choice(_NAMES), "id": rng.getrandbits(62), "vat": None},
        "lines": lines,
        "total": _money(rng),
        "currency": rng.choice(("EUR", "USD", "JPY", "BRL")),
        "discount": rng.choice((0, 5, 10)) if progress < DISCOUNT_FRACTION_FROM else rng.choice((0, 2.5, 7.5)),
        "shipping": {"street": rng.choice(_STREETS), "zip": _zip(rng, progress), "express": rng.random() < 0.2},
        "notes": rng.choice(_NOTES),
        "paid": rng.random() < 0.9,
    }
    if rng.random() < 0.02:
        _add_oddity(rng, event)
    return event


MAKERS: dict[str, Maker] = {"clicks": click, "orders": order}
"""The datasets that can be generated, by name."""


def encode(rng: Random, event: Event) -> bytes:
    """One line without its end, as one of several producers writes it: compact, escaped to ASCII, or with spaces."""
    chance = rng.random()
    encoder = _COMPACT if chance < 0.7 else _ESCAPED if chance < 0.85 else _SPACED
    return encode_compact(event, encoder)


def encode_compact(event: Event, encoder: json.JSONEncoder = _COMPACT) -> bytes:
    """One line without its end; numbers made by `verbatim` stand exactly as they were given."""
    return encoder.encode(event).replace(f'"{_VERBATIM}', "").replace(f'{_VERBATIM}"', "").encode()


def verbatim(number: str) -> str:
    """A JSON number that `encode` writes digit by digit: `19.90` keeps its zero, `1E400` its exponent."""
    return f"{_VERBATIM}{number}{_VERBATIM}"


def instant(at: float) -> str:
    """Epoch seconds as ISO 8601 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{math.floor(at % 1 * 1000):03d}Z"


def _timestamp(rng: Random, at: float) -> str | None:
    """Mostly UTC; now and then late by up to a day, with an offset, or missing."""
    chance = rng.random()
    if chance < 0.97:
        return instant(at)
    if chance < 0.985:
        return instant(at - rng.random() * 86_400)
    if chance < 0.998:
        return instant(at + 7_200).replace("Z", "+02:00")
    return None


def _user(rng: Random) -> Event | None:
    if rng.random() < 0.1:
        return None
    user: Event = {"id": 1_700_000_000_000_000_000 + rng.getrandbits(56), "segment": rng.choice(_SEGMENTS)}
    if rng.random() < 0.3:
        user["traits"] = {"tags": rng.sample(_TAGS, rng.randrange(4)), "since": 2008 + rng.randrange(18)}
    return user


def _page(rng: Random) -> Event:
    path = rng.choice(_PATHS)
    referrer = {"url": rng.choice(_REFERRERS), "campaign": None} if rng.random() < 0.3 else None
    return {"url": f"https://shop.example{path}", "path": path, "title": rng.choice(_TITLES), "referrer": referrer}


def _geo(rng: Random) -> Event | None:
    if rng.random() < 0.15:
        return None
    country, city, latitude, longitude = rng.choice(_PLACES)
    return {
        "country": country,
        "city": city,
        "lat": round(latitude + rng.random() / 10, 6),
        "lon": round(longitude + rng.random() / 10, 6),
    }


def _duration(rng: Random, progress: float) -> int | str | None:
    """The drift that every pipeline meets: one release of one application sends the number as text."""
    if rng.random() < 0.03:
        return None
    value = int(rng.expovariate(1 / 900))
    return str(value) if progress >= DURATION_TEXT_FROM and rng.random() < 0.2 else value


def _zip(rng: Random, progress: float) -> int | str:
    value = rng.randrange(1_000, 99_999)
    return f"{value:05d}" if progress >= ZIP_TEXT_FROM else value


def _item(rng: Random) -> Event:
    return {"sku": rng.choice(_SKUS), "qty": rng.randrange(1, 9), "price": _money(rng)}


def _money(rng: Random) -> str:
    """Two digits after the point, always; sometimes more digits than a double holds."""
    whole = rng.getrandbits(60) if rng.random() < 0.002 else rng.randrange(2_000)
    return verbatim(f"{whole}.{rng.randrange(100):02d}")


def _add_oddity(rng: Random, event: Event) -> None:
    """A key or a value that comes seldom and late."""
    chance = rng.randrange(5)
    if chance == 0:
        event["load"] = verbatim(rng.choice(_ODD_NUMBERS))
    elif chance == 1:
        event["consent"] = {"analytics": True, "ads": False, "at": None}
    elif chance == 2:
        event["Type"] = "differs by case only"
    elif chance == 3:
        event["debug"] = {"größe": [1, 2.5, None, "x", {"deep": [[]]}], "": "an empty key", "a.b": {}}
    else:
        event["tags"] = [rng.choice(_TAGS), None, rng.randrange(9)]
