"""What the service tells: logs and metrics as functions of `core.facts`, so they can't disagree. Traces will follow.

Nothing here is global but the standard library's own logging, which `open_telemetry` routes and puts back.
"""

from headsaw.telemetry.telemetry import Telemetry, open_telemetry

__all__ = ["Telemetry", "open_telemetry"]
