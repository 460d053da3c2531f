"""The demo's composition root: an AWS on this machine, a configuration, and everything wired to both."""

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from rich.console import Console

from headsaw.adapters.connect import connect
from headsaw.adapters.local import create_queue, create_resources
from headsaw.adapters.probe import lacking
from headsaw.adapters.spark_local import check_requirements
from headsaw.config import SPARK_PYTHON_VARIABLE, load
from headsaw.demo.bench import bench_plan, measure
from headsaw.demo.emulator import REGION, Emulator
from headsaw.demo.fleet import Fleet
from headsaw.demo.leashed import RUNS_VARIABLE
from headsaw.demo.plan import DLQ, LAKE, LANDING, QUEUE, Plan, configuration
from headsaw.demo.show import Shown, Site, show
from headsaw.detached import stop_all
from headsaw.errors import UsageError
from headsaw.operate.audit import AuditOptions, AuditReport, audit
from headsaw.ports import Queue

MARKER = ".headsaw-demo"
CONFIG = "config.yaml"
REMEDY = (
    f"install `headsaw[spark]` there, or give another interpreter by {SPARK_PYTHON_VARIABLE}; "
    "in a checkout `make spark` makes one"
)
ENDING = (signal.SIGTERM, signal.SIGHUP)
EXTERNAL_DEFAULTS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}


async def run_demo(plan: Plan, console: Console, shown: Callable[[Shown], None], command: str = "headsaw") -> int:
    """Runs it and hands what came of it to `shown`; with `serve`, goes on until Ctrl-C. Returns the exit status.

    `command` is how people call headsaw. SIGTERM and SIGHUP end it as Ctrl-C does, with nothing left running.
    """
    if plan.spark_over is not None:
        plan = replace(plan, spark_python=await asyncio.to_thread(spark_python, plan.spark_python))
    with _asked_to_end() as asked:
        try:
            async with _stage(plan, console) as stage:
                result = await show(plan, stage.site, stage.dlq, stage.fleet, console)
                shown(result)
                if plan.serve:
                    await _serve(plan, stage, console, command)
                return 128 + asked[0] if asked else 0 if result.clean else 1
        except asyncio.CancelledError:
            if not asked:
                raise
            return 128 + asked[0]


def spark_python(asked: str | None, prefix: str = sys.prefix) -> str:
    """An interpreter that local Spark runs can use: the one asked for, this one, or that which `make spark` makes.

    Raises UsageError if it can't, or none of them can.
    """
    made = Path(prefix) / "spark" / "bin" / "python"
    candidates = [asked] if asked else [sys.executable, *([str(made)] if made.exists() else [])]
    refusals = []
    for candidate in candidates:
        try:
            check_requirements(candidate, REMEDY)
            return candidate
        except UsageError as refusal:
            refusals.append(str(refusal))
    raise UsageError(f"--spark-over: {refusals[-1]}")


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """SIGTERM and SIGHUP cancel this task once, and are listed. A SIGHUP that is ignored (nohup) stays ignored."""
    loop, task, asked = asyncio.get_running_loop(), asyncio.current_task(), list[int]()

    def ask(number: int) -> None:
        if not asked and task is not None:
            task.cancel()
        asked.append(number)

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, ask, number)
    try:
        yield asked
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


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
    """A configured AWS and a fleet that isn't running yet. `settings`: lines of shell that make a shell speak to it."""

    site: Site
    dlq: Queue
    fleet: Fleet
    settings: list[str]


@asynccontextmanager
async def _stage(plan: Plan, console: Console) -> AsyncIterator[Stage]:
    prepare_output(plan.output)
    async with _some_aws(plan, console) as environ:
        settings = shell_settings(os.environ, environ)
        with _aws_environment(environ):
            path = await _configure(plan)
            settings.append(f"export HEADSAW_CONFIG={shlex.quote(str(path))}")
            config = load(path, {})
            await create_resources(config)
            async with connect(config) as aws:

                async def audited(dataset: str) -> AuditReport:
                    return await audit(config, aws, dataset, AuditOptions(grace_seconds=0.0))  # it is drained

                site = Site(aws.queues[0], aws.ledger, aws.store, audited)
                fleet = Fleet.of(plan.workers, path, {**os.environ, RUNS_VARIABLE: str(plan.runs)}, plan.output)
                try:
                    yield Stage(site, aws.dlq, fleet, settings)
                finally:
                    stop_all(plan.runs)


async def _configure(plan: Plan) -> Path:
    """A configuration file as a user would write it; the queues' URLs are what this AWS calls them."""
    document = configuration(plan, await create_queue(QUEUE), await create_queue(DLQ))
    path = plan.output.absolute() / CONFIG
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def shell_settings(own: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What a shell with the variables `own` must run for `wanted` to be all of AWS's; what it has isn't repeated."""
    gone = [f"unset {name}" for name in sorted(own) if name.startswith("AWS_") and name not in wanted]
    new = [f"export {name}={shlex.quote(value)}" for name, value in sorted(wanted.items()) if own.get(name) != value]
    return gone + new


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
    try:
        if output.is_dir() and any(output.iterdir()) and not marker.exists():
            raise UsageError(f"--output {output}: has files that no demo wrote; choose another folder, or remove it")
        output.mkdir(parents=True, exist_ok=True)
        marker.touch()
        for path in sorted(output.rglob("*"), reverse=True):
            if path != marker:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"--output {output}: there is a file of that name; choose another folder") from None
    except OSError as error:
        raise UsageError(
            f"--output {output}: it can't be written to: {error.strerror}; choose another folder"
        ) from None


async def _serve(plan: Plan, stage: Stage, console: Console, command: str) -> None:
    """Workers and AWS stay until somebody asks to end; then the workers have stopped."""
    dataset = plan.datasets[0]
    landing, lake = f"s3://{LANDING}/{dataset}/", f"s3://{LAKE}/{dataset}/"
    steps = {
        "In another terminal, first:": stage.settings,
        "Look at it:": [f"{command} status", f"{command} batches"],
        "Land a FILE of your own, with the AWS CLI if you have it, and announce it:": [
            f"aws s3 cp FILE {landing}",
            f"{command} backfill {landing}",
        ],
        f"Its rows are under {lake} a second later; this names the objects:": [f"{command} describe {landing}FILE"],
    }
    console.print("\nStill running, until Ctrl-C.", highlight=False)
    for what, lines in steps.items():
        console.print(f"\n{what}", highlight=False, soft_wrap=True)
        for line in lines:
            console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
    finally:
        console.print("Stopping ...")
        await stage.fleet.stop()
    console.print("Stopped.")
