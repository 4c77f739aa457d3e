"""The endpoint of the demo: a model behind HTTP with capture switched on. It listens on this machine only.

    python -m driftline.demo.service FOLDER

prints the address it listens on, and serves the model in FOLDER/model.json; a new file there is served from the next
request on. What differs from any other service is the clock, which the demo sets by POST /clock.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from driftline.capture import Capture, CaptureMiddleware
from driftline.demo.flights import Flight
from driftline.demo.model import Model, load
from driftline.errors import InputError

ENDPOINT: Final = "flights"
MODEL_FILE: Final = "model.json"
LISTENING: Final = "listening on "


class Clock:
    """A clock that is set from outside."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """The time it shows."""
        return self.at


class Served:
    """The model of a file; when the file is replaced, the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = path.stat().st_mtime_ns
        self._model = load(path)

    def current(self) -> Model:
        """The model to answer with now."""
        changed = self._path.stat().st_mtime_ns
        if changed != self._seen:
            self._model, self._seen = load(self._path), changed
        return self._model


def create_app(folder: Path, objects: str, clock: Clock) -> Starlette:
    """The application: POST /invocations, GET /ping, and for the demo POST /clock and /flush.

    Args:
        folder: where `model.json` is.
        objects: the folder that requests and answers are captured to.
    """
    served = Served(folder / MODEL_FILE)
    capture = Capture(ENDPOINT, objects, clock=clock)

    async def invocations(request: Request) -> Response:
        """One flight per line in, one probability per line out."""
        try:
            flights = [Flight.parse(line) for line in (await request.body()).decode().splitlines() if line]
        except (InputError, UnicodeDecodeError) as why:
            return PlainTextResponse(f"{why}\n", status_code=422)
        model = served.current()
        answer = "".join(f"{model.probability(flight):.6f}\n" for flight in flights)
        return PlainTextResponse(answer, media_type="text/csv", headers={"X-Model-Version": model.version})

    async def ping(_: Request) -> Response:
        model = served.current()
        return JSONResponse({"model": model.version, "trained": model.trained._asdict(), "clock": clock().isoformat()})

    async def set_clock(request: Request) -> Response:
        text = (await request.body()).decode()
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return PlainTextResponse(f"{text!r} is not a time; write 2013-06-01T09:00:00+00:00\n", status_code=422)
        if at.tzinfo is None:
            return PlainTextResponse(f"{text!r} has no time zone; write {text}+00:00\n", status_code=422)
        clock.at = at.astimezone(UTC)
        return Response(status_code=204)

    async def flush(_: Request) -> Response:
        whole = await run_in_threadpool(capture.flush, 25.0)
        counted = capture.counters
        body = {"written": counted.written, "dropped": dict(counted.dropped), "whole": whole}
        return JSONResponse(body, status_code=200 if whole else 503)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(capture.close)

    return Starlette(
        routes=[
            Route("/invocations", invocations, methods=["POST"]),
            Route("/ping", ping),
            Route("/clock", set_clock, methods=["POST"]),
            Route("/flush", flush, methods=["POST"]),
        ],
        middleware=[Middleware(CaptureMiddleware, capture=capture)],
        lifespan=lifespan,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until terminated."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m driftline.demo.service", description="Serve the flights model.")
    parser.add_argument("folder", type=Path, help="where model.json is")
    parser.add_argument("--objects", required=True, help="folder for captured requests")
    parser.add_argument("--clock", type=datetime.fromisoformat, required=True, help="the time to begin with, ISO 8601")
    parser.add_argument("--attached", action="store_true", help="end when standard input is closed")
    given = parser.parse_args(arguments)
    if given.attached:
        Thread(target=_end_with_input, daemon=True).start()
    app = create_app(given.folder, given.objects, Clock(given.clock))
    # The protocol must be named: asyncio switches Nagle's delay off (40 ms an answer) only where it sees TCP.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)  # before its address is told
    print(f"{LISTENING}http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201  who started it waits for this
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
