"""Run by the Spark environment's own interpreter: statements on stdin, the last one's rows pickled on stdout."""

import json
import pickle
import sys

from pyspark.sql import SparkSession


def main() -> None:
    """One JSON list of SQL statements in, one list of row dictionaries out; times are naive and UTC."""
    statements = json.load(sys.stdin)
    builder = SparkSession.builder.master("local[1]").config("spark.sql.session.timeZone", "UTC")
    quiet = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.catalogImplementation": "in-memory",
    }
    for name, value in quiet.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    rows = []
    for statement in statements:
        rows = spark.sql(statement.rstrip().rstrip(";")).collect()
    sys.stdout.buffer.write(b"\n--rows--\n" + pickle.dumps([row.asDict(recursive=True) for row in rows]))
    spark.stop()


if __name__ == "__main__":
    main()
