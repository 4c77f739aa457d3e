"""Hours whose states are known are not read again, and nobody sees a difference."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Table
from driftline.engines.local import LocalEngine
from driftline.engines.remembered import RememberingEngine
from driftline.errors import DriftlineError
from driftline.states.column import Column
from driftline.states.rows import Rows
from driftline.states.state import Plan, States

PLAN: Plan = frozenset((Rows(), Column("x"), Column("text")))


@pytest.fixture
def day(tmp_path: Path) -> Table:
    """24 hours of a cache, of different sizes, some without rows."""
    r = np.random.default_rng(4)
    paths, rows = [], 0
    for hour in range(24):
        n = hour % 5 * 500
        folder = tmp_path / "cache" / f"h{hour}"
        folder.mkdir(parents=True)
        columns = {
            "x": pa.array(r.normal(size=n)),
            "text": pa.array([f"t{i}" for i in r.integers(0, 3000, n)], pa.string()),
        }
        pq.write_table(pa.table(columns), folder / "rows.parquet")
        paths.append(folder / "rows.parquet")
        rows += n
    return Table(tuple(paths), ("x", "text"), rows)


def engine(tmp_path: Path, least_rows: int = 600) -> RememberingEngine:
    return RememberingEngine(LocalEngine(), tmp_path / "cache", least_rows)


def encoded(states: States) -> dict[str, bytes]:
    return {repr(summary): state.encode() for summary, state in states.items()}


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").glob("*/states-*.bin"))


def test_a_day_of_known_hours_equals_the_day_scanned_at_once(tmp_path: Path, day: Table) -> None:
    at_once = encoded(LocalEngine().fold(PLAN, day).states)
    assert encoded(engine(tmp_path).fold(PLAN, day).states) == at_once
    assert len(kept(tmp_path)) == sum(hour % 5 * 500 >= 600 for hour in range(24))
    assert encoded(engine(tmp_path).fold(PLAN, day).states) == at_once


def test_a_known_hour_is_not_read_again(tmp_path: Path, day: Table) -> None:
    at_once = encoded(engine(tmp_path).fold(PLAN, day).states)
    path = day.paths[4]
    status = path.stat()
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    # Its pages are gone, its footer and its time are as they were: only who reads rows will notice.
    path.write_bytes(data[:4] + bytes(len(data) - footer - 4) + data[-footer:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert encoded(engine(tmp_path).fold(PLAN, day).states) == at_once
    with pytest.raises(DriftlineError):
        LocalEngine().fold(PLAN, day)


def test_a_new_hour_costs_one_hour(tmp_path: Path, day: Table) -> None:
    first = Table(day.paths[:10], day.columns, sum(hour % 5 * 500 for hour in range(10)))
    engine(tmp_path).fold(PLAN, first)
    before = kept(tmp_path)
    assert encoded(engine(tmp_path).fold(PLAN, day).states) == encoded(LocalEngine().fold(PLAN, day).states)
    assert set(before) < set(kept(tmp_path))


def test_what_cannot_be_read_is_scanned_again(tmp_path: Path, day: Table) -> None:
    at_once = encoded(engine(tmp_path).fold(PLAN, day).states)
    for path in kept(tmp_path):
        path.write_bytes(path.read_bytes()[:-3])
    assert encoded(engine(tmp_path).fold(PLAN, day).states) == at_once


def test_another_plan_has_its_own_states(tmp_path: Path, day: Table) -> None:
    engine(tmp_path).fold(frozenset((Rows(),)), day)
    assert encoded(engine(tmp_path).fold(PLAN, day).states) == encoded(LocalEngine().fold(PLAN, day).states)


def test_nothing_is_written_beside_files_of_others(tmp_path: Path, day: Table) -> None:
    elsewhere = RememberingEngine(LocalEngine(), tmp_path / "other", 1)
    assert encoded(elsewhere.fold(PLAN, day).states) == encoded(LocalEngine().fold(PLAN, day).states)
    assert kept(tmp_path) == []
