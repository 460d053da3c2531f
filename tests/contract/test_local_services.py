"""Local services start, end with their test run, and are skipped only where they can't run."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from local_services import HOST, LEASH, LocalService, answers, free_ports, http_status, require

PRESENT = Path(sys.executable)
ABSENT = PRESENT / "nowhere"


def files(directory: Path, ports: Sequence[int]) -> list[str]:
    return [sys.executable, "-m", "http.server", "--bind", HOST, "--directory", str(directory), str(ports[0])]


SERVICE = LocalService("a web server", files, PRESENT, ready=200)


async def test_a_service_answers_while_it_is_used_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with SERVICE.start(tmp_path) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        assert endpoint.url == f"http://{HOST}:{port}"
        assert await http_status(port) == 200
    assert await http_status(port) is None


async def test_a_service_ends_when_whoever_holds_its_leash_does(tmp_path: Path) -> None:
    """Also when nobody is left to stop it: the pipe closes with the process that made it."""
    (port,) = free_ports(1)
    leash = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LEASH, *files(tmp_path, [port])), stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL
    )
    assert leash.stdin is not None
    async with asyncio.timeout(20):
        assert await answers(leash, port, 200)
        leash.stdin.close()
        assert await leash.wait() != 0
        assert await http_status(port) is None


async def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = replace(SERVICE, command=lambda *_: [sys.executable, "-c", "raise SystemExit('no room here')"])
    with pytest.raises(RuntimeError, match="no room here"):
        async with broken.start(tmp_path):
            pass


@pytest.mark.parametrize("ci", ["", "true"])
def test_what_this_machine_cannot_run_is_skipped_and_says_what_is_missing(
    ci: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program"):
        require(replace(SERVICE, marker=ABSENT, needs=("no-such-program",)))


def test_what_could_run_and_is_not_installed_is_skipped_by_people_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make services"):
        require(replace(SERVICE, marker=ABSENT))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="make services"):
        require(replace(SERVICE, marker=ABSENT))
    require(SERVICE)
