"""How the gateway and the sink listen: a port for traffic, another for the operator, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from aiohttp.http import HttpProcessingError

from driftline.capture.buffer import complain
from driftline.capture.client import Capture
from driftline.capture.gateway import as_given
from driftline.capture.metrics import CONTENT_TYPE, Family, exposition
from driftline.errors import DriftlineError, InputError

_KEEP_ALIVE_S = 75.0  # also for a connection that has not sent a whole head of a request yet
_LINE_BYTES = 16 << 10
_FIELD_BYTES = 64 << 10  # the longest header
_FIELDS = 1000
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Service(Protocol):
    """What is served on the port for traffic."""

    async def open(self) -> None:
        """Called before the first request."""

    async def close(self) -> None:
        """Called after the last one."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""

    def metrics(self) -> str:
        """Its counters for Prometheus."""


class Listening(NamedTuple):
    """Where to listen, and within which limits."""

    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int | None = 8081
    """None: no port for the operator."""
    most_connections: int = 1000
    drain_s: float = 20.0
    """After SIGTERM: how long requests in flight may take, before what was captured is stored."""
    flush_s: float = 8.0
    """… and how long that may take."""


class Serving(NamedTuple):
    """Where it listens in fact."""

    address: str
    admin: str | None


async def serve(
    service: Service,
    capture: Capture,
    listening: Listening,
    *,
    ready: Callable[[Serving], None],
    reload: Callable[[], None] | None = None,
) -> bool:
    """Serve until SIGTERM or SIGINT; whether everything that was captured is in the store.

    Args:
        ready: called once requests are accepted.
        reload: called on SIGHUP; what it raises of ours is logged, and all stays as it was.

    Raises:
        InputError: an address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, _reloading(reload))
    await service.open()
    capture.start()
    state = _State()
    traffic = await _listen(
        service.handle,
        listening.host,
        listening.port,
        most=listening.most_connections,
        drain_s=listening.drain_s,
        refuse=state.refuse,
    )
    admin = None
    if listening.admin_port is not None:
        handle = _operator(service, capture, state)
        admin = await _listen(handle, listening.admin_host, listening.admin_port, most=100, drain_s=1.0)
    ready(Serving(traffic.address, None if admin is None else admin.address))
    await stopped.wait()
    state.draining = True
    await traffic.close()
    await service.close()
    whole = await loop.run_in_executor(None, capture.close, listening.flush_s)
    if admin is not None:
        await admin.close()
    return whole


class _State:
    draining = False
    refused = 0

    def refuse(self) -> None:
        """A connection is one too many."""
        self.refused += 1

    def metrics(self) -> str:
        """In the text format of Prometheus."""
        told = "Connections answered 503, being one too many."
        return exposition([Family("driftline_connections_refused_total", "counter", told, [({}, self.refused)])])


class _Port:
    """One port that is listened on."""

    def __init__(self, runner: web.AppRunner, server: asyncio.Server) -> None:
        self._runner = runner
        self._server = server
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Accept no more; let what is in flight end."""
        self._server.close()
        await self._runner.cleanup()


async def _listen(
    handle: Callable[[web.Request], Any],
    host: str,
    port: int,
    *,
    most: int,
    drain_s: float,
    refuse: Callable[[], None] = lambda: None,
) -> _Port:
    application = web.Application(client_max_size=64 << 20)
    application.on_response_prepare.append(as_given)
    application.router.add_route("*", "/{path:.*}", handle)  # found at once; the middleware is for what is no path
    application.middlewares.append(_all(handle))
    runner = web.AppRunner(
        application,
        handle_signals=False,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=_KEEP_ALIVE_S,
        shutdown_timeout=drain_s,
        max_line_size=_LINE_BYTES,
        max_field_size=_FIELD_BYTES,
        max_headers=_FIELDS,
        auto_decompress=False,
        lingering_time=5.0,
        logger=_log(),
    )
    await runner.setup()
    http = runner.server
    assert http is not None  # noqa: S101  setup() has made it

    def accept() -> asyncio.BaseProtocol:
        if len(http.connections) < most:
            return http()
        refuse()
        return _Full()

    try:
        server = await asyncio.get_running_loop().create_server(accept, host, port, backlog=1024)
    except (OSError, OverflowError) as why:
        await runner.cleanup()
        raise InputError(f"cannot listen on {host}:{port}: {why}") from why
    return _Port(runner, server)


def _all(handle: Callable[[web.Request], Any]) -> Any:
    @web.middleware
    async def every(request: web.Request, handler: object) -> web.StreamResponse:
        response: web.StreamResponse = await handle(request)
        return response

    return every


class _Full(asyncio.Protocol):
    """Turns a connection away that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer before anything is asked."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  a TCP connection
        transport.write(_FULL)
        transport.close()


def _operator(service: Service, capture: Capture, state: _State) -> Callable[[web.Request], Any]:
    async def handle(request: web.Request) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path in ("/-/healthy", "/-/ready"):
            # Draining is healthy: who restarts on it would cut off what is in flight. It is not ready for more.
            status = "draining" if state.draining else "ok"
            return web.json_response(
                {"status": status}, status=503 if status != "ok" and "ready" in request.path else 200
            )
        if request.path == "/-/metrics":
            told = capture.metrics() + service.metrics() + state.metrics()
            return web.Response(text=told, headers={"Content-Type": CONTENT_TYPE})
        return web.json_response(
            {"error": "not_found", "detail": "there are /-/healthy, /-/ready and /-/metrics"}, status=404
        )

    return handle


def _reloading(reload: Callable[[], None] | None) -> Callable[[], None]:
    def again() -> None:
        if reload is None:
            return
        try:
            reload()
        except (DriftlineError, OSError) as why:
            complain("the config was not read again, and all stays as it was: %s", why)

    return again


def _log() -> logging.Logger:
    log = logging.getLogger("driftline.gateway")
    log.addFilter(_about_us)
    return log


def _about_us(record: logging.LogRecord) -> bool:
    """Not what callers send that is no HTTP: they are answered 400, and must not fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
