"""Headsaw's converter and other NDJSON readers on the same data, one process a run: `python -m benchmarks`.

`make bench` sets up what it needs. Nothing here is part of the service.
"""
