"""The middlewares in real servers: whatever comes in is served byte for byte as without them, and captured."""

from __future__ import annotations

import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline.capture.counters import stored_counters
from driftline.capture.record import Payload, Record, decode
from driftline.objects.directory import Directory
from driftline.windows import Window

ID = "X-Amzn-SageMaker-Inference-Id"
MOST = 100_000
LONG = b"34,0.5,yes\n" * 9_100_000

# Both answer with what they got; what is under /on/ is captured, what is under /no/ is not.
TOLD = """
    import gzip, hashlib, os
    from driftline.capture import Capture, CaptureMiddleware, CaptureWSGIMiddleware

    capture = Capture("echo", os.environ["STORE"])

    def told(path, size, digest, headers):
        status, kind, more, body = 200, "text/csv", [], f"{size},{digest},{sorted(headers)}".encode()
        if path.startswith("/status/"):
            status = int(path[8:])
        elif path == "/packed":
            more, body = [("Content-Encoding", "gzip")], gzip.compress(b"1,2", mtime=0)
        headers = [("Content-Type", kind), ("X-Told", "yes"), *more, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        return status, headers, body
"""
WSGI = """
    def app(environ, start_response):
        path, digest, size = environ["PATH_INFO"][3:], hashlib.sha256(), 0
        if path == "/raises":
            raise ValueError("the application's own error")
        while path != "/unread" and (data := environ["wsgi.input"].read(1 << 16)):
            digest.update(data)
            size += len(data)
        headers = [(k, v) for k, v in environ.items() if k.startswith("HTTP_") or k == "CONTENT_TYPE"]
        status, answered, body = told(path, size, digest.hexdigest(), headers)
        if path == "/length":
            answered.append(("Content-Length", str(len(body))))
        start_response(f"{status} Odd", answered)
        if path == "/pieces":
            return iter([body[:3], body[3:]])
        return endless() if path == "/endless" else [body]

    def endless():
        while True:
            yield b"more\\n" * 10_000

    app = CaptureWSGIMiddleware(
        app, capture, paths=lambda environ: environ["PATH_INFO"].startswith("/on/"), max_body_bytes=100_000)
"""
ASGI = """
    import asyncio

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        path, digest, size, more = scope["path"][3:], hashlib.sha256(), 0, True
        if path == "/raises":
            raise ValueError("the application's own error")
        while more and path != "/unread":
            message = await receive()
            digest.update(message["body"])
            size, more = size + len(message["body"]), message["more_body"]
        status, headers, body = told(path, size, digest.hexdigest(), scope["headers"])
        if path == "/length":
            headers.append(("Content-Length", str(len(body))))
        headers = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if path == "/endless":
            left = asyncio.create_task(receive())
            while not left.done():
                await send({"type": "http.response.body", "body": b"more\\n" * 10_000, "more_body": True})
                await asyncio.sleep(0)
        if path == "/pieces":
            await send({"type": "http.response.body", "body": body[:3], "more_body": True})
            body = body[3:]
        await send({"type": "http.response.body", "body": body})

    app = CaptureMiddleware(app, capture, paths=lambda scope: scope["path"].startswith("/on/"), max_body_bytes=100_000)
"""
SERVERS = {
    "gunicorn": (WSGI, ["gunicorn", "--no-control-socket", "--workers", "1", "--bind", "fd://{}"]),
    "uvicorn": (ASGI, ["uvicorn", "--fd", "{}"]),
}


def post(path: str, body: bytes, headers: str = "Content-Type: text/csv\r\n") -> Callable[[str], bytes]:
    """A request to the path, under the prefix that says whether it is captured."""

    def request(prefix: str) -> bytes:
        told = f"Host: model\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
        return f"POST {prefix}{path} HTTP/1.1\r\n{told}".encode("latin-1") + body

    return request


def chunked(prefix: str) -> bytes:
    head = f"POST {prefix}/echo HTTP/1.1\r\nHost: model\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    return f"{head}Content-Type: text/csv\r\n\r\n3;x=y\r\n1,2\r\n2\r\n,3\r\n0\r\n\r\n".encode()


