"""Sortable ids: milliseconds of Unix time, then eighty random bits, in Crockford's base 32 (the ULID layout)."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(now: float, random_bits: int) -> str:
    """26 characters that sort by time; `random_bits` in [0, 2**80)."""
    number = (round(now * 1000) << 80) | random_bits
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
