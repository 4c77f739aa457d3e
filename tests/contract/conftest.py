"""Every engine there is, with a real Spark cluster on loopback, and tables to fold."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
from tests.conftest import S3Server
from tests.contract.azurite import CONTAINER, running

from driftline.dataset.dataset import Table
from driftline.engines.engine import Engine
from driftline.engines.java import java_home
from driftline.engines.local import LocalEngine
from driftline.engines.session import session
from driftline.engines.spark import SparkEngine

on_spark = pytest.mark.spark
"""One cluster for all: these tests run in one process."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"cluster", "connect"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(on_spark)


@dataclass(slots=True)
class Cluster:
    """A standalone Spark cluster: each of its processes has a process group with its executors."""

    folder: Path
    port: int
    environ: Mapping[str, str] = field(default_factory=dict)
    """What its processes, and so the executors, have in their environment."""
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    def start(self, name: str, *command: str) -> None:
        home = Path(str(pyspark.__file__)).parent
        environ = {
            **os.environ,
            **self.environ,
            "JAVA_HOME": str(java_home(os.environ, self.folder)),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [str(home / "bin" / "spark-class"), *command],
                env=environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_worker(self, name: str) -> None:
        options = ("--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", "0")
        place = ("--work-dir", str(self.folder / name))
        self.start(name, "org.apache.spark.deploy.worker.Worker", *options, *place, self.url)

    def kill(self, name: str) -> None:
        """As when the machine loses power: the process and its executors are gone at once."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_for(self, port: int, name: str) -> None:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()
            time.sleep(0.1)
        pytest.fail(f"{name} did not come up: {(self.folder / f'{name}.log').read_text()}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def processes(environ: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="driftline-spark-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), free_port(), environ or {})
        try:
            yield cluster
        finally:
            for name in list(cluster.running):
                cluster.kill(name)


@pytest.fixture(scope="session")
def cluster(s3_server: S3Server) -> Iterator[Cluster]:
    """A master and two workers of one core each, which may read the bucket of the tests."""
    with processes(s3_server.environ) as found:
        master = ("--host", "127.0.0.1", "--port", str(found.port), "--webui-port", "0")
        found.start("master", "org.apache.spark.deploy.master.Master", *master)
        found.start_worker("one")
        found.start_worker("two")
        found.wait_for(found.port, "master")
        yield found


@pytest.fixture(scope="session")
def on_cluster(cluster: Cluster) -> Iterator[Any]:
    """A session on the cluster."""
    with session(cluster.url, cluster.folder) as spark:
        yield spark


@pytest.fixture(scope="session")
def connect() -> Iterator[str]:
    """The URL of a Spark Connect server."""
    with processes() as found:
        settings = {
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(found.port),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.ui.enabled": "false",
        }
        options: Sequence[str] = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        server = ("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal")
        found.start("connect", "org.apache.spark.deploy.SparkSubmit", "--master", "local[2]", *options, *server)
        found.wait_for(found.port, "connect")
        yield f"sc://127.0.0.1:{found.port}"


@pytest.fixture(params=["local", "local with one thread", pytest.param("spark", marks=on_spark)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    scratch = tmp_path / "scratch"
    if request.param == "spark":
        yield SparkEngine(lambda: request.getfixturevalue("on_cluster"), scratch=scratch, bucket_rows=1000)
    else:
        yield LocalEngine(threads=1 if "one" in request.param else None, scratch=scratch)
    if scratch.exists():
        assert list(scratch.iterdir()) == [], "scratch files were left behind"


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Table]:
    """Writes columns to Parquet files and gives their table."""

    def written(columns: Any, *, files: int = 1, group: int = 1000, folder: Path = tmp_path) -> Table:
        whole = columns if isinstance(columns, pa.Table) else pa.table(columns)
        paths = []
        for i in range(files):
            start, end = whole.num_rows * i // files, whole.num_rows * (i + 1) // files
            paths.append(folder / f"{len(list(folder.iterdir()))}.parquet")
            pq.write_table(whole.slice(start, end - start), paths[-1], row_group_size=group)
        names = tuple(n for n in whole.schema.names if not n.startswith("driftline."))
        return Table(tuple(paths), names, whole.num_rows)

    return written


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """How the Azurite that the tests of a process share is reached."""
    with running(tmp_path_factory.mktemp("azurite")) as environ:
        yield environ


@pytest.fixture
def azure(azurite: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty prefix on an Azurite, with the environment in which it is reached."""
    for name, value in azurite.items():
        monkeypatch.setenv(name, value)
    return f"az://{CONTAINER}/{uuid.uuid4().hex}"
