"""A gateway that a file declares: what the file says holds, and what it says later holds from then on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

import pytest

from driftline.capture.record import decode
from driftline.objects.directory import Directory

pytest.importorskip("aiohttp")
CONFIG = """\
version: 1
endpoint: flights
variant: canary
store: objects
spool: spool
paths: [/ask]
max_body_bytes: 1000
gateway:
  upstream: {upstream}
  port: 0
  admin_port: 0
"""


class Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"0.5")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(url: str, path: str = "/ask") -> None:
    body = json.dumps({"email": "a@b", "x": 1}).encode()
    request = Request(url + path, body, {"Content-Type": "application/json"})  # noqa: S310
    with urlopen(request, timeout=20) as answer:  # noqa: S310
        assert answer.read() == b"0.5"


def until(url: str, text: str) -> None:
    end = time.monotonic() + 20
    told = ""
    while text not in told:
        assert time.monotonic() < end, told
        time.sleep(0.02)
        with urlopen(f"{url}/-/metrics", timeout=20) as answer:  # noqa: S310
            told = answer.read().decode()


def test_a_gateway_does_what_its_file_says_and_then_what_it_says_next(upstream: str, tmp_path: Path) -> None:
    file, new, wrong = (tmp_path / name for name in ("capture.yaml", "new", "wrong"))
    file.write_text(CONFIG.format(upstream=upstream))
    command = [sys.executable, "-m", "driftline", "gateway", "--variant", "blue", "--json"]
    environment = {**os.environ, "DRIFTLINE_CAPTURE_CONFIG": str(file)}
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert gateway.stdout is not None
        told = json.loads(gateway.stdout.readline())
        assert told["paths"] == ["/ask"]
        ask(told["listening"])
        ask(told["listening"], "/invocations")  # the file does not name it
        new.write_text(file.read_text() + "sampling: {rules: [{rate: 0.5, errors: true}]}\nprivacy:\n  rules:\n")
        with new.open("a") as opened:
            opened.write("    - {action: drop, name: email}\n")
        new.replace(file)
        gateway.send_signal(signal.SIGHUP)
        until(told["admin"], 'driftline_capture_sampling_probability{rule="1"} 0.5\n')
        ask(told["listening"])
        wrong.write_text(file.read_text() + "sampled: 0\n")
        wrong.replace(file)
        until(told["admin"], "driftline_capture_config_in_force 0\n")
        ask(told["listening"])
    finally:
        gateway.send_signal(signal.SIGTERM)
        _, log = gateway.communicate(timeout=30)
    assert gateway.returncode == 0
    assert "sampling and privacy as it says now" in log
    assert log.count("unknown key 'sampled'; did you mean 'sampling'?") == 1
    store = Directory(tmp_path / "objects")
    keys = [entry.key for entry in store.list("captured/flights/blue/") if entry.key.endswith(".jsonl")]
    records = [decode(line) for key in keys for line in store.get(key).splitlines()]
    inputs = [record.input.data for record in records if record.input is not None]
    assert inputs == ['{"email": "a@b", "x": 1}', '{"x":1}', '{"x":1}']
    assert list((tmp_path / "spool").iterdir())


def test_a_wrong_file_is_told_and_nothing_starts(tmp_path: Path) -> None:
    file = tmp_path / "capture.yaml"
    file.write_text(CONFIG.format(upstream="http://127.0.0.1:9").replace("port: 0", "port: [0]", 1))
    command = [sys.executable, "-m", "driftline", "gateway", "--config", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"driftline: {file}, line 10, gateway.port: " in ended.stderr
