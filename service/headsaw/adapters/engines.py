"""The Spark engines that a configuration names, by the names that datasets call them."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from headsaw.adapters.emr import EmrSpark
from headsaw.adapters.emr_serverless import EmrServerlessSpark
from headsaw.adapters.glue import GlueSpark
from headsaw.adapters.spark_local import LocalSpark
from headsaw.config import EngineSettings, LocalSparkSettings
from headsaw.errors import AccessDenied, Outage
from headsaw.ports import SparkJobs


class Engine(SparkJobs, Protocol):
    """An engine that can also be looked at before anything is run."""

    async def check(self) -> None:
        """What the configuration names is there; raises UsageError with the remedy where it isn't."""
        ...


async def check_engines(engines: Mapping[str, Engine], asked_for: Iterable[str]) -> None:
    """Those that datasets ask for are there, and may be used; raises UsageError or AccessDenied otherwise.

    One that can't be reached just now is passed over: that mustn't keep a worker from starting.
    """
    for name in sorted(set(asked_for) & set(engines)):
        try:
            await engines[name].check()
        except AccessDenied:
            raise
        except Outage:
            continue


async def spark_engines(settings: EngineSettings, client: Callable[[str], Awaitable[Any]]) -> dict[str, Engine]:
    """Every engine that is configured; nothing was asked of AWS yet. `client` makes the client of a service."""
    engines: dict[str, Engine] = {"local": _local(settings.local)}
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
