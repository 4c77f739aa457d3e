"""Every engine there is, and tables to fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Table
from driftline.engines.engine import Engine
from driftline.engines.local import LocalEngine


@pytest.fixture(params=["local", "local with one thread"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    scratch = tmp_path / "scratch"
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
