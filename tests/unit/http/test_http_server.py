"""The endpoints, asked over real HTTP on loopback."""

import logging
import socket
from collections.abc import AsyncIterator
from io import StringIO

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from headsaw.config.settings import HttpSettings, LogSettings
from headsaw.core.facts import MessagesReceived, Where
from headsaw.errors import UsageError
from headsaw.http import LIVEZ, METRICS, READYZ, Health, Served, serve
from headsaw.http.health import REQUIRED
from headsaw.http.server import Exposition
from headsaw.telemetry import Telemetry, open_telemetry

LOOPBACK = HttpSettings(host="127.0.0.1", port=0)


class Worker:
    """What a test sees of a worker: its health, its telemetry, its log, and a client that speaks to it."""

    def __init__(
        self, health: Health, telemetry: Telemetry, log: StringIO, served: Served, client: ClientSession
    ) -> None:
        self.health = health
        self.telemetry = telemetry
        self.log = log
        self.served = served
        self.client = client

    def reach_all(self) -> None:
        for where in REQUIRED:
            self.health.reached(where)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    log = StringIO()
    health = Health(lambda: 1000.0, stale_seconds=30)
    with open_telemetry(LogSettings(), worker="worker-1", stream=log) as telemetry:
        async with serve(LOOPBACK, health, telemetry.exposition) as served, ClientSession(served.url) as client:
            yield Worker(health, telemetry, log, served, client)


async def fetched(path: str, exposition: Exposition) -> tuple[int, str]:
    """Status and text of one request to a server of its own."""
    async with serve(LOOPBACK, Health(lambda: 0.0, 30), exposition) as served, ClientSession(served.url) as client:
        response = await client.get(path)
        return response.status, await response.text()


def test_the_paths_are_those_that_deployments_probe() -> None:
    assert (METRICS, LIVEZ, READYZ) == ("/metrics", "/livez", "/readyz")


async def test_metrics_are_prometheus_text(worker: Worker) -> None:
    worker.telemetry.tell(MessagesReceived(10, 2.5))
    async with worker.client.get(METRICS) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}
    assert families["headsaw_messages_received"].samples[0].value == 10


async def test_metrics_are_openmetrics_for_those_who_ask_for_it(worker: Worker) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    async with worker.client.get(METRICS, headers={"Accept": accept}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await response.text()).endswith("# EOF\n")


async def test_a_worker_lives_until_a_task_dies(worker: Worker) -> None:
    async with worker.client.get(LIVEZ) as response:
        assert response.status == 200
        assert await response.json() == {"alive": True, "dead_tasks": []}
    worker.health.died("recovery")
    async with worker.client.get(LIVEZ) as response:
        assert response.status == 503
        assert await response.json() == {"alive": False, "dead_tasks": ["recovery"]}


async def test_a_worker_that_reached_everything_is_ready(worker: Worker) -> None:
    worker.reach_all()
    async with worker.client.get(READYZ) as response:
        assert response.status == 200
        body = await response.json()
    assert body["ready"] is True
    assert body["reasons"] == []
    assert set(body["checks"]) == {"queue", "ledger", "bucket"}


async def test_a_worker_that_is_not_ready_says_which_check_fails_and_why(worker: Worker) -> None:
    worker.health.reached(Where.QUEUE)
    worker.health.reached(Where.BUCKET)
    worker.health.failed(Where.LEDGER, "AccessDenied")
    async with worker.client.get(READYZ) as response:
        assert response.status == 503
        assert response.content_type == "application/json"
        body = await response.json()
    assert body["ready"] is False
    assert body["reasons"] == ["ledger was not reached yet; last failure: AccessDenied"]
    assert body["checks"]["ledger"] == {
        "ok": False,
        "seconds_since_success": None,
        "seconds_since_failure": 0.0,
        "last_failure": "AccessDenied",
    }
    assert body["checks"]["queue"]["ok"] is True


