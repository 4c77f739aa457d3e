"""Servers with several workers: each captures, and all is accounted for, though one be killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from driftline.capture import Capture
from driftline.capture.counters import Counters, stored_counters
from driftline.capture.record import Record, decode
from driftline.objects.directory import Directory
from driftline.windows import Window

WSGI = """
    import os
    from driftline.capture import Capture, CaptureWSGIMiddleware

    def predict(environ, start_response):
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if body == b"broken":
            raise ValueError("the application's own error")
        start_response("200 OK", [("Content-Type", "text/csv"), ("X-Worker", str(os.getpid()))])
        return [str(sum(map(float, body.split(b",")))).encode()]
"""
ASGI = """
    import os
    from driftline.capture import Capture, CaptureMiddleware
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def predict(request):
        body = await request.body()
        if body == b"broken":
            raise ValueError("the application's own error")
        return Response(str(sum(map(float, body.split(b",")))), media_type="text/csv",
            headers={"X-Worker": str(os.getpid())})
"""
CAPTURE = """
    capture = Capture("sums", os.environ["STORE"], roll_after_s=60)
    app = {}(predict, capture, metrics_path="/metrics")
"""
OF_STARLETTE = 'predict = Starlette(routes=[Route("/invocations", predict, methods=["POST"])])\n'

SERVERS: dict[str, tuple[str, Sequence[str]]] = {
    "gunicorn": ("wsgi", ["gunicorn", "--no-control-socket", "--workers", "2"]),
    "gunicorn that forks after the start": ("wsgi", ["gunicorn", "--no-control-socket", "--workers", "2", "--preload"]),
    "gunicorn with threads": ("wsgi", ["gunicorn", "--no-control-socket", "--workers", "2", "--threads", "4"]),
    "uvicorn": ("asgi", ["uvicorn", "--workers", "2"]),
}


@dataclass
class Server:
    """A server with its workers, and what it stored."""

    process: subprocess.Popen[bytes]
    url: str
    store: Directory

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def records(self) -> list[Record]:
        entries = [entry for entry in self.store.list("captured/sums/AllTraffic/2") if entry.key.endswith(".jsonl")]
        return [decode(line) for entry in entries for line in self.store.get(entry.key).splitlines()]

    def counted(self) -> Counters:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251  real processes
        around = Window(hour - timedelta(hours=1), hour + timedelta(hours=1))
        return stored_counters(self.store, "sums", "AllTraffic", around)


@contextmanager
def serving(name: str, folder: Path) -> Iterator[Server]:
    kind, (program, *options) = SERVERS[name]
    pytest.importorskip(program)
    source = textwrap.dedent(WSGI) if kind == "wsgi" else textwrap.dedent(ASGI) + OF_STARLETTE
    wrapped = textwrap.dedent(CAPTURE).format("CaptureWSGIMiddleware" if kind == "wsgi" else "CaptureMiddleware")
    (folder / "service.py").write_text(source + wrapped)
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        os.set_inheritable(listener.fileno(), True)
        told = ["--bind", f"fd://{listener.fileno()}"] if program == "gunicorn" else ["--fd", str(listener.fileno())]
        process = subprocess.Popen(
            [sys.executable, "-m", program, *options, *told, "service:app"],
            cwd=folder,
            env={**os.environ, "STORE": str(folder / "objects")},
            pass_fds=[listener.fileno()],
            stderr=log,
            stdout=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield Server(process, url, Directory(folder / "objects"))
    finally:
        process.kill()
        process.wait(20)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    # Each request has a connection of its own: kept alive, they would stay with one worker.
    with httpx.Client(headers={"content-type": "text/csv", "connection": "close"}, timeout=20) as made:
        yield made


def ask(client: httpx.Client, url: str, number: int) -> tuple[str, str]:
    """The id and the worker that answered."""
    answer = client.post(f"{url}/invocations", content=f"{number},1")
    assert (answer.status_code, answer.text) == (200, f"{number + 1.0}")
    return answer.headers["X-Driftline-Event-Id"], answer.headers["X-Worker"]


def wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)


def spooled(spool: Path) -> int:
    """How many records are on the local disk."""
    return sum(file.read_bytes().count(b'"eventId"') for file in spool.rglob("*.segment"))


@pytest.mark.parametrize("name", SERVERS)
def test_every_worker_captures_and_all_is_there_after_a_stop(client: httpx.Client, name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as server:
        answers: list[tuple[str, str]] = []
        until = time.monotonic() + 20
        with ThreadPoolExecutor(4) as pool:
            while len({worker for _, worker in answers}) < 2 and time.monotonic() < until:
                answers += pool.map(lambda number: ask(client, server.url, number), range(60))
        assert len({worker for _, worker in answers}) == 2
        named = {"X-Amzn-SageMaker-Inference-Id": "broken"}
        assert client.post(f"{server.url}/invocations", content="broken", headers=named).status_code == 500
        metrics = client.get(f"{server.url}/metrics").text
        found = re.search(
            r'driftline_capture_seen_total{endpoint="sums",variant="AllTraffic",process="(\d+)"}', metrics
        )
        assert found is not None
        assert found[1] in {worker for _, worker in answers}
        server.stop()
        records = server.records()
        assert sorted(record.join_id for record in records) == sorted([*(id_ for id_, _ in answers), "broken"])
        assert [record.join_id for record in records if record.status == 500] == ["broken"]
        counted = server.counted()
        asked = len(answers) + 1
        assert (counted.seen, counted.sampled, counted.written, counted.lost) == (asked, asked, asked, 0)


def test_what_a_killed_worker_had_spooled_is_stored_by_others(
    client: httpx.Client, spool_root: Path, tmp_path: Path
) -> None:
    with serving("gunicorn", tmp_path) as server:
        answers = [ask(client, server.url, number) for number in range(40)]
        wait(lambda: spooled(spool_root) == 40)
        os.kill(int(answers[-1][1]), signal.SIGKILL)
        answers += [ask(client, server.url, number) for number in range(40)]
        server.stop()
        with Capture("sums", server.store):  # what the new worker had no time for, the next start stores
            wait(lambda: spooled(spool_root) == 0 and server.counted().written == 80)
        counted = server.counted()
        assert (counted.seen, counted.written, counted.lost) == (80, 80, 0)
        assert sorted(record.join_id for record in server.records()) == sorted(id_ for id_, _ in answers)
