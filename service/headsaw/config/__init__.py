"""The service's configuration: one YAML file plus environment overrides, validated as a whole.

`load` returns settings that hold together, or raises ConfigError with every problem at once, each by path and remedy.
"""

from headsaw.config.engines import (
    EmrServerlessSettings,
    EmrSettings,
    EngineSettings,
    ExecutorSettings,
    GlueSettings,
    LocalSparkSettings,
)
from headsaw.config.load import CONFIG_VARIABLE, SPARK_PYTHON_VARIABLE, load
from headsaw.config.reference import config_schema
from headsaw.config.settings import DrainSettings, HttpSettings, LeaseSettings, LogSettings, ServiceSettings

__all__ = [
    "CONFIG_VARIABLE",
    "SPARK_PYTHON_VARIABLE",
    "DrainSettings",
    "EmrServerlessSettings",
    "EmrSettings",
    "EngineSettings",
    "ExecutorSettings",
    "GlueSettings",
    "HttpSettings",
    "LeaseSettings",
    "LocalSparkSettings",
    "LogSettings",
    "ServiceSettings",
    "config_schema",
    "load",
]
