"""What all tests share: a spool of their own, and a real S3 server, started when the first test asks for it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline.capture.cells import forget

_SHARED = "DRIFTLINE_TEST_S3"
"""The folder of the server that the processes of a test run share."""
KEY, SECRET = "driftline-test", "only-for-tests-0123456789"
BUCKET = "driftline"


@dataclass(slots=True)
class S3Server:
    """SeaweedFS on loopback: it keeps what is put conditionally, lists folders out of byte order, and needs keys."""

    folder: Path
    ports: list[int]
    process: int | None = None

    @classmethod
    def new(cls, folder: Path) -> S3Server:
        """A server with no objects yet, which is not started."""
        identity = {
            "name": "driftline",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        reader = {
            "name": "reader",
            "credentials": [{"accessKey": "reader", "secretKey": SECRET}],
            "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        }
        (folder / "data").mkdir(parents=True)
        (folder / "s3.json").write_text(json.dumps({"identities": [identity, reader]}))
        return cls(folder, free_ports(5))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def environ(self) -> dict[str, str]:
        """The variables by which its clients find it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        s3, master, volume, filer, admin = self.ports
        options = {
            "dir": str(self.folder / "data"),
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": BUCKET,
            "s3.config": str(self.folder / "s3.json"),
            "s3.autoCreateBucket": "false",
            "s3.port": str(s3),
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "master.port": str(master),
            "master.telemetry": "false",
            "volume.port": str(volume),
            "filer.port": str(filer),
            "admin.port": str(admin),
            "admin.ui": "false",
            "webdav": "false",
        }
        weed = str(Path(sysconfig.get_path("scripts")) / "weed")
        command = [weed, f"-logdir={self.folder}", "mini", *(f"-{name}={value}" for name, value in options.items())]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.process = process.pid
        self._wait(process)
        process.returncode = 0  # it is known by its number from here on: another process of the run may end it

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            stop(self.process, signal.SIGKILL if kill else signal.SIGTERM)
            self.process = None

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        client = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        for _ in range(300):
            with suppress(BaseError, OSError):
                client.put("ready", b"")
                return
            assert process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)
        pytest.fail(f"the S3 server did not come up: {(self.folder / 'log').read_text()}")


def stop(process: int, how: signal.Signals) -> None:
    """End the process, and wait until it is gone."""
    with suppress(ProcessLookupError):
        os.kill(process, how)
    for _ in range(100):
        with suppress(ChildProcessError):  # another process of the test run is its parent
            os.waitpid(process, os.WNOHANG)
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    if how is not signal.SIGKILL:
        stop(process, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses, nor those 10,000 above them, where the server speaks gRPC."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", 20_000 + int.from_bytes(os.urandom(2)) % 12_000))
            port = int(one.getsockname()[1])
            other.bind(("127.0.0.1", port + 10_000))
            found += [port] if port not in found else []
    return found


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # not a process of xdist: those inherit the variable
        os.environ[_SHARED] = tempfile.mkdtemp(prefix="driftline-s3-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    folder = Path(os.environ.pop(_SHARED))
    if (folder / "running.json").exists():
        stop(json.loads((folder / "running.json").read_text())["process"], signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_server() -> S3Server:
    """The server that all tests share; it is stopped at the end of the run."""
    folder = Path(os.environ[_SHARED])
    running = folder / "running.json"
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not running.exists():
            server = S3Server.new(folder / "server")
            server.start()
            running.write_text(json.dumps({"ports": server.ports, "process": server.process}))
        told = json.loads(running.read_text())
    return S3Server(folder / "server", told["ports"])


@pytest.fixture
def own_s3_server(tmp_path: Path) -> Iterator[S3Server]:
    """A server of the test's own, to stop and to start."""
    server = S3Server.new(tmp_path / "s3")
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty prefix on the server, with the environment in which it is reached."""
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def spool_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test spools into the home of whoever runs it, nor finds there what another left."""
    folder = tmp_path_factory.mktemp("spool")
    monkeypatch.setenv("DRIFTLINE_SPOOL", str(folder))
    yield folder
    for writer in folder.glob("*/*"):
        forget(writer.name)
