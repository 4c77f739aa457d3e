"""How a scan is cut into tasks, and what a task does when its files are not what they were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Table
from driftline.engines.foldings import Foldings
from driftline.engines.tasks import ROWS, Reader, Task, tasks
from driftline.errors import Corrupt, Unavailable
from driftline.states.column import Column
from driftline.states.moments import Moments
from driftline.states.rows import Rows
from driftline.states.scores import Scores
from driftline.states.state import Plan

X: Plan = frozenset({Moments("x")})


def written(folder: Path, rows: int, group: int, columns: tuple[str, ...] = ("x",), files: int = 1) -> Table:
    paths = tuple(folder / f"{i}.parquet" for i in range(files))
    for path in paths:
        pq.write_table(pa.table({name: np.arange(float(rows)) for name in columns}), path, row_group_size=group)
    return Table(paths, columns, rows * files)


def shape(found: list[Task]) -> list[tuple[int, int, int]]:
    return [(task.start, len(task.pieces), task.rows) for task in found]


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    assert shape(list(tasks(X, written(tmp_path, 4000, 40), 1))) == [(0, 1, 4000)]


def test_small_files_are_read_together(tmp_path: Path) -> None:
    assert shape(list(tasks(X, written(tmp_path, 30, 30, files=100), 1))) == [(0, 100, 3000)]


def test_a_task_holds_no_more_rows_than_asked_for_unless_one_row_group_does(tmp_path: Path) -> None:
    assert shape(list(tasks(X, written(tmp_path, 1000, 300, files=2), 1, rows=700))) == [
        (0, 1, 600),
        (600, 1, 400),
        (1000, 1, 600),
        (1600, 1, 400),
    ]
    assert shape(list(tasks(X, written(tmp_path, 1000, 1000), 1, rows=10))) == [(0, 1, 1000)]


def test_a_task_opens_at_most_so_many_files(tmp_path: Path) -> None:
    found = list(tasks(X, written(tmp_path, 1, 1, files=1100), 1))
    assert shape(found) == [(0, 512, 512), (512, 512, 512), (1024, 76, 76)]


def test_every_summary_is_in_one_bundle_and_those_that_share_a_column_in_the_same(tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(64))
    plan: Plan = frozenset({*(Column(c) for c in names), *(Moments(c) for c in names), Scores("c0", "c63"), Rows()})
    bundles = [task.bundle for task in tasks(plan, written(tmp_path, ROWS // 8, ROWS, names), 8)]
    assert len(bundles) > 4
    assert sorted(map(repr, plan)) == sorted(repr(summary) for bundle in bundles for summary in bundle.summaries)
    assert sorted(names) == sorted(column for bundle in bundles for column in bundle.columns)
    for bundle in bundles:
        assert {column for summary in bundle.summaries for column in summary.columns} == set(bundle.columns)


def test_the_tasks_of_a_wide_table_grow_with_its_values_not_with_their_square(tmp_path: Path) -> None:
    names = tuple(f"c{i}" for i in range(3000))
    plan: Plan = frozenset(Column(c) for c in names)
    assert len(list(tasks(plan, written(tmp_path, 4, 4, names), 2))) == 1


def test_a_file_that_changed_since_the_tasks_were_made_is_not_read(tmp_path: Path) -> None:
    table = written(tmp_path, 100, 100)
    (task,) = tasks(X, table, 1)
    written(tmp_path, 200, 100)
    with pytest.raises(Unavailable, match=rf"{table.paths[0].name}.*changed while it was read"):
        task.fold([(0, 100)], Reader(), Foldings())


def test_a_file_that_changes_while_it_is_read_gives_no_states(tmp_path: Path) -> None:
    table = written(tmp_path, 300_000, 300_000)
    (task,) = tasks(X, table, 1)
    batches = Reader().batches(task.pieces[0], ("x",))
    assert next(batches).num_rows < 300_000
    before = table.paths[0].stat()
    os.utime(table.paths[0], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(Unavailable, match="changed while it was read"):
        list(batches)


def test_a_file_that_vanishes_while_it_is_read_gives_no_states(tmp_path: Path) -> None:
    table = written(tmp_path, 300_000, 300_000)
    (task,) = tasks(X, table, 1)
    batches = Reader().batches(task.pieces[0], ("x",))
    next(batches)
    table.paths[0].unlink()
    with pytest.raises(Unavailable, match=rf"{table.paths[0].name}.*cannot be read: No such file"):
        list(batches)


def test_a_flipped_bit_is_found_where_the_writer_left_checksums(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(
        pa.table({"x": np.arange(1000.0), "y": np.arange(1000.0)}),
        path,
        use_dictionary=False,
        compression="none",
        write_page_checksum=True,
    )
    place = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[place.data_page_offset + place.total_compressed_size - 100] ^= 1
    path.write_bytes(data)
    plan: Plan = frozenset({Moments("x"), Moments("y")})
    (task,) = tasks(plan, Table((path,), ("x", "y"), 1000), 1)
    with pytest.raises(Corrupt, match="row group 0: column 'y' cannot be read"):
        task.fold([(0, 1000)], Reader(), Foldings())
