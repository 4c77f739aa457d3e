"""The traffic of the demo: the service in a process of its own, and callers that ask it over HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

from driftline.demo.flights import Flight, Flights
from driftline.demo.service import LISTENING
from driftline.errors import Unavailable

CALLERS: Final = 2
"""Connections that ask at the same time."""
_END_S: Final = 10
Asked: TypeAlias = tuple[str, Flight]


class Endpoint:
    """The running service, as its callers see it."""

    def __init__(self, address: str, stack: ExitStack) -> None:
        self.url = f"http://{address}"
        self._callers = [HTTPConnection(address, timeout=30) for _ in range(CALLERS)]
        for caller in self._callers:
            stack.callback(caller.close)
        self._pool = stack.enter_context(ThreadPoolExecutor(CALLERS, thread_name_prefix="demo-caller"))

    def ask(self, flights: Flights) -> int:
        """Ask about each flight in its hour, one request for each; the number of requests."""
        asked = zip(flights.departs_at, zip(flights.ids, flights.facts, strict=True), strict=True)
        for at, group in groupby(asked, key=lambda pair: pair[0]):
            self.set_clock(at)
            hour = [request for _, request in group]
            parts = [(caller, hour[n::CALLERS]) for n, caller in enumerate(self._callers)]
            list(self._pool.map(_ask_all, parts))
        return len(flights)

    def set_clock(self, at: datetime) -> None:
        """Tell the service the time."""
        _post(self._callers[0], "/clock", at.isoformat(), {})

    def flush(self) -> None:
        """Wait until what was captured is stored."""
        _post(self._callers[0], "/flush", "", {})
        # The night may be long (a model is trained), and a server closes connections that are idle for some seconds.
        for caller in self._callers:
            caller.close()


@contextmanager
def serving(folder: Path, objects: Path, at: datetime) -> Iterator[Endpoint]:
    """The service over the model in `folder`, in a process of its own, which ends with this block."""
    command = [sys.executable, "-m", "driftline.demo.service", str(folder)]
    command += ["--objects", str(objects), "--clock", at.isoformat(), "--attached"]
    log = folder / "service.log"
    with log.open("wb") as said, ExitStack() as stack:
        # Its standard input is a pipe that nobody writes to: it closes however we end, and the service with it.
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
        )
        stack.callback(_end, process)
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith(LISTENING):
            raise Unavailable(f"the service did not start; see {log}")
        yield Endpoint(line.removeprefix(f"{LISTENING}http://").strip(), stack)


def _ask_all(part: tuple[HTTPConnection, list[Asked]]) -> None:
    caller, requests = part
    for flight_id, flight in requests:
        headers = {"Content-Type": "text/csv", "X-Amzn-SageMaker-Inference-Id": flight_id}
        _post(caller, "/invocations", flight.line(), headers)


def _post(caller: HTTPConnection, path: str, body: str, headers: dict[str, str]) -> None:
    try:
        caller.request("POST", path, body, headers)
        response = caller.getresponse()
        answer = response.read()
    except (OSError, HTTPException) as why:
        raise Unavailable(f"the service does not answer POST {path}: {why!r}") from why
    if not 200 <= response.status < 300:
        raise Unavailable(f"the service answers POST {path} with {response.status}: {answer[:200].decode()!r}")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
