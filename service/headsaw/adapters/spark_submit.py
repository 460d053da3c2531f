"""How EMR is told to run the job: what of spark-submit's options is the same with servers and without."""

from collections.abc import Iterator, Mapping
from typing import Final

from headsaw.adapters.runs import size_of
from headsaw.config import ExecutorSettings

ENVIRONMENT: Final = "environment"
"""The folder that the archive is unpacked to, beside the driver and each executor."""

PYTHON: Final = f"./{ENVIRONMENT}/bin/python"

DRIVER_CORES: Final = 2
DRIVER_MIB: Final = 8 * 1024
"""The driver plans, and gathers what a few thousand tasks uploaded."""

_MIB: Final = 1024**2


def options_of(settings: ExecutorSettings, batch_bytes: int) -> dict[str, str]:
    """Spark's options for a run of that many bytes: all executors from the start, and fewer where some are idle."""
    each = int(settings.bytes_per_executor)
    executors = str(size_of(batch_bytes, each, settings.executors_min, settings.executors_max))
    executor_mib = settings.executor_memory // _MIB
    return {
        "spark.driver.cores": str(DRIVER_CORES),
        "spark.driver.memory": f"{DRIVER_MIB // 4}m",
        "spark.driver.memoryOverhead": f"{DRIVER_MIB - DRIVER_MIB // 4}m",
        "spark.executor.cores": str(settings.executor_cores),
        "spark.executor.memory": f"{executor_mib // 4}m",
        "spark.executor.memoryOverhead": f"{executor_mib - executor_mib // 4}m",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.minExecutors": str(settings.executors_min),
        "spark.dynamicAllocation.initialExecutors": executors,
        "spark.dynamicAllocation.maxExecutors": executors,
    }


def arguments(options: Mapping[str, str]) -> Iterator[str]:
    """`--conf`, `name=value` for each."""
    for name, value in options.items():
        yield "--conf"
        yield f"{name}={value}"
