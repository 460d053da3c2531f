"""Run by a test: a driver over two real executors of Spark's own small cluster, which meet trouble."""

import random
import sys

from pyspark.sql import SparkSession
from tests.spark.dying import DyingSite

from headsaw.core.delegation import Manifest
from headsaw.core.settings import S3Prefix
from headsaw.spark.cluster import SparkCluster
from headsaw.spark.driver import Driver
from headsaw.spark.reach import AwsSite, Connection
from headsaw.spark.rounds import Rounds, Told


def main(manifest_uri: str, token: str, split_bytes: str, marks: str, troubles: str) -> None:
    """Prints how the driver ended."""
    place = S3Prefix.model_validate(manifest_uri)
    connection = Connection(AwsSite(None, "", 0.0, ()))
    manifest = Manifest.from_json(connection.call(connection.reach.store.read_all(place.bucket, place.prefix)))
    connection.close()
    builder = SparkSession.builder.master("local-cluster[2,1,512]").config("spark.executor.memory", "512m")
    with builder.config("spark.ui.enabled", "false").getOrCreate() as session:
        session.sparkContext.setLogLevel("OFF")
        site = DyingSite(AwsSite.of(manifest), marks, tuple(troubles.split(",")))
        rounds = Rounds(SparkCluster(session.sparkContext), _tell, random.random)
        driver = Driver(manifest, token, None, site, Connection(site), rounds, split_bytes_max=int(split_bytes))
        sys.stdout.write(f"{driver.run()}\n")


def _tell(told: Told) -> None:
    sys.stderr.write(f"{told.message} {told.fields}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
