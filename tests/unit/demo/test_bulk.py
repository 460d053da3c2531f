import gzip
import json
from pathlib import Path

import pytest
import zstandard

from headsaw.demo.bulk import Compression, write_events
from headsaw.demo.lines import event_id

TARGET = 2_000_000


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_bulk_file_holds_what_it_says(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / "events"
    written = write_events(path, TARGET, compression)
    stored = path.read_bytes()
    match compression:
        case "none":
            ndjson = stored
        case "gzip":
            ndjson = gzip.decompress(stored)
        case "zstd":
            ndjson = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
    lines = ndjson.splitlines(keepends=True)
    assert (written.lines, written.ndjson_bytes, written.stored_bytes) == (len(lines), len(ndjson), len(stored))
    assert TARGET <= len(ndjson) < TARGET + len(lines[-1])
    ids = [json.loads(line)["event_id"] for line in lines]
    assert ids == [event_id(written.id_prefix, number) for number in range(written.lines)]


def test_a_bulk_file_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, second, third = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    write_events(first, TARGET, "gzip", seed=1)
    write_events(second, TARGET, "gzip", seed=1)
    write_events(third, TARGET, "gzip", seed=2)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != third.read_bytes()


def test_no_copy_of_a_template_equals_another(tmp_path: Path) -> None:
    path = tmp_path / "events"
    write_events(path, TARGET)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({event["session"]["id"] for event in events}) == len(events)
    assert len({event["ts"] for event in events}) > len(events) / 2
    assert len({event["user"]["id"] for event in events}) == len(events)