CASES: dict[str, Callable[[str], bytes]] = {
    "0 bytes": post("/echo", b""),
    "100 MB": post("/echo", LONG),
    "invalid UTF-8": post("/echo", b"\xff\xfe\x00caf\xe9"),
    "a wrong content type": post("/echo", b"1,2", "Content-Type: image/png; charset=utf-8\r\n"),
    "no content type": post("/echo", b"1,2", ""),
    "gzip'd": post("/echo", gzip.compress(b"1,2", mtime=0), "Content-Type: text/csv\r\nContent-Encoding: gzip\r\n"),
    "gzip'd as it says and is not": post("/echo", b"1,2", "Content-Type: text/csv\r\nContent-Encoding: gzip\r\n"),
    "multipart": post("/echo", b"--b\r\n\r\n1,2\r\n--b--\r\n", "Content-Type: multipart/form-data; boundary=b\r\n"),
    "an id": post("/echo", b"1,2", f"Content-Type: text/csv\r\n{ID}: order-17\r\n"),
    "an id over 64 characters": post("/echo", b"1,2", f"{ID}: {'x' * 500}\r\n"),
    "an id that would inject a header": post("/echo", b"1,2", f"{ID}: a%0d%0aX-Evil: 1\r\n"),
    "an id that is not UTF-8": post("/echo", b"1,2", f"{ID}: caf\xe9\r\n"),
    "an empty id": post("/echo", b"1,2", f"{ID}:  \r\n"),
    "two ids": post("/echo", b"1,2", f"{ID}: a\r\n{ID}: b\r\n"),
    "chunked": chunked,
    "an answer in pieces": post("/pieces", b"1,2"),
    "an answer of known length": post("/length", b"1,2"),
    "an answer that is packed": post("/packed", b"1,2"),
    "a body that is not read": post("/unread", b"1,2"),
    "an error of the caller": post("/status/422", b"1,2"),
    "an error of the model": post("/status/503", b"1,2"),
    "an exception": post("/raises", b"1,2"),
}
INPUTS = {
    "0 bytes": b"",
    "100 MB": LONG[:MOST],
    "invalid UTF-8": b"\xff\xfe\x00caf\xe9",
    "multipart": b"--b\r\n\r\n1,2\r\n--b--\r\n",
    "chunked": b"1,2,3",
    "a body that is not read": b"",
    "an exception": b"",
}
"""What is kept of the request, where it is not `1,2`."""
IDS = {
    "an id": "order-17",
    "an id over 64 characters": "x" * 500,
    "an id that would inject a header": "a%0d%0aX-Evil: 1",
    "an id that is not UTF-8": "caf\xe9",
}
STATUSES = {"an error of the caller": 422, "an error of the model": 503, "an exception": 500}
CUT = {"100 MB", "a body that is not read", "an exception"}


@contextmanager
def serving(name: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    source, (program, *options) = SERVERS[name]
    pytest.importorskip(program)
    (folder / "service.py").write_text(textwrap.dedent(TOLD) + textwrap.dedent(source))
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", program, *(o.format(listener.fileno()) for o in options), "service:app"],
            cwd=folder,
            env={**os.environ, "STORE": str(folder / "objects")},
            pass_fds=[listener.fileno()],
            stderr=log,
            stdout=log,
        )
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield address, process
    finally:
        process.kill()
        process.wait(20)


def connected(address: str) -> socket.socket:
    host, _, port = address.partition(":")
    return socket.create_connection((host, int(port)), 30)


def answer(address: str, raw: bytes) -> bytes:
    """All that the server sends, but for the time and the one header that the tap adds."""
    with connected(address) as connection:
        connection.sendall(raw)
        said = b""
        while data := connection.recv(1 << 16):
            said += data
    return re.sub(rb"(?im)^(date|x-driftline-event-id): [^\r]*\r\n", b"", said)


def stored(folder: Path) -> list[Record]:
    """What was captured, in order."""
    store = Directory(folder / "objects")
    entries = [entry for entry in store.list("captured/echo/AllTraffic/2") if entry.key.endswith(".jsonl")]
    return [decode(line) for entry in entries for line in store.get(entry.key).splitlines()]


def asked(record: Record) -> bytes:
    assert record.input is not None
    return record.input.body


@pytest.mark.parametrize("name", SERVERS)
def test_everything_is_served_as_without_capture_and_captured(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as (address, process):
        for case, request in CASES.items():
            bare, tapped = answer(address, request("/no")), answer(address, request("/on"))
            assert tapped.startswith(b"HTTP/1.1 "), case
            assert tapped == bare, case
        with connected(address) as connection:
            connection.sendall(post("/endless", b"1,2")("/on"))
            assert sum(len(connection.recv(1 << 16)) for _ in range(50)) > 0
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    records = stored(tmp_path)
    assert len(records) == len(CASES) + 1
    kept = dict(zip(CASES, records, strict=False))
    assert {case: asked(kept[case]) for case in CASES} == {case: INPUTS.get(case, b"1,2") for case in CASES}
    assert {case for case, record in kept.items() if record.input is not None and record.input.truncated} == CUT
    assert {case: record.status for case, record in kept.items() if record.status is not None} == STATUSES
    two = {"two ids": "a,b" if name == "gunicorn" else "a"}  # in WSGI a header that comes twice is one
    assert {case: record.inference_id for case, record in kept.items() if record.inference_id is not None} == IDS | two
    assert kept["an answer that is packed"].output == Payload("1,2", "CSV", "text/csv")
    assert kept["an exception"].output is None
    endless = records[-1].output
    assert endless is not None
    assert (endless.truncated, endless.body) == (True, b"more\n" * (MOST // 5))
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251  the server lives in real time
    around = Window(hour - timedelta(hours=1), hour + timedelta(hours=1))
    counted = stored_counters(Directory(tmp_path / "objects"), "echo", "AllTraffic", around)
    assert (counted.seen, counted.written, counted.lost) == (len(records), len(records), 0)
