"""What the outside may ask a worker: its metrics, whether it lives, whether it is ready. Read-only."""

from headsaw.http.checking import keep_checking
from headsaw.http.health import Health
from headsaw.http.server import LIVEZ, METRICS, READYZ, Served, serve

__all__ = ["LIVEZ", "METRICS", "READYZ", "Health", "Served", "keep_checking", "serve"]
