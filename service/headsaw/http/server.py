"""The worker's HTTP face: three endpoints for machines, an index for people. It only reads; other methods get 405."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from aiohttp import web

from headsaw.config.settings import HttpSettings
from headsaw.errors import UsageError
from headsaw.http.health import Health, Readiness

METRICS = "/metrics"
LIVEZ = "/livez"
READYZ = "/readyz"
INDEX = "/"

SHUTDOWN_SECONDS = 1.0
"""How long an open request may hold up the end of the worker."""

Exposition = Callable[[str], tuple[bytes, str]]
"""An Accept header → body and content type of a scrape."""

_PAGE = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Headsaw</title></head>
<body>
<h1>Headsaw</h1>
<ul>
<li><a href="{METRICS}">{METRICS}</a>: numbers for Prometheus</li>
<li><a href="{LIVEZ}">{LIVEZ}</a>: 200 while the worker is worth keeping</li>
<li><a href="{READYZ}">{READYZ}</a>: 200 while work may be expected of it, otherwise what is missing</li>
</ul>
</body>
</html>
"""

_REMEDIES = {
    errno.EADDRINUSE: "something else listens there: stop it, or choose another http.port (0 takes a free one)",
    errno.EACCES: "this user may not listen there: choose an http.port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address: correct http.host (0.0.0.0 listens on all of them)",
}


@dataclass(frozen=True, slots=True)
class Served:
    """Where the server listens; `port` is the bound one."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The base of every endpoint, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@asynccontextmanager
async def serve(settings: HttpSettings, health: Health, exposition: Exposition) -> AsyncIterator[Served]:
    """The endpoints answer until the context ends. Raises UsageError if the address can't be had."""
    endpoints = _Endpoints(health, exposition)
    runner = web.AppRunner(endpoints.app(), access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await _listen(runner, settings)
        host, port = runner.addresses[0][:2]
        yield Served(str(host), int(port))
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: HttpSettings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        number = error.errno or 0
        what = os.strerror(number).lower() if number in _REMEDIES else error.strerror or str(error)
        remedy = _REMEDIES.get(number, "correct http.host and http.port")
        raise UsageError(f"http: can't listen on {address}: {what} ({remedy})") from error


class _Endpoints:
    """The handlers; each reads and answers at once."""

    def __init__(self, health: Health, exposition: Exposition) -> None:
        self._health = health
        self._exposition = exposition

    def app(self) -> web.Application:
        """The routes; aiohttp itself answers other paths with 404 and other methods with 405."""
        app = web.Application()
        app.router.add_get(INDEX, self._index)
        app.router.add_get(METRICS, self._metrics)
        app.router.add_get(LIVEZ, self._livez)
        app.router.add_get(READYZ, self._readyz)
        app.on_response_prepare.append(_harden)
        return app

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def _metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _livez(self, _request: web.Request) -> web.Response:
        liveness = self._health.liveness()
        return web.json_response(asdict(liveness), status=200 if liveness.alive else 503)

    async def _readyz(self, _request: web.Request) -> web.Response:
        readiness = self._health.verdict()
        return web.json_response(_shown(readiness), status=200 if readiness.ready else 503)


def _shown(readiness: Readiness) -> dict[str, object]:
    """The JSON body of /readyz: every check by its name, with seconds since."""
    return {
        "ready": readiness.ready,
        "draining": readiness.draining,
        "reasons": readiness.reasons,
        "checks": {
            check.where.value: {
                "ok": check.ok,
                "seconds_since_success": _rounded(check.seconds_since_success),
                "seconds_since_failure": _rounded(check.seconds_since_failure),
                "last_failure": check.failure,
            }
            for check in readiness.checks
        },
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


async def _harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Nothing is cached, nothing is guessed, and no library's version is told."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "headsaw"
