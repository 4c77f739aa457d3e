"""A Spark session by its URL: a cluster, this machine, or a Spark Connect server."""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from driftline.engines.java import java_home
from driftline.errors import InputError, Unavailable

_URL: Final = re.compile(r"local(\[(\*|[1-9]\d*)\])?|(spark|sc)://[^\s]+")
_LOOPBACK: Final = re.compile(r"local(\[.*\])?|(spark|sc)://(127\.[0-9.]+|localhost|\[::1\])(:\d+)?")
_SETTINGS: Final = {
    "spark.app.name": "driftline",
    "spark.driver.maxResultSize": "0",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_LOOPBACK_SETTINGS: Final = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
_ROWS_AT_ONCE: Final = "64"
"""A row that goes to Python here is a piece of data or a state, not a record."""
_EVERY_S: Final = 0.5


@contextmanager
def session(url: str, scratch: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Any]:
    """The session at `url`: `spark://host:port`, `local[4]`, `local[*]` or `sc://host:port`; closed afterwards.

    What is not said here comes from Spark's own places (SPARK_CONF_DIR, PYSPARK_PYTHON, PYSPARK_SUBMIT_ARGS).

    Raises:
        InputError: the URL is none of these, or PySpark or Java is not there.
        Unavailable: nobody answers.
    """
    check(url)
    with explained(), _quiet():
        spark = _remote(url) if url.startswith("sc://") else _classic(url, scratch, environ)
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", _ROWS_AT_ONCE)
    try:
        yield spark
    finally:
        spark.stop()


def check(url: str) -> None:
    """Raises InputError when there is no Spark at such a URL, or no PySpark here."""
    if not _URL.fullmatch(url):
        raise InputError(f"engine {url!r} is not one: write local, spark://host:port, local[*] or sc://host:port")
    if find_spec("pyspark") is None:
        raise InputError(f"engine {url!r} needs PySpark: pip install 'driftline[spark]'")


def is_here(url: str) -> bool:
    """Whether the executors are on this machine, and see its disk."""
    return _LOOPBACK.fullmatch(url) is not None


def _remote(url: str) -> Any:
    from pyspark.sql.connect.session import SparkSession

    return SparkSession.builder.remote(url).create()


def _classic(url: str, scratch: Path, environ: Mapping[str, str]) -> Any:
    from pyspark.sql import SparkSession

    settings = _SETTINGS | {"spark.local.dir": str(scratch)}
    own = {
        "JAVA_HOME": str(java_home(environ, scratch)),
        "PYSPARK_PYTHON": environ.get("PYSPARK_PYTHON") or sys.executable,
    }
    if _LOOPBACK.fullmatch(url):
        settings |= _LOOPBACK_SETTINGS
        own |= {"SPARK_LOCAL_IP": "127.0.0.1"}
    with _environment(own):
        return SparkSession.builder.master(url).config(map=settings).getOrCreate()


@contextmanager
def _environment(own: Mapping[str, str]) -> Iterator[None]:
    """Spark reads some settings from the environment of the process alone."""
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def mapped(frame: Any, function: Callable[[Iterator[Any]], Iterator[Any]], schema: str) -> Any:
    """The frame's Arrow batches through `function`, on the executors."""
    with _quiet():
        return frame.mapInArrow(function, schema)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PySpark about pandas, which is not used here
        yield


@contextmanager
def explained() -> Iterator[None]:
    """Errors of Spark as ours."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as why:
        raise _said(str(why)) from why


def _said(text: str) -> InputError | Unavailable:
    if "No module named 'driftline" in text:
        return InputError(
            "Spark's executors have no Driftline: install the same version on every worker, in the Python that "
            "PYSPARK_PYTHON names there"
        )
    if "PYTHON_VERSION_MISMATCH" in text:
        found = re.search(r"PYTHON_VERSION_MISMATCH\][^\n]*", text)
        return InputError(f"Spark's executors run another Python: {found[0] if found else text}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return Unavailable(
        f"Spark could not finish: {(lines or ['no reason given'])[0]} {causes[-1] if causes else ''}".rstrip()
    )


@contextmanager
def watched(spark: Any, tasks: int, report: Callable[[float], None] | None) -> Iterator[None]:
    """Report the share of the tasks that are done while the work in this block goes on, and all of it at the end."""
    if report is None:
        yield
        return
    most = 0
    done: dict[int, int] = {}

    def note(stages: Iterable[tuple[int, int]]) -> None:
        nonlocal most
        done.update(stages)
        most = max(most, min(tasks, sum(done.values())))
        report(most / tasks)

    with _noted_by_server(spark, note) if is_remote(spark) else _noted_by_looking(spark, note):
        yield
    report(1.0)


@contextmanager
def _noted_by_server(spark: Any, note: Callable[[Iterable[tuple[int, int]]], None]) -> Iterator[None]:
    def handle(stages: Any, **_: Any) -> None:
        note((stage.stage_id, stage.num_completed_tasks) for stage in stages or ())

    spark.registerProgressHandler(handle)
    try:
        yield
    finally:
        spark.removeProgressHandler(handle)


@contextmanager
def _noted_by_looking(spark: Any, note: Callable[[Iterable[tuple[int, int]]], None]) -> Iterator[None]:
    tracker = spark.sparkContext.statusTracker()
    over = threading.Event()

    def look() -> None:
        while not over.wait(_EVERY_S):
            found = ((stage, tracker.getStageInfo(stage)) for stage in tracker.getActiveStageIds())
            note((stage, info.numCompletedTasks) for stage, info in found if info is not None)

    thread = threading.Thread(target=look, name="driftline-spark-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_remote(spark: Any) -> bool:
    """Whether the session is one of Spark Connect."""
    return type(spark).__module__.startswith("pyspark.sql.connect.")
