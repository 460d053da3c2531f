"""The demo's composition root: an AWS on this machine, a configuration, and everything wired to both."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from rich.console import Console

from headsaw.adapters.connect import connect
from headsaw.adapters.local import create_queue, create_resources
from headsaw.adapters.probe import lacking
from headsaw.config import load
from headsaw.demo.bench import bench_plan, measure
from headsaw.demo.emulator import REGION, Emulator
from headsaw.demo.fleet import Fleet
from headsaw.demo.plan import DLQ, LANDING, QUEUE, Plan, configuration
from headsaw.demo.show import Shown, Site, show
from headsaw.errors import UsageError
from headsaw.operate.audit import AuditOptions, AuditReport, audit
from headsaw.ports import Queue

MARKER = ".headsaw-demo"
EXTERNAL_DEFAULTS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


async def run_demo(plan: Plan, console: Console, shown: Callable[[Shown], None]) -> int:
    """Runs it and hands what came of it to `shown`; with `serve`, goes on until Ctrl-C. Returns the exit status."""
    async with _stage(plan, console) as stage:
        result = await show(plan, stage.site, stage.dlq, stage.fleet, console)
        shown(result)
        if plan.serve:
            await _serve(plan, stage, console)
        return 0 if result.clean else 1


async def run_bench(output: Path, console: Console) -> str:
    """The table of `make bench-e2e`."""
    plan = bench_plan(output)
    async with _stage(plan, console) as stage:
        try:
            return (await measure(plan, stage.site, stage.fleet)).table()
        finally:
            stage.fleet.kill_all()


@dataclass(frozen=True, slots=True)
class Stage:
    """A configured AWS and a fleet that isn't running yet."""

    site: Site
    dlq: Queue
    fleet: Fleet
    config: Path


@asynccontextmanager
async def _stage(plan: Plan, console: Console) -> AsyncIterator[Stage]:
    prepare_output(plan.output)
    async with _some_aws(plan, console) as environ:
        with _aws_environment(environ), TemporaryDirectory(prefix="headsaw-demo-") as folder:
            path = await _configure(plan, Path(folder))
            config = load(path, {})
            await create_resources(config)
            async with connect(config) as aws:

                async def audited(dataset: str) -> AuditReport:
                    return await audit(config, aws, dataset, AuditOptions(grace_seconds=0.0))  # it is drained

                site = Site(aws.queues[0], aws.ledger, aws.store, audited)
                yield Stage(site, aws.dlq, Fleet.of(plan.workers, path, dict(os.environ), plan.output), path)


async def _configure(plan: Plan, folder: Path) -> Path:
    """A configuration file as a user would write it; the queues' URLs are what this AWS calls them."""
    document = configuration(plan, await create_queue(QUEUE), await create_queue(DLQ))
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@asynccontextmanager
async def _some_aws(plan: Plan, console: Console) -> AsyncIterator[dict[str, str]]:
    """The environment of an AWS to use: the embedded one, or somebody else's after a look at what it can do."""
    if plan.endpoint_url is None:
        async with Emulator().start(lambda line: console.print(line, style="dim")) as endpoint:
            yield endpoint.env
        return
    kept = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    environ = {**EXTERNAL_DEFAULTS, **kept, "AWS_ENDPOINT_URL": plan.endpoint_url}
    with _aws_environment(environ):
        missing = await lacking()
    if missing:
        raise UsageError(
            f"the AWS at {plan.endpoint_url} lacks what headsaw's guarantees rest on:\n"
            + "\n".join(f"  - {sentence}" for sentence in missing)
            + "\nRun `headsaw demo` without --endpoint-url: it brings an AWS that has all of it."
        )
    yield environ


@contextmanager
def _aws_environment(environ: dict[str, str]) -> Iterator[None]:
    """Every AWS client and worker process made inside speaks to that AWS, and the user's own is left alone."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name in before:
        del os.environ[name]
    os.environ.update(environ)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(before)


def prepare_output(output: Path) -> None:
    """The folder exists and is empty but for the marker; a folder that no demo made is never cleared."""
    marker = output / MARKER
    if output.exists() and any(output.iterdir()) and not marker.exists():
        raise UsageError(f"--output {output}: has files that no demo wrote; choose another folder, or remove it")
    output.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for path in sorted(output.rglob("*"), reverse=True):
        if path != marker:
            path.rmdir() if path.is_dir() else path.unlink()


async def _serve(plan: Plan, stage: Stage, console: Console) -> None:
    """Workers and AWS stay until Ctrl-C."""
    console.print("\nStill running; land more NDJSON and announce it, from another terminal:")
    for name in sorted(name for name in os.environ if name.startswith("AWS_")):
        console.print(f"  export {name}={os.environ[name]}", soft_wrap=True)
    console.print(f"  export HEADSAW_CONFIG={stage.config}", soft_wrap=True)
    console.print(f"  aws s3 cp FILE s3://{LANDING}/{plan.datasets[0]}/", soft_wrap=True)
    console.print(f"  headsaw backfill s3://{LANDING}/{plan.datasets[0]}/    headsaw status    headsaw batches")
    console.print("Ctrl-C ends it.")
    try:
        await asyncio.Event().wait()
    finally:
        await stage.fleet.stop()
