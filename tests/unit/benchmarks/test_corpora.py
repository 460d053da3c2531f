import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from benchmarks import corpora, github_shape, published, synthetic
from benchmarks.corpora import CORPORA, Facts, prepare, write

MADE = {
    "flat": (synthetic.flat_lines, 15, 15),
    "nested": (synthetic.nested_lines, 25, 40),
    "gharchive": (github_shape.gharchive_lines, 600, 800),
    "sparse": (synthetic.sparse_lines, 220, 260),
}
EVENT = (
    b'{"id":"28281984012","login":"anna-smith","url":"/users/anna-smith","size":12.50,"at":"2023-04-08T05:14:40Z"}\n'
)


@pytest.mark.parametrize("name", MADE)
def test_made_lines_are_the_same_every_time_and_have_the_paths_of_their_shape(name: str) -> None:
    lines, least, most = MADE[name]
    first, second = list(islice(lines(), 1500)), list(islice(lines(), 1500))
    assert first == second
    facts = Facts()
    for line in first:
        facts.add(line)
    assert least <= len(facts.paths) <= most
    assert len(set(first)) == len(first)


def test_a_sparse_line_has_20_to_40_of_about_250_columns() -> None:
    widths = [len(json.loads(line)) for line in islice(synthetic.sparse_lines(), 500)]
    assert min(widths) >= 20
    assert max(widths) <= 40


def test_both_files_hold_the_lines_up_to_the_one_that_reaches_the_size(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "a.ndjson", tmp_path / "a.ndjson.gz"
    facts = write(synthetic.flat_lines(), 100_000, plain, zipped)
    data = plain.read_bytes()
    assert gzip.decompress(zipped.read_bytes()) == data
    assert facts.ndjson_bytes == len(data)
    assert facts.rows == data.count(b"\n")
    assert len(data) - len(data.splitlines()[-1]) - 1 < 100_000 <= len(data)


def test_a_prepared_corpus_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "KEPT", tmp_path)
    first = prepare(CORPORA[0], 20_000)
    written = first.plain.stat().st_mtime_ns
    assert prepare(CORPORA[0], 20_000) == first
    assert first.plain.stat().st_mtime_ns == written
    assert first.columns["query"].present < first.rows == first.columns["status"].present


def _copies(number: int) -> Iterator[bytes]:
    return islice(published.copies([EVENT]), number)


def test_copies_of_a_published_line_differ_in_ids_times_and_logins_and_nothing_else() -> None:
    original, *varied = _copies(20)
    assert original == EVENT
    assert len(set(varied)) == len(varied)
    for line in varied:
        record = json.loads(line)
        assert len(line) == len(EVENT)
        assert record["url"] == f"/users/{record['login']}"
        assert b'"size":12.50' in line
        assert record["at"].startswith("2023-04-08T")
        assert record["id"].isdigit()


def test_copies_are_the_same_every_time() -> None:
    assert list(_copies(20)) == list(_copies(20))


@pytest.mark.parametrize(
    "token", [b"0123456789abcdef" * 2, b"{9F85CE58-5A6A-5F2B-A900-000000000400}"[1:-1], b"2026-11-23 01:02:03"]
)
def test_a_varied_token_keeps_its_kind_and_length(token: bytes) -> None:
    varied = published.vary(Random(1), token)
    assert varied != token
    assert len(varied) == len(token)
    assert published.vary(Random(2), varied) != varied


@pytest.mark.parametrize("token", [b"12.50", b"4624", b"PushEvent", b"12345678901234567890"])
def test_other_tokens_stay(token: bytes) -> None:
    assert published.vary(Random(1), token) == token
