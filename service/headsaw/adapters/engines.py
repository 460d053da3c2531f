"""The Spark engines that a configuration names, by the names that datasets call them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from headsaw.adapters.emr import EmrSpark
from headsaw.adapters.emr_serverless import EmrServerlessSpark
from headsaw.adapters.glue import GlueSpark
from headsaw.adapters.spark_local import LocalSpark
from headsaw.config import EngineSettings, LocalSparkSettings
from headsaw.ports import SparkJobs


async def spark_engines(settings: EngineSettings, client: Callable[[str], Awaitable[Any]]) -> dict[str, SparkJobs]:
    """Every engine that is configured; nothing was asked of AWS yet. `client` makes the client of a service."""
    engines: dict[str, SparkJobs] = {"local": _local(settings.local)}
    if settings.glue is not None:
        engines["glue"] = GlueSpark(await client("glue"), settings.glue)
    if settings.emr_serverless is not None:
        engines["emr-serverless"] = EmrServerlessSpark(await client("emr-serverless"), settings.emr_serverless)
    if settings.emr is not None:
        engines["emr"] = EmrSpark(await client("emr"), settings.emr)
    return engines


def _local(settings: LocalSparkSettings) -> LocalSpark:
    return LocalSpark(
        Path(settings.folder) if settings.folder else None,
        python=settings.python,
        runs_max=settings.runs_max,
        cores=settings.cores,
        memory_bytes=int(settings.memory),
    )
