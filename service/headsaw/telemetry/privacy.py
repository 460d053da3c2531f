"""What may be said aloud: no object key and no record content reaches a log line at INFO or above, nor a label."""

import hashlib
import hmac
import re

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,47}")


def keyed_hash(text: str, secret: bytes) -> str:
    """Sixteen hex digits that tell one source from another and, without the secret, nothing about it.

    HMAC-SHA256, cut to 64 bits. An empty secret is refused: keys can be guessed, and a plain hash confirms the guess.
    """
    if not secret:
        raise ValueError("a keyed hash needs a secret")
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


def code_of(text: str) -> str | None:
    """The code that a reason starts with (`missing: s3://…` → `missing`), or None where it is prose only.

    Prose may quote what it speaks about; a single word in front of a colon doesn't.
    """
    head = text.partition(": ")[0]
    return head if _CODE.fullmatch(head) else None
