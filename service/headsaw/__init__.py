"""Headsaw: exactly-once NDJSON to Parquet."""