async def test_a_draining_worker_is_not_ready_and_lives(worker: Worker) -> None:
    worker.reach_all()
    worker.health.draining()
    async with worker.client.get(READYZ) as response:
        assert response.status == 503
        assert (await response.json())["reasons"] == ["the worker is draining"]
    async with worker.client.get(LIVEZ) as response:
        assert response.status == 200


async def test_the_index_lists_the_endpoints(worker: Worker) -> None:
    async with worker.client.get("/") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        page = await response.text()
    assert all(f'href="{path}"' in page for path in (METRICS, LIVEZ, READYZ))


@pytest.mark.parametrize("path", ["/", METRICS, LIVEZ, READYZ])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(worker: Worker, method: str, path: str) -> None:
    async with worker.client.request(method, path, data=b"x") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"


async def test_other_paths_are_not_found(worker: Worker) -> None:
    async with worker.client.get("/status") as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/", METRICS, LIVEZ, READYZ, "/nothing"])
async def test_no_answer_is_cached_or_tells_a_librarys_version(worker: Worker, path: str) -> None:
    async with worker.client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] == "headsaw"


async def test_requests_leave_no_line_in_the_log(worker: Worker) -> None:
    for path in ("/", METRICS, LIVEZ, READYZ, "/nothing"):
        async with worker.client.get(path) as response:
            await response.read()
    assert worker.log.getvalue() == ""


async def test_a_request_that_is_no_http_is_answered_and_stops_nothing(worker: Worker) -> None:
    with socket.create_connection((worker.served.host, worker.served.port)) as connection:
        connection.sendall(b"\x00\x01 not http\r\n\r\n")
        connection.setblocking(False)
        async with worker.client.get(LIVEZ) as response:
            assert response.status == 200


async def test_a_scrape_that_fails_is_a_500_and_in_the_log_without_its_text() -> None:
    log = StringIO()

    def broken(_accept: str) -> tuple[bytes, str]:
        raise KeyError("s3://bucket/key")

    with open_telemetry(LogSettings(), worker="worker-1", stream=log):
        status, text = await fetched(METRICS, broken)
    assert status == 500
    assert "KeyError" in log.getvalue()
    assert "s3://" not in log.getvalue() + text


async def test_port_0_takes_a_free_port_and_tells_it(worker: Worker) -> None:
    assert worker.served.port > 0
    assert worker.served.url == f"http://127.0.0.1:{worker.served.port}"


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert Served("::1", 8080).url == "http://[::1]:8080"


async def test_a_port_in_use_is_a_usage_error_that_says_what_to_do(worker: Worker) -> None:
    taken = HttpSettings(host="127.0.0.1", port=worker.served.port)
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:\d+: address already in use .*choose another http\.port"):
        async with serve(taken, worker.health, worker.telemetry.exposition):
            pass
    async with worker.client.get(LIVEZ) as response:
        assert response.status == 200, "the one that listens isn't disturbed"


async def test_an_address_that_is_not_ours_is_a_usage_error(worker: Worker) -> None:
    elsewhere = HttpSettings(host="192.0.2.1", port=0)
    with pytest.raises(UsageError, match=r"http\.host"):
        async with serve(elsewhere, worker.health, worker.telemetry.exposition):
            pass


async def test_the_port_is_free_again_afterwards() -> None:
    health = Health(lambda: 0.0, 30)
    async with serve(LOOPBACK, health, lambda _: (b"", "text/plain")) as served:
        again = HttpSettings(host="127.0.0.1", port=served.port)
    async with serve(again, health, lambda _: (b"", "text/plain")) as served:
        assert served.port == again.port


async def test_the_access_log_stays_silent_even_if_its_logger_is_loud() -> None:
    log = StringIO()
    access = logging.getLogger("aiohttp.access")
    with open_telemetry(LogSettings(level="DEBUG", allow_debug=True), worker="w", stream=log):
        access.setLevel(logging.INFO)
        status, _ = await fetched(LIVEZ, lambda _: (b"", "text/plain"))
        access.setLevel(logging.NOTSET)
    assert status == 200
    assert log.getvalue() == ""
