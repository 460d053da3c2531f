"""docs/spark.md grants what the engines are asked for, shows settings that hold, and calculates right."""

import inspect
import json
import re
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from headsaw.adapters import emr, emr_serverless, glue
from headsaw.adapters.spark_submit import DRIVER_CORES, DRIVER_MIB
from headsaw.config import EmrServerlessSettings, EngineSettings, GlueSettings
from headsaw.core.settings import SparkSettings

PAGE = (Path(__file__).parents[2] / "docs" / "spark.md").read_text(encoding="utf-8")
COST = PAGE.partition("\n## Cost\n")[2]
GIB = 1024**3


def blocks(language: str, before: str = "") -> list[str]:
    return re.findall(rf"{before}```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def actions(whose: str) -> set[str]:
    (policy,) = blocks("json", before=f"<!-- policy: {whose} -->\n")
    granted: set[str] = set()
    for statement in json.loads(policy)["Statement"]:
        given = statement["Action"]
        granted |= {given} if isinstance(given, str) else set(given)
        assert "*" not in (statement["Resource"], given), "no statement is about everything"
    return granted


@pytest.mark.parametrize(
    ("module", "whose", "service", "more"),
    [
        (glue, "worker, glue", "glue", set()),
        (emr_serverless, "worker, emr-serverless", "emr-serverless", {"iam:PassRole"}),
        (emr, "worker, emr", "elasticmapreduce", {"iam:PassRole"}),
    ],
)
def test_the_workers_role_may_make_the_engines_calls_and_no_others(
    module: ModuleType, whose: str, service: str, more: set[str]
) -> None:
    calls = set(re.findall(r"self\._client\.(\w+)\(", inspect.getsource(module)))
    assert calls
    assert actions(whose) == {f"{service}:{call.title().replace('_', '')}" for call in calls} | more


def test_the_runs_role_publishes_nothing_and_deletes_nothing() -> None:
    granted = actions("run")
    assert {"dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:PutItem"} <= granted
    assert {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:AbortMultipartUpload"} <= granted
    assert not [action for action in granted if re.search(r"Delete|Scan|Query|\*", action)]


def test_the_settings_that_are_shown_hold() -> None:
    shown = [yaml.safe_load(block) for block in blocks("yaml")]
    assert len(shown) == 5
    for document in shown:
        EngineSettings.model_validate(document["spark"])
        for dataset in document.get("datasets", ()):
            SparkSettings.model_validate(dataset["spark"])


def test_every_other_block_is_what_it_says() -> None:
    for block in blocks("json"):
        json.loads(block)


def test_text_fits_into_eighty_columns() -> None:
    without_blocks = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    prose = [line for line in without_blocks.splitlines() if not line.startswith(("|", "    "))]
    assert [line for line in prose if len(line) > 80] == []


# ----------------------------------------------------------------------------------------------------------- the costs


def prices() -> dict[str, float]:
    rows = re.findall(r"^\| ([A-Z].*?) \| ([\d.]+) \| ([A-Za-z]+-hour)", COST, flags=re.MULTILINE)
    return {f"{name}, {unit}": float(price) for name, price, unit in rows}


def run(ndjson: float) -> dict[str, Any]:
    """By the page's assumptions and the engines' own sizes."""
    executors = glue.workers(GlueSettings(job_name="x"), round(ndjson)) - 1
    mb_per_second = 150 * 0.75
    work = 2 * ndjson / 1e6 / (executors * 4 * mb_per_second)
    hours = (90 + work) / 3600
    each = EmrServerlessSettings.model_fields["executor_memory"].default / GIB
    cost = prices()
    vcpus, gb = DRIVER_CORES + 4 * executors, DRIVER_MIB / 1024 + each * executors
    inline_seconds = ndjson / 1e6 / mb_per_second
    return {
        "executors": executors,
        "work": work,
        "dpu_hours": (executors + 1) * hours,
        "standard": (executors + 1) * hours * cost["Glue STANDARD, DPU-hour"],
        "flex": (executors + 1) * hours * cost["Glue FLEX, DPU-hour"],
        "serverless": hours * (vcpus * cost["EMR Serverless, vCPU-hour"] + gb * cost["EMR Serverless, GB-hour"]),
        "size": f"{vcpus:.0f} vCPU, {gb:.0f} GB",
        "inline_seconds": inline_seconds,
        "inline": inline_seconds
        / 3600
        * (cost["Fargate, for workers, vCPU-hour"] + 2 * cost["Fargate, for workers, GB-hour"]),
    }


@pytest.mark.parametrize(("column", "ndjson"), [(1, 100e9), (2, 1e12)])
def test_the_table_of_costs_follows_from_the_prices(column: int, ndjson: float) -> None:
    table = [row.strip("| ").split(" | ") for row in COST.splitlines() if row.startswith("|")]
    said = {row[0].strip("| –"): row[column] for row in table if len(row) == 3}
    found = run(ndjson)
    assert f"= {found['dpu_hours']:.3f} DPU-h" in said["Glue"]
    assert said["STANDARD"] == f"**${found['standard']:.3f}**"
    assert said["FLEX"] == f"**${found['flex']:.3f}**"
    assert said["EMR Serverless"].startswith(found["size"])
    assert said["for both"] == f"**${found['serverless']:.3f}**"
    assert f"{found['inline_seconds']:,.0f} vCPU-s" in said["inline"]
    assert said["1 vCPU, 2 GB on Fargate"] == f"**${found['inline']:.3f}**"
    assert round(found["work"]) == 148


def test_the_thresholds_follow_from_the_prices() -> None:
    cost = prices()
    flex, standard = cost["Glue FLEX, DPU-hour"], cost["Glue STANDARD, DPU-hour"]
    vcpu, gb = cost["EMR Serverless, vCPU-hour"], cost["EMR Serverless, GB-hour"]
    executor, small, driver = 4 * vcpu + 16 * gb, 4 * vcpu + 8 * gb, 2 * vcpu + 8 * gb
    words = " ".join(COST.split())
    assert f"${executor:.3f} an hour on EMR Serverless" in words
    assert f"a driver ${driver:.3f} against" in words
    assert f"costs ${small:.3f}, and EMR is cheaper at any size" in words
    assert f"at n = {(flex - driver) / (executor - flex):.1f}" in words
    assert f"{standard / flex:.2f} times as long" in words
    assert f"The same run for {100 * (1 - flex / standard):.0f} % less" in words
    idle = 24 * (2 * cost["Fargate, for workers, vCPU-hour"] + 4 * cost["Fargate, for workers, GB-hour"])
    assert f"costs ${idle:.2f} a day on Fargate, which is {idle / run(1e12)['flex']:.1f} TB of FLEX" in words
    longest = 60 + 90 + ceil(2 * 32 * GIB / 1e6 / 450)
    assert f"{longest} s × 225 MB/s = {longest * 225 / 1000:.0f} GB" in words
    small_flex = 2 * (90 + 2 * 2 * GIB / 1e6 / 450) / 3600 * flex
    assert f"${small_flex:.3f} on FLEX" in words
