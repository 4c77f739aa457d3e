"""Joins that are larger than the memory they may take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Join, Table
from driftline.engines.local import LocalEngine
from driftline.schema import ID, LABEL, ORDINAL, SCORE
from driftline.states.scores import Scores
from driftline.states.state import Plan

ROWS = 1_000_000
PLAN: Plan = frozenset({Scores(SCORE, LABEL)})


def side(path: Path, **columns: object) -> Table:
    pq.write_table(pa.table(columns), path)
    return Table((path,), tuple(columns), ROWS)


def test_a_join_that_does_not_fit_into_its_memory_spills_and_gives_the_same(tmp_path: Path) -> None:
    random, none = np.random.default_rng(0), np.zeros(ROWS, np.int64)
    ids = [f"request-{i:020d}" for i in range(ROWS)]
    predictions = side(tmp_path / "predictions.parquet", **{ID: ids, ORDINAL: none, SCORE: random.random(ROWS)})
    truth = random.choice(np.array(["0", "1"]), ROWS)
    labels = side(tmp_path / "labels.parquet", **{ID: ids[::-1], ORDINAL: none, LABEL: truth})
    join, spilled = Join(predictions, labels), 0

    def look(done: int, total: int | None, unit: str) -> None:
        nonlocal spilled
        spilled = max(spilled, sum(file.stat().st_size for file in (tmp_path / "small").rglob("duckdb_temp*")))

    small = LocalEngine(threads=2, memory_limit="60MB", scratch=tmp_path / "small").fold(PLAN, join, look)
    assert spilled > 1 << 20
    assert small == LocalEngine(scratch=tmp_path / "large").fold(PLAN, join)
    assert small.coverage is not None
    assert small.coverage.labelled == ROWS
