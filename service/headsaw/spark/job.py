"""The script that every engine runs: `spark-submit job.py --manifest s3://bucket/key [--run-id ID]`.

Exit status 0: the report is written, or this run isn't wanted, which it says. 1: the run failed; if it was registered,
its report says why. Unknown arguments are ignored: engines add their own.
"""

import argparse
import asyncio
import json
import random
import secrets
import sys
from collections.abc import Sequence

from pyspark.sql import SparkSession

from headsaw.adapters.aws import Aws
from headsaw.adapters.s3 import S3ObjectStore
from headsaw.core.delegation import Manifest
from headsaw.core.settings import S3Prefix, parse_size
from headsaw.errors import HeadsawError
from headsaw.spark.cluster import SparkCluster
from headsaw.spark.driver import Driver, Ending
from headsaw.spark.reach import AwsSite, Connection
from headsaw.spark.rounds import Rounds, Told

RESULTS_MAX = "2g"
"""Of one pass, as Spark holds it: what tasks tell of keys is bounded by planning, counts by source are a few bytes for
each. More would take the driver's memory, and then the batch is halved, as it is after any failure."""

WELL_ENDED = (Ending.REPORTED, Ending.NOT_REGISTERED, Ending.NOT_WANTED)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parsed(arguments)
    try:
        manifest = _manifest(options.manifest)
        site = AwsSite.of(manifest)
        connection = Connection(site)
    except (HeadsawError, ValueError) as error:
        _tell(Told("job failed", {"reason": f"{type(error).__name__}: {error}"}))
        return 1
    name = f"headsaw-{manifest.batch}-{manifest.attempt}"
    try:
        builder = SparkSession.builder.appName(name).config("spark.driver.maxResultSize", RESULTS_MAX)
        with builder.getOrCreate() as session:
            ending = Driver(
                manifest,
                secrets.token_hex(16),
                options.run_id,
                site,
                connection,
                Rounds(SparkCluster(session.sparkContext), _tell, random.SystemRandom().random),
                split_bytes_max=options.split_bytes,
            ).run()
    finally:
        connection.close()
    _tell(Told("driver ended", {"ending": ending.value, "batch": manifest.batch, "attempt": manifest.attempt}))
    return 0 if ending in WELL_ENDED else 1


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headsaw.spark.job", description=__doc__, allow_abbrev=False)
    parser.add_argument("--manifest", required=True, help="the manifest's URI")
    parser.add_argument(
        "--run-id", "--JOB_RUN_ID", dest="run_id", help="the engine's name for this run (Glue gives it)"
    )
    parser.add_argument("--split-bytes", type=parse_size, help="how much of the batch a task takes, such as 256MiB")
    return parser.parse_known_args(arguments)[0]


def _manifest(uri: str) -> Manifest:
    """Read with whatever region the environment names: the manifest has the batch's."""
    place = S3Prefix.model_validate(uri)

    async def read() -> Manifest:
        async with Aws() as aws:
            return Manifest.from_json(await S3ObjectStore(await aws.client("s3")).read_all(place.bucket, place.prefix))

    return asyncio.run(read())


def _tell(told: Told) -> None:
    sys.stdout.write(json.dumps({"message": told.message, **told.fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
