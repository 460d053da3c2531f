"""The delegated job: a driver that divides a batch among Spark tasks, each of which runs `headsaw.convert`.

A composition root of its own beside `app`: nothing imports it. Only `cluster` and `job` know Spark.
"""
