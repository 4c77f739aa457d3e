"""The same baseline, wherever the rows are read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def run(*words: str | Path, engine: str, path: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environ = {**kept, "PATH": str(path), "DRIFTLINE_ENGINE": engine}
    command = [sys.executable, "-m", "driftline", *map(str, words)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The programs of a machine without Java: that of the extra has to do."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in Path("/bin").iterdir():
        if not program.name.startswith("java"):
            (folder / program.name).symlink_to(program)
    return folder


@pytest.mark.spark
def test_a_baseline_on_spark_is_that_of_one_machine(tmp_path: Path, path: Path) -> None:
    random = np.random.default_rng(2)
    columns = {"x": random.normal(size=4000), "s": random.choice(np.array(["a", "b"]), 4000)}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet", row_group_size=500)
    for name, engine in (("local", "local"), ("spark", "local[2]")):
        words = ("baseline", "data-quality", tmp_path / "rows.parquet", "--output", tmp_path / name)
        built = run(*words, engine=engine, path=path)
        assert built.returncode == 0, built.stderr
    for file in ("states.bin", "constraints.json"):
        assert (tmp_path / "spark" / file).read_bytes() == (tmp_path / "local" / file).read_bytes()


def test_an_engine_that_is_none_is_named(tmp_path: Path, path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "x.parquet")
    words = ("baseline", "data-quality", tmp_path / "x.parquet", "--output", tmp_path / "b", "--engine", "sparc://x:1")
    said = run(*words, engine="local", path=path)
    assert said.returncode == 1
    assert "engine 'sparc://x:1' is not one: write local, spark://host:port" in said.stderr
