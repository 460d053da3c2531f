"""What Glue and EMR are given as their script: the job of the headsaw package that is installed with it."""
# ruff: noqa: INP001 - a script that stands alone in a bucket

import sys

from headsaw.spark.job import main

# A plain end where all is well: Glue once took any SystemExit for a failure.
if (status := main(sys.argv[1:])) != 0:
    sys.exit(status)
