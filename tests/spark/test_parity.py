"""Spark and a worker make the same of every file that can be read: rows and where they are from, quarantine, schema."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from tests.spark.delegated import Bench, by_source
from tests.unit.convert.harness import Bytes

from headsaw.convert import Observer
from headsaw.core.inference import Rules, grow
from headsaw.core.model import DatasetName, Source
from headsaw.core.settings import DatasetSettings
from headsaw.core.table_schema import TableSchema
from headsaw.spark.rounds import Cluster

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FILES = sorted(path for path in SHARED.rglob("*/**/*") if path.is_file() and path.name != "expected.json")
INFERRED = 12

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.thorough,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not FILES, reason="the shared corpus isn't beside this checkout"),
]


def corpus(files: Iterable[Path]) -> dict[str, bytes]:
    return {str(path.relative_to(SHARED)): path.read_bytes() for path in files}


def plain(bytes_max: int) -> list[Path]:
    """The adversarial files that can be cut."""
    found = [path for path in FILES if path.parent.name == "adversarial" and path.suffix == ".ndjson"]
    return [path for path in found if path.stat().st_size <= bytes_max]


def give_schema(bench: Bench, files: dict[str, bytes], settings: Sequence[DatasetSettings]) -> None:
    """The datasets have columns for all that is in the files, as far as those agree."""
    observer = Observer(settings[0], TableSchema())
    observer.take([Bytes(data, name) for name, data in files.items()])
    schema = grow(TableSchema(), observer.seen, Rules.of(settings[0].table_schema))
    for dataset in settings:
        assert bench.connection.call(bench.reach.ledger.add_schema(DatasetName(dataset.name), schema))


def check(
    bench: Bench, cluster: Cluster, sources: Sequence[Source], settings: Sequence[DatasetSettings], split_bytes: int
) -> None:
    """A worker's batch as the first dataset is the same as Spark's as the second."""
    inline = bench.inline(f"01{settings[0].name}", sources, settings[0])
    manifest = bench.delegate(f"01{settings[1].name}", sources, settings[1])
    spark = bench.by_spark(manifest, cluster, split_bytes)
    assert spark.rows.keys() == inline.rows.keys()
    for name, rows in spark.rows.items():
        assert rows.equals(inline.rows[name]), name
    assert spark.quarantined == inline.quarantined
    assert spark == inline


def test_every_file_with_the_schema_given(local_aws: Bench, spark_cluster: Cluster) -> None:
    files = corpus(FILES)
    local_aws.collect = by_source
    settings = [local_aws.settings(name, schema={"mode": "rescue"}) for name in ("inline", "spark")]
    give_schema(local_aws, files, settings)
    check(local_aws, spark_cluster, local_aws.land(files), settings, 400_000)


def test_small_files_in_very_small_ranges(local_aws: Bench, spark_cluster: Cluster) -> None:
    files = corpus(plain(3000)[::3])
    local_aws.collect = by_source
    settings = [local_aws.settings(name, schema={"mode": "rescue"}) for name in ("inline", "spark")]
    give_schema(local_aws, files, settings)
    check(local_aws, spark_cluster, local_aws.land(files), settings, 300)


def test_small_files_whose_schema_is_inferred(local_aws: Bench, spark_cluster: Cluster) -> None:
    candidates = plain(30_000)
    for path in candidates[:: max(len(candidates) // INFERRED, 1)]:
        sources = local_aws.land(corpus([path]))
        name = "".join(letter if letter.isalnum() else "-" for letter in path.stem.lower())
        settings = [local_aws.settings(f"{engine}-{name}") for engine in ("inline", "spark")]
        local_aws.collect = by_source
        check(local_aws, spark_cluster, sources, settings, max(path.stat().st_size // 3, 1))
