"""What somebody may have meant by a name that isn't known."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """`did you mean X?` for the known name that is spelled most alike, with its prefix; nothing if none is."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.7)
    return f"did you mean {prefix}{by_folded[matches[0]]}?" if matches else ""
