"""Spark beside the local engine at equal cores: a standalone cluster on loopback, a master and two workers of one core.

    python bench/spark.py [--quick]

Cluster, session and Python workers are warm (the first round is not counted), as they are from the second monitor on.
Both give the same states, bit for bit; this is checked. Spark's aggregates of the same columns stand beside them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import generate
import pyspark
from measure import Record, keep, ratio
from options import options
from ours import table
from profiling import told

from driftline.dataset.dataset import Join, Table
from driftline.engines.java import java_home
from driftline.engines.local import LocalEngine
from driftline.engines.session import session
from driftline.engines.spark import SparkEngine
from driftline.monitors.data_quality import DataQuality
from driftline.schema import LABEL, SCORE
from driftline.states.contingency import Contingency
from driftline.states.scores import Scores

WORKERS = 2
LOCAL, SPARK, PLAIN = "local, 2 threads", "Spark, 2 workers of 1 core", "Spark's own aggregates"
DEPLOY = "org.apache.spark.deploy"


def main() -> None:
    given = options(__doc__)
    rows = 500_000 if given.quick else 10_000_000
    predictions, labels = generate.join(200_000 if given.quick else rows)
    data, join = table(str(generate.tabular(rows))), Join(table(str(predictions)), table(str(labels)))
    plans = {
        f"{told(rows)} x 20": (DataQuality().plan(data.columns), data),
        f"join, {told(join.predictions.rows)}": (
            frozenset({Scores(SCORE, LABEL), Contingency(LABEL, None, SCORE)}),
            join,
        ),
    }
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as url, session(url, Path(folder)) as spark:
        local, cloud = LocalEngine(threads=WORKERS, scratch=Path(folder)), SparkEngine(lambda: spark, Path(folder))
        for task, (plan, dataset) in plans.items():
            contenders: dict[str, Callable[[], object]] = {
                LOCAL: lambda plan=plan, dataset=dataset: local.fold(plan, dataset),
                SPARK: lambda plan=plan, dataset=dataset: cloud.fold(plan, dataset),
            }
            if isinstance(dataset, Table):
                contenders[PLAIN] = lambda dataset=dataset: aggregates(spark, dataset)
            records += rounds(task, contenders, given.repeats)
            print(f"{task}: {SPARK} / {LOCAL} = {ratio(records, task, SPARK, LOCAL):.2f}", flush=True)
    keep("spark", records, given.quick)


def rounds(task: str, contenders: dict[str, Callable[[], object]], repeats: int) -> list[Record]:
    """All in turn, after a round that is not counted."""
    records: list[Record] = []
    found = {}
    for repeat in range(-1, repeats):
        for name, work in contenders.items() if repeat % 2 else reversed(contenders.items()):
            start = time.perf_counter()
            found[name] = work()
            seconds = time.perf_counter() - start
            if repeat >= 0:
                versions = {"pyspark": pyspark.__version__} if name != LOCAL else {}
                records.append(
                    {"task": task, "contender": name, "repeat": repeat, "seconds": seconds, "versions": versions}
                )
                print(f"{task:24} {name:34} {seconds:9.3f} s", flush=True)
    assert found[LOCAL] == found[SPARK], "Spark gave other states"
    return records


def aggregates(spark: object, data: Table) -> object:
    """What Spark's users write: counts, means, deviations, extremes, quantiles, distinct values."""
    from pyspark.sql import functions as sql

    frame = spark.read.parquet(*map(str, data.paths))
    asked = [sql.count(sql.lit(1))]
    for name, kind in frame.dtypes:
        asked += [sql.count(name), sql.approx_count_distinct(name)]
        if kind not in ("string", "boolean"):
            asked += [sql.avg(name), sql.stddev_pop(name), sql.min(name), sql.max(name)]
            asked.append(sql.percentile_approx(name, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], 1000))
    return frame.select([column.alias(f"c{i}") for i, column in enumerate(asked)]).collect()


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The URL of a cluster on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home, url = Path(pyspark.__file__).parent, f"spark://127.0.0.1:{port}"
    environ = {
        **os.environ,
        "JAVA_HOME": str(java_home(os.environ, folder)),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    commands = [[f"{DEPLOY}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]]
    for i in range(WORKERS):
        size = ["--cores", "1", "--memory", "2g", "--webui-port", "0", "--work-dir", str(folder / f"{i}")]
        commands.append([f"{DEPLOY}.worker.Worker", "--host", "127.0.0.1", *size, url])
    running = []
    try:
        for command in commands:
            call = [str(home / "bin/spark-class"), *command]
            null = subprocess.DEVNULL
            running.append(subprocess.Popen(call, env=environ, stdout=null, stderr=null, start_new_session=True))
        yield url
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
