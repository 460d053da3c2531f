"""Runs the image as the cluster does and checks what it promises. Exit status 1 if a promise is broken.

    python deploy/image/check.py IMAGE [--run-args "…"] -- docker
    python deploy/image/check.py IMAGE -- podman --storage-driver vfs

What follows `--` is the engine's command line up to its subcommand.
"""
# ruff: noqa: INP001, S108, S310, S603 - a script beside others, about a container's /tmp, that runs the engine it is told to
# and asks URLs that it made itself

import argparse
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import botocore.session
import yaml

HERE = Path(__file__).parent
CONFIG = HERE.parent / "k8s" / "base" / "config.yaml"
CONTAINER = "headsaw-check"
WAIT_SECONDS = 60
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")


class Image:
    """The image under an engine, with every run hardened as the Deployment is."""

    def __init__(self, name: str, engine: list[str], run_args: list[str]) -> None:
        self.name = name
        self.engine = engine
        self.run_args = run_args

    def command(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs the image with those arguments."""
        return [*self.engine, "run", "--rm", *HARDENED, *self.run_args, *options, self.name, *arguments]

    def run(
        self, *arguments: str, options: tuple[str, ...] = (), text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The ended container's exit status and output; its errors go to ours."""
        command = self.command(*arguments, options=options)
        return subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=False)

    def probe(self, *options: str) -> dict[str, object]:
        """What `inside.py` finds in a container with those options."""
        options = ("--interactive", "--entrypoint", "python", *options)
        found = self.run("-", options=options, text=(HERE / "inside.py").read_text())
        found.check_returncode()
        facts: dict[str, object] = json.loads(found.stdout)
        return facts


class Report:
    """Each check as a line; broken ones are counted."""

    def __init__(self) -> None:
        self.broken = 0

    def expect(self, promise: str, found: object, wanted: object) -> None:
        """Prints the promise and what was found."""
        kept = found == wanted
        self.broken += not kept
        sys.stdout.write(f"{'ok    ' if kept else 'BROKEN'}  {promise}: {found}{'' if kept else f', not {wanted}'}\n")


def check_inside(image: Image, report: Report) -> None:
    """The process's rights, and what there is to find in the file system."""
    found = image.probe()
    report.expect("runs as user", found["user"], "10001:10001")
    report.expect("capabilities", found["capabilities"], 0)
    report.expect("can gain no privileges", found["no_new_privileges"], "1")
    report.expect("system calls are filtered (2 = by a seccomp filter)", found["seccomp"], "2")
    report.expect("writable directories", found["writable"], ["/tmp"])
    report.expect("compiled in advance", found["compiled"], True)
    # As root, who may look everywhere.
    found = image.probe("--user", "0:0")
    report.expect("installers, compilers, downloaders", found["tools"], [])
    report.expect("directories of the build", found["build_directories"], [])


def check_commands(image: Image, report: Report) -> None:
    """The entry point is the command line."""
    shown = image.run("--help")
    sys.stdout.write(shown.stdout)
    report.expect("exit status of headsaw --help", shown.returncode, 0)
    report.expect("it names the service's command", " run " in shown.stdout, True)
    version = image.run("--version").stdout.strip()
    report.expect(f"parses natively ({version})", version.endswith("(parser: native)"), True)


