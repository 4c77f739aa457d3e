"""Windows shorter than any block of the baseline: a cycle or a trend within them is no drift."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.constraints import Verdict
from driftline.engines.local import LocalEngine
from driftline.runs.oneoff import Source, Workshop, baseline_of_data, check_data

ROWS = 20_000
AFTER = range(ROWS, ROWS + 6000)


def _rows(path: Path, rows: range, seed: int, shift: float = 0.0) -> Source:
    chance, at = np.random.default_rng(seed), np.asarray(rows)
    columns = {"hour": at // 20 % 24, "counter": at, "level": chance.normal(shift, 1.0, len(at))}
    pq.write_table(pa.table(columns), path)
    return Source(path)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    shop = Workshop(LocalEngine(), folder, datetime(2026, 3, 1, tzinfo=UTC))
    baseline_of_data(_rows(folder / "base.parquet", range(ROWS), 0), folder / "base", shop)
    return folder / "base"


def _violated(source: Source, baseline: Path, folder: Path) -> list[tuple[str, str | None]]:
    shop = Workshop(LocalEngine(), folder, datetime(2026, 3, 1, tzinfo=UTC))
    checked = check_data(source, baseline, folder / "report", None, shop)
    return [
        (j.constraint.metric, j.constraint.column) for j in checked.outcome.judgements if j.verdict is Verdict.VIOLATED
    ]


@pytest.mark.parametrize("rows", [50, 110, 170, 240, 700])
def test_a_window_that_sees_part_of_a_cycle_violates_nothing(baseline: Path, tmp_path: Path, rows: int) -> None:
    for start in AFTER[:: len(AFTER) // 4]:
        source = _rows(tmp_path / "window.parquet", range(start, start + rows), start)
        assert _violated(source, baseline, tmp_path) == []


def test_completeness_that_comes_in_bursts_violates_nothing_in_a_short_window(tmp_path: Path) -> None:
    """Half of every tenth stretch of 300 rows is missing, in the baseline as in the window."""
    shop = Workshop(LocalEngine(), tmp_path, datetime(2026, 3, 1, tzinfo=UTC))
    at = np.arange(ROWS)
    bursts = (at // 300 % 10 == 3) & (at % 2 == 0)
    pq.write_table(pa.table({"x": pa.array(at % 7, mask=bursts)}), tmp_path / "base.parquet")
    baseline_of_data(Source(tmp_path / "base.parquet"), tmp_path / "base", shop)
    pq.write_table(pa.table({"x": pa.array(at % 7, mask=bursts)[900:970]}), tmp_path / "window.parquet")
    assert _violated(Source(tmp_path / "window.parquet"), tmp_path / "base", tmp_path) == []


def test_a_shift_is_still_found_in_a_small_window(baseline: Path, tmp_path: Path) -> None:
    source = _rows(tmp_path / "window.parquet", range(ROWS, ROWS + 170), 5, shift=1.0)
    assert _violated(source, baseline, tmp_path) == [("ks", "level")]


@pytest.mark.parametrize("rows", [15, 30, 60])
def test_a_day_of_a_few_rows_in_which_a_column_never_changes_violates_nothing(tmp_path: Path, rows: int) -> None:
    """The weekday of 60 days: a window of one day holds one value, as every day of the baseline does."""
    shop = Workshop(LocalEngine(), tmp_path, datetime(2026, 3, 1, tzinfo=UTC))
    day = np.arange(60 * rows) // rows % 7
    names = np.array(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
    columns = {"weekday": names[day], "amount": np.random.default_rng(rows).normal(size=len(day))}
    pq.write_table(pa.table(columns), tmp_path / "base.parquet")
    baseline_of_data(Source(tmp_path / "base.parquet"), tmp_path / "base", shop)
    for start in range(0, 7 * rows, rows):
        pq.write_table(pa.table(columns).slice(start, rows), tmp_path / "window.parquet")
        assert _violated(Source(tmp_path / "window.parquet"), tmp_path / "base", tmp_path) == []
