"""The gateway as a process between sockets; in one file, for all of it needs the same odd upstream."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any, BinaryIO

import pytest

from driftline.capture.counters import stored_counters
from driftline.capture.record import Record, decode
from driftline.objects.directory import Directory
from driftline.windows import Window

pytest.importorskip("aiohttp")
OURS = {b"x-driftline-event-id", b"transfer-encoding", b"content-length", b"connection"}
ID = "X-Amzn-SageMaker-Inference-Id"


class Upstream:
    """A model server at its socket: it answers with what it got, or as the path says."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.go_on = Event()
        self.gone = Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                while (head := _head(lines)) and self._answer(connection, head, lines):
                    pass
            except OSError:
                pass
        self.gone.set()

    def _answer(self, connection: socket.socket, head: bytes, lines: BinaryIO) -> bool:
        self.heads.append(head)
        path = head.split()[1]
        body = _body(head, lines)
        if path.startswith(b"/status/"):
            connection.sendall(b"HTTP/1.1 %s Odd\r\nContent-Length: 5\r\n\r\nerror" % path[8:])
        elif path == b"/broken":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
            return False
        elif path in (b"/endless", b"/chunks"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.sendall(b"6\r\nfirst\n\r\n")
            self.go_on.wait(20)
            while path == b"/endless":
                connection.sendall(b"5\r\nmore\n\r\n")
                time.sleep(0.01)
            connection.sendall(b"7\r\nsecond\n\r\n0\r\n\r\n")
        elif path == b"/slow":
            self.go_on.wait(20)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        elif head.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: a\r\n\r\n")
        else:
            told = json.dumps([hashlib.sha256(body).hexdigest(), len(body), _callers(head)]).encode()
            more = b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Type: application/json\r\n"
            connection.sendall(b"HTTP/1.1 200 Fine\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(told), told))
        return True


def _head(lines: BinaryIO) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = lines.readline()
        if not line:
            return b""
        head += line
    return head


def _body(head: bytes, lines: BinaryIO) -> bytes:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if found:
        return lines.read(int(found[1]))
    body = b""
    if b"transfer-encoding: chunked" in head.lower():
        while size := int(lines.readline().split(b";")[0], 16):
            body += lines.read(size)
            lines.readline()
        lines.readline()
    return body


def _callers(head: bytes) -> list[str]:
    """The caller's own headers: without what says how the body is framed and by which way it came."""
    ways = (b"host:", b"x-forwarded-", b"via:", b"content-length:", b"transfer-encoding:", b"connection:", b"upgrade:")
    return [line.decode() for line in _told(head) if not line.startswith(ways)]


def _told(head: bytes) -> list[bytes]:
    """The headers; the case of their names means nothing, nor does the order of different ones."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:-2])
    return sorted(name.lower() + b":" + value for name, _, value in pairs)


class Gateway:
    """`driftline gateway`, running."""

    def __init__(self, upstream: str, folder: Path, *more: str) -> None:
        command = [sys.executable, "-m", "driftline", "gateway", "--upstream", upstream, "--endpoint", "flights"]
        command += ["--store", str(folder / "objects"), "--port", "0", "--admin-port", "0", "--json", *more]
        self.store = Directory(folder / "objects")
        environment = {"PATH": "", "DRIFTLINE_SPOOL": str(folder / "spool")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.url: str = self.told["listening"]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def operator(self, path: str) -> bytes:
        return ask(self.told["admin"], f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    def records(self, endpoint: str = "flights", variant: str = "AllTraffic") -> list[Record]:
        entries = self.store.list(f"captured/{endpoint}/{variant}/2")
        return [decode(line) for entry in entries for line in self.store.get(entry.key).splitlines()]


@contextmanager
def running(upstream: str, folder: Path, *more: str) -> Iterator[Gateway]:
    gateway = Gateway(upstream, folder, *more)
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.communicate(timeout=20)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.go_on.set()
    with suppress(OSError):
        made.close()


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), 20)


def ask(url: str, raw: bytes) -> bytes:
    """The whole answer, until the other side ends the connection."""
    with connected(url) as connection:
        connection.sendall(raw)
        return _rest(connection)


def _rest(connection: socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(1 << 16):
        answer += data
    return answer


def post(path: str, body: bytes, headers: str = "Content-Type: text/csv\r\n") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: model\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n"
    return head.encode() + body


def read_answer(connection: socket.socket, head_only: bool) -> tuple[bytes, list[bytes], bytes]:
    """The status line, the headers but for the framing, and the body of one answer."""
    with connection.makefile("rb") as lines:
        head = _head(lines)
        body = b"" if head_only else _body(head, lines)
    first = head.partition(b"\r\n")[0]
    return first, [line for line in _told(head) if line.partition(b":")[0] not in OURS], body


CASES: dict[str, bytes] = {
    "0 bytes": post("/invocations", b""),
    "100 MB": post("/invocations", b"34,0.5,yes\n" * 9_100_000),
    "invalid UTF-8": post("/invocations", b"\xff\xfe\x00caf\xe9"),
    "a wrong content type": post("/invocations", b"1,2", "Content-Type: image/png; charset=utf-8\r\n"),
    "no content type": post("/invocations", b"1,2", ""),
    "gzip'd": post("/invocations", gzip.compress(b"1,2\n"), "Content-Type: text/csv\r\nContent-Encoding: gzip\r\n"),
    "gzip'd as it says and is not": post("/invocations", b"1,2\n", "Content-Encoding: gzip\r\n"),
    "multipart": post(
        "/invocations", b"--b\r\n\r\n1,2\r\n--b--\r\n", "Content-Type: multipart/form-data; boundary=b\r\n"
    ),
    "an id": post("/invocations", b"1,2", f"Content-Type: text/csv\r\n{ID}: order-17\r\n"),
    "an id over 64 characters": post("/invocations", b"1,2", f"{ID}: {'x' * 500}\r\n"),
    "an id that would inject a header": post("/invocations", b"1,2", f"{ID}: a%0d%0aX-Evil: 1\r\n"),
    "chunked": b"POST /invocations HTTP/1.1\r\nHost: model\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"3;x=y\r\n1,2\r\n2\r\n,3\r\n0\r\nX-Trailer: 1\r\n\r\n",
    "an error of the caller": post("/status/404", b"1,2"),
    "an error of the model": post("/status/500", b"1,2"),
    "a status that nobody knows": post("/status/299", b"1,2"),
    "HEAD": b"HEAD /x HTTP/1.1\r\nHost: model\r\nConnection: close\r\n\r\n",
    "an odd path": b"GET //a/../%2e%2e/%zz?q=%20+b&c[]={} HTTP/1.1\r\nHost: model\r\nConnection: close\r\n\r\n",
    "many headers": post("/x", b"", "".join(f"X-{n}: {n}\r\n" for n in range(300))),
    "a method of WebDAV": b"PROPFIND /x HTTP/1.1\r\nHost: model\r\nConnection: close\r\n\r\n",
    "an offer of another protocol": post("/invocations", b"1,2", "Connection: Upgrade\r\nUpgrade: h2c\r\n"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Gateway]]:
    model = Upstream()
    with running(model.url, tmp_path_factory.mktemp("gateway"), "--paths", "*") as gateway:
        yield model, gateway
    model.close()


@pytest.mark.parametrize("raw", CASES.values(), ids=CASES.keys())
def test_an_answer_is_the_same_with_the_gateway_as_without(shared: tuple[Upstream, Gateway], raw: bytes) -> None:
    answers = []
    for url in (shared[0].url, shared[1].url):
        with connected(url) as connection:
            connection.sendall(raw)
            answers.append(read_answer(connection, raw.startswith(b"HEAD")))
    direct, through = answers
    assert through == direct


SMUGGLED = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a length with a sign": b"Content-Length: +4\r\n\r\nabcd",
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "an encoding that is none": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked and more": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "more, and chunked": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"X-A: a\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a line feed alone": b"X-A: a\nX-B: b\r\n\r\n",
    "a carriage return alone": b"X-A: a\rX-B: b\r\n\r\n",
    "a null": b"X-A: a\x00b\r\n\r\n",
    "two hosts": b"Host: other\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_what_two_servers_could_read_in_two_ways_reaches_none(shared: tuple[Upstream, Gateway], rest: bytes) -> None:
    model, gateway = shared
    before = len(model.heads)
    answer = ask(gateway.url, b"POST /invocations HTTP/1.1\r\nHost: model\r\nConnection: close\r\n" + rest)
    assert re.match(rb"HTTP/1\.[01] (400|501) ", answer)
    assert len(model.heads) == before


def test_records_hold_what_passed_by_id_path_and_status(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--max-body-bytes", "1000") as gateway:
        answers = [
            ask(gateway.url, post("/invocations", b"1,2", f"Content-Type: text/csv\r\n{ID}: order-17\r\n")),
            ask(gateway.url, post("/invocations", gzip.compress(b"3,4"), "Content-Encoding: gzip\r\n")),
            ask(gateway.url, post("/invocations", b"x" * 5000)),
            ask(gateway.url, post("/endpoints/prices/invocations", b"1")),
            ask(gateway.url, post("/v2/models/churn/versions/3/infer", b"{}")),
            ask(gateway.url, post("/v1/models/churn:predict", b"{}")),
            ask(gateway.url, post("/other", b"{}")),
        ]
        assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
        metrics = gateway.operator("/-/metrics")
        assert gateway.operator("/-/healthy").startswith(b"HTTP/1.1 200 ")
        assert gateway.stop() == 0
        named, unpacked, cut = gateway.records()
        assert (named.inference_id, named.status) == ("order-17", None)
        assert named.input is not None
        assert (named.input.data, named.input.encoding, named.input.content_type) == ("1,2", "CSV", "text/csv")
        assert named.output is not None
        assert named.output.data.encode() == answers[0].partition(b"\r\n\r\n")[2]
        assert unpacked.event_id.encode() in answers[1]
        assert unpacked.input is not None
        assert b64decode(unpacked.input.data) == b"3,4"
        assert cut.input is not None
        assert cut.input.truncated
        assert b64decode(cut.input.data) == b"x" * 1000
        keys = [gateway.records("prices"), gateway.records("churn", "3"), gateway.records("churn")]
        assert [len(records) for records in keys] == [1, 1, 1]
    assert b'driftline_capture_seen_total{endpoint="churn",variant="3"} 1' in metrics
    assert b'driftline_gateway_requests_total{status="200"} 7' in metrics


def test_errors_are_captured_with_their_status_and_name_no_endpoint(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/status/{endpoint}") as gateway:
        for status in (404, 500):
            assert b" %d Odd" % status in ask(gateway.url, post(f"/status/{status}", b"1,2"))
        upstream.close()
        time.sleep(1.6)  # no connection is kept for so long
        answer = ask(gateway.url, post("/status/500", b"1,2"))
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"upstream_unreachable" in answer
        assert gateway.stop() == 0
        assert [record.status for record in gateway.records()][:2] == [404, 500]
        assert gateway.records()[-1].status == 502


def test_an_upstream_that_is_too_slow_is_answered_for(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/slow", "--read-timeout", "0.3") as gateway:
        assert ask(gateway.url, post("/slow", b"1,2")).startswith(b"HTTP/1.1 504 ")
        assert gateway.stop() == 0
        (record,) = gateway.records()
        assert (record.status, record.output) == (504, None)


def test_pieces_of_an_answer_arrive_as_they_are_sent(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/chunks") as gateway, connected(gateway.url) as connection:
        connection.sendall(post("/chunks", b"1"))
        _until(connection, b"first\n")
        upstream.go_on.set()
        assert b"7\r\nsecond\n\r\n0\r\n\r\n" in _rest(connection)
        assert gateway.stop() == 0
        (record,) = gateway.records()
        assert record.output is not None
        assert (record.output.data, record.output.truncated) == ("first\nsecond\n", False)


def test_of_an_answer_that_never_ends_the_beginning_is_captured(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/endless") as gateway:
        with connected(gateway.url) as connection:
            connection.sendall(post("/endless", b"1"))
            _until(connection, b"first\n")
            upstream.go_on.set()
            _until(connection, b"more\n")
        assert upstream.gone.wait(10)  # a caller that leaves ends the request to the model too
        assert gateway.stop() == 0
        (record,) = gateway.records()
        assert record.output is not None
        assert record.output.truncated
        assert b64decode(record.output.data).startswith(b"first\nmore\n")


def test_an_answer_that_never_ends_is_captured_once_it_is_long_enough(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/endless", "--max-body-bytes", "20") as gateway:
        with connected(gateway.url) as connection:
            connection.sendall(post("/endless", b"1"))
            upstream.go_on.set()
            counted = b'driftline_capture_sampled_total{endpoint="flights",variant="AllTraffic"} 1'
            deadline = time.monotonic() + 10
            while counted not in gateway.operator("/-/metrics"):
                assert time.monotonic() < deadline, gateway.operator("/-/metrics")
                time.sleep(0.05)
            _until(connection, b"more\n")  # it goes on
        assert gateway.stop() == 0
        (record,) = gateway.records()
    assert record.output is not None
    assert record.output.truncated
    assert b64decode(record.output.data) == b"first\nmore\nmore\nmore"[:20]


def test_an_answer_that_breaks_off_breaks_off_for_the_caller(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/broken") as gateway:
        answer = ask(gateway.url, post("/broken", b"1"))
        assert b"Content-Length: 100" in answer
        assert answer.endswith(b"\r\n\r\nonly this")
        assert gateway.stop() == 0
        (record,) = gateway.records()
        assert record.output is not None
        assert record.output.truncated


def test_a_caller_that_expects_to_be_asked_for_the_body_is_asked(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path) as gateway, connected(gateway.url) as connection:
        head, _, body = post("/invocations", b"1,2", "Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\n\r\n")
        _until(connection, b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(body)
        assert _rest(connection).startswith(b"HTTP/1.1 200 ")


def test_a_stop_waits_for_what_is_in_flight_and_loses_nothing(upstream: Upstream, tmp_path: Path) -> None:
    with running(upstream.url, tmp_path, "--paths", "/slow", "--paths", "/invocations") as gateway:
        for number in range(50):
            ask(gateway.url, post("/invocations", f"{number}".encode()))
        with connected(gateway.url) as connection:
            connection.sendall(post("/slow", b"1"))
            while len(upstream.heads) < 51:
                time.sleep(0.01)
            gateway.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            upstream.go_on.set()
            assert _rest(connection).endswith(b"late")
        assert gateway.process.wait(30) == 0
        assert len(gateway.records()) == 51
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251  the process lives in real time
        around = Window(hour - timedelta(hours=1), hour + timedelta(hours=1))
        counted = stored_counters(gateway.store, "flights", "AllTraffic", around)
        assert (counted.seen, counted.written, counted.lost) == (51, 51, 0)


def _until(connection: socket.socket, mark: bytes) -> None:
    seen = b""
    while mark not in seen:
        data = connection.recv(1)
        assert data, seen
        seen += data


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (["--upstream", "localhost:80"], "is not a URL such as"),
        (["--upstream", "http://u:secret@model"], "holds a user or password"),
        (["--endpoint", "../x"], "is not a name"),
        (["--paths", "invocations"], "does not begin with a slash"),
    ],
    ids=["an upstream without a scheme", "a password in the URL", "an endpoint that is none", "a path without a slash"],
)
def test_wrong_usage_is_told(change: list[str], why: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "driftline",
        "gateway",
        "--upstream",
        "http://127.0.0.1:9",
        "--endpoint",
        "flights",
    ]
    more = ["--store", str(tmp_path), "--port", "0", "--admin-port", "-1", *change]
    ended = subprocess.run([*command, *more], capture_output=True, text=True, timeout=30)
    assert ended.returncode != 0
    assert why in ended.stderr
    assert "secret" not in ended.stderr
