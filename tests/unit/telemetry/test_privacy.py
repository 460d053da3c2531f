"""What may be said aloud."""

import pytest

from headsaw.telemetry.privacy import code_of, keyed_hash


def test_a_keyed_hash_tells_sources_apart_and_needs_the_same_secret_to_do_it_again() -> None:
    assert keyed_hash("a", b"secret") == keyed_hash("a", b"secret")
    assert keyed_hash("a", b"secret") != keyed_hash("b", b"secret")
    assert keyed_hash("a", b"secret") != keyed_hash("a", b"another")


def test_a_keyed_hash_is_sixteen_hex_digits_of_any_text() -> None:
    for text in ("", "s3://b/é", "\ud800", "x" * 10_000):
        assert len(keyed_hash(text, b"secret")) == 16
        int(keyed_hash(text, b"secret"), 16)


def test_a_keyed_hash_without_a_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        keyed_hash("a", b"")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("superseded", "superseded"),
        ("superseded: s3://bucket/key", "superseded"),
        ("Throttled", "Throttled"),
        ("no capacity", None),
        ("s3://bucket/key", None),
        ("clicks/key.ndjson", None),
        ("key.ndjson: missing", None),
        ("4711", None),
        ("", None),
        (": nothing in front", None),
        ("12:30", None),
        ("x" * 49, None),
        ("line\nbreak", None),
        ("code\n", None),
    ],
)
def test_only_a_single_word_in_front_of_a_reason_is_a_code(text: str, code: str | None) -> None:
    assert code_of(text) == code