class Service:
    """The example configuration against a local AWS: how it is set up, run, used and stopped."""

    def __init__(self, image: Image, aws: dict[str, str], directory: Path) -> None:
        self.image = image
        self.config = yaml.safe_load(CONFIG.read_text())
        self.config["datasets"][0]["batch"]["max_age"] = "1s"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        queues = f"{aws['AWS_ENDPOINT_URL']}/{aws['AWS_ACCESS_KEY_ID']}"
        self.environment = aws | {
            "HEADSAW_QUEUE_URL": f"{queues}/headsaw",
            "HEADSAW_DLQ_URL": f"{queues}/headsaw-dlq",
            "HEADSAW_HTTP__PORT": self.url.rpartition(":")[2],
        }
        self.path = directory / "config.yaml"
        self.path.write_text(yaml.safe_dump(self.config))
        self.path.chmod(0o644)
        directory.chmod(0o755)

    def set_up(self) -> None:
        """Queues, buckets and ledger exist, as a local AWS needs it."""
        command = [sys.executable, "-m", "headsaw", "local-setup", "--config", str(self.path)]
        subprocess.run(command, env=os.environ | self.environment, check=True)

    def start(self) -> subprocess.Popen[bytes]:
        """The container, by its own entry point and command; its log goes to ours."""
        variables = [text for name, value in self.environment.items() for text in ("--env", f"{name}={value}")]
        mount = ("--volume", f"{self.path}:/etc/headsaw/config.yaml:ro")
        return subprocess.Popen(self.image.command(options=("--name", CONTAINER, *mount, *variables)))

    def status(self, path: str) -> int:
        """The status of a GET; 0 while nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metrics(self) -> str:
        """What a scrape gets."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=5) as response:
            return str(response.read().decode())

    def land(self) -> None:
        """A file is in the landing bucket, and its notification in the queue."""
        source = self.config["datasets"][0]["source"].removeprefix("s3://")
        bucket, _, prefix = source.partition("/")
        body = b'{"id":1,"ts":"2026-11-23T00:00:00Z"}\n{"id":2,"ts":"2026-11-23T00:00:01Z"}\n'
        stored = self._client("s3").put_object(Bucket=bucket, Key=f"{prefix}check.ndjson", Body=body)
        item = {"key": f"{prefix}check.ndjson", "size": len(body), "eTag": stored["ETag"].strip('"')}
        record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "eventTime": "2026-11-23T00:00:02.000Z"}
        event = {"Records": [record | {"eventVersion": "2.1", "s3": {"bucket": {"name": bucket}, "object": item}}]}
        self._client("sqs").send_message(QueueUrl=self.environment["HEADSAW_QUEUE_URL"], MessageBody=json.dumps(event))

    def published(self) -> list[str]:
        """What a reader of the destination sees."""
        bucket, _, prefix = self.config["datasets"][0]["destination"].removeprefix("s3://").partition("/")
        return [
            item["Key"] for item in self._client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", ())
        ]

    def _client(self, service: str) -> botocore.client.BaseClient:
        """A client of the local AWS."""
        return botocore.session.get_session().create_client(
            service,
            region_name=self.environment["AWS_REGION"],
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


@contextmanager
def local_aws() -> Iterator[dict[str, str]]:
    """The variables of an emulator that lives as long as the context."""
    command = [sys.executable, "-m", "headsaw.demo.emulator"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["env"]
        finally:
            process.terminate()


def until(what: Callable[[], object], process: subprocess.Popen[bytes]) -> object:
    """What is found once there is anything, or in the end; nothing is waited for when the container has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := what()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def check_service(image: Image, report: Report) -> None:
    """A whole life of the worker: it becomes ready, publishes a file, and ends when asked to."""
    with local_aws() as aws, tempfile.TemporaryDirectory() as directory:
        service = Service(image, aws, Path(directory))
        service.set_up()
        process = service.start()
        try:
            ready = until(lambda: service.status("/readyz") == 200, process)
            report.expect("becomes ready", ready, True)
            report.expect("lives", service.status("/livez"), 200)
            report.expect("tells of unfinished batches", "\nheadsaw_batches_unfinished " in service.metrics(), True)
            service.land()
            report.expect("publishes Parquet", bool(until(service.published, process)), True)
            began = time.monotonic()
            subprocess.run([*image.engine, "stop", "--time", str(WAIT_SECONDS), CONTAINER], check=True)
            report.expect("exit status after SIGTERM", process.wait(WAIT_SECONDS), 0)
            report.expect("ends by itself, without being killed", time.monotonic() - began < WAIT_SECONDS, True)
        finally:
            if process.poll() is None:
                subprocess.run([*image.engine, "rm", "--force", CONTAINER], check=False)


def main() -> int:
    """Every check, then the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--run-args", default="", help="more arguments of each run, in one string")
    parser.add_argument("engine", nargs="+", help="the engine's command line, after --")
    arguments = parser.parse_args()
    image = Image(arguments.image, arguments.engine, shlex.split(arguments.run_args))
    report = Report()
    check_inside(image, report)
    check_commands(image, report)
    check_service(image, report)
    sys.stdout.write(f"{report.broken} broken\n")
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
