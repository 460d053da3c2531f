"""What the service can be told of the engines that run Spark: where each is, and how large its runs may be."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, WithJsonSchema, model_validator

from headsaw.core.settings import Duration, S3Prefix, Settings, Size, Text, refusal

_GIB = 1024**3
_OBJECT = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\s,#]*[^\s,#/]"
_ROLE = r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$"
_TIMEOUT = "After how long the engine ends a run. Shorter than `spark.run_max`."
_EACH = "How much of a batch's estimated NDJSON each of them is meant to take; it decides how many there are."

RUN_MAX_SECONDS = 86_400.0
"""How long a run may take by default, from the intent to start it."""

RUN_SECONDS_MAX = 3 * 86_400.0
"""A commit is refused when its oldest pending upload is older than three and a half days."""

TIMEOUT_SECONDS = 4 * 3600.0
"""After how long an engine ends a run by default."""


def _object(value: str) -> str:
    if not re.fullmatch(_OBJECT, value):
        raise refusal(f"{value!r} names no S3 object", "write it as s3://bucket/key, without spaces, commas and '#'")
    return value


_SERVERLESS_GIB_MAX = {1: 8, 2: 16, 4: 30, 8: 60, 16: 120}
"""By vCPUs; the least is two a vCPU. Source: EMR Serverless user guide, "Supported worker configurations"."""

S3Object = Annotated[str, AfterValidator(_object), WithJsonSchema({"type": "string", "pattern": f"^{_OBJECT}$"})]
"""`s3://bucket/key`."""


class GlueSettings(Settings):
    """The AWS Glue job that takes batches; docs/spark.md says how it is defined."""

    job_name: str = Field(pattern=r"^[^\s\x00-\x1f]{1,255}$", description="The name of the job definition.")
    execution_class: Literal["FLEX", "STANDARD"] = Field(
        "FLEX", description="`FLEX` costs a third less and may wait for spare capacity; `STANDARD` starts at once."
    )
    worker_type: Literal["G.1X", "G.2X", "G.4X", "G.8X"] = Field(
        "G.1X", description="The size of a worker: 1, 2, 4 or 8 DPUs of 4 vCPUs. `FLEX` knows `G.1X` and `G.2X` only."
    )
    workers_min: int = Field(2, ge=2, le=299, description="The fewest workers of a run; one of them is the driver.")
    workers_max: int = Field(40, ge=2, le=299, description="The most workers of a run.")
    bytes_per_worker: Size = Field(ByteSize(32 * _GIB), ge=64 * 1024**2, description=_EACH)
    security_configuration: Text | None = Field(
        None, description="The Glue security configuration that encrypts logs and bookmarks. Default: the job's own."
    )
    timeout: Duration = Field(TIMEOUT_SECONDS, ge=300, le=RUN_SECONDS_MAX, description=_TIMEOUT)

    @model_validator(mode="after")
    def _what_glue_takes(self) -> Self:
        if self.execution_class == "FLEX" and self.worker_type not in ("G.1X", "G.2X"):
            raise refusal(f"FLEX has no {self.worker_type} workers", "use G.1X, G.2X, or execution_class: STANDARD")
        if self.workers_min > self.workers_max:
            raise refusal("workers_min is above workers_max", "lower the one or raise the other")
        return self


class ExecutorSettings(Settings):
    """What an EMR run is made of, with servers or without."""

    entry_point: S3Object = Field(description="The job script, `s3://…/job.py`; `make spark-dist` makes it.")
    archive: S3Object | None = Field(
        None, description="The Python environment of the run, `s3://….tar.gz`. Default: the engine's own Python has it."
    )
    executors_min: int = Field(1, ge=1, le=1000, description="The fewest executors of a run.")
    executors_max: int = Field(40, ge=1, le=1000, description="The most executors of a run.")
    executor_cores: Literal[1, 2, 4, 8, 16] = Field(4, description="The vCPUs of an executor.")
    executor_memory: Size = Field(
        ByteSize(16 * _GIB),
        ge=2 * _GIB,
        le=120 * _GIB,
        description="The memory of an executor in all; a quarter of it is Java's, the rest the conversions'.",
    )
    bytes_per_executor: Size = Field(ByteSize(32 * _GIB), ge=64 * 1024**2, description=_EACH)

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.executors_min > self.executors_max:
            raise refusal("executors_min is above executors_max", "lower the one or raise the other")
        return self


class EmrServerlessSettings(ExecutorSettings):
    """The EMR Serverless application that takes batches; docs/spark.md says how it is made."""

    application_id: str = Field(pattern=r"^[0-9a-z]{1,64}$", description="The application's id.")
    execution_role_arn: str = Field(pattern=_ROLE, description="The role of the run itself, by its ARN.")
    timeout: Duration = Field(TIMEOUT_SECONDS, ge=300, le=RUN_SECONDS_MAX, description=_TIMEOUT)
    logs: S3Prefix | None = Field(
        None, description="Where Spark's logs go. Default: where the application sends them; EMR keeps a copy."
    )

    @model_validator(mode="after")
    def _sizes_on_offer(self) -> Self:
        least, most = 2 * self.executor_cores, _SERVERLESS_GIB_MAX[self.executor_cores]
        if not least * _GIB <= self.executor_memory <= most * _GIB:
            raise refusal(
                f"EMR Serverless has no executors of {self.executor_cores} vCPUs and that memory",
                f"set executor_memory between {least}GiB and {most}GiB, or other executor_cores",
            )
        return self


class EmrSettings(ExecutorSettings):
    """The EMR cluster that takes batches as steps."""

    cluster_id: str = Field(pattern=r"^j-[A-Z0-9]{1,62}$", description="The cluster's id, `j-…`.")
    execution_role_arn: str | None = Field(
        None, pattern=_ROLE, description="The runtime role of the step. Default: the cluster's instance profile."
    )


class LocalSparkSettings(Settings):
    """Spark on the worker's own machine: for demos, tests, and single machines."""

    python: Text | None = Field(
        None, description="A Python that has pyspark and headsaw. Default: the one that the worker runs in."
    )
    cores: int | None = Field(None, ge=1, le=1024, description="CPUs of a run. Default: all of them.")
    memory: Size = Field(ByteSize(_GIB), ge=512 * 1024**2, description="The memory of a run's Java.")
    runs_max: int = Field(2, ge=1, le=64, description="How many runs may be at work on the machine at once.")
    folder: Text | None = Field(
        None, description="Where runs are kept for a day. Default: a folder of the user's own in the temporary one."
    )


class EngineSettings(Settings):
    """The engines that datasets may name as their `spark.engine`, and how their runs are looked after."""

    poll: Duration = Field(30.0, ge=1, le=3600, description="How often a run is asked how it stands.")
    run_max: Duration = Field(
        RUN_MAX_SECONDS,
        ge=300,
        le=RUN_SECONDS_MAX,
        description="After how long, from the intent to start it, a run without a result is given up and stopped.",
    )
    glue: GlueSettings | None = Field(None, description="AWS Glue, for `engine: glue`.")
    emr_serverless: EmrServerlessSettings | None = Field(None, description="For `engine: emr-serverless`.")
    emr: EmrSettings | None = Field(None, description="EMR on EC2, for `engine: emr`.")
    local: LocalSparkSettings = Field(LocalSparkSettings(), description="For `engine: local`, which is always there.")
