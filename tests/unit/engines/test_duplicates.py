"""Rows of labels that may be superseded, told by their hashes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Table
from driftline.engines import duplicates
from driftline.engines.duplicates import FILE, suspects
from driftline.schema import ID, ORDINAL


def labels(folder: Path, *files: list[tuple[str | None, int]], rows_per_group: int = 3) -> Table:
    paths = []
    for number, rows in enumerate(files):
        path = folder / f"{number}.parquet"
        ids, ordinals = pa.array([row[0] for row in rows], pa.string()), pa.array([row[1] for row in rows], pa.int64())
        pq.write_table(pa.table({ID: ids, ORDINAL: ordinals}), path, row_group_size=rows_per_group)
        paths.append(path)
    return Table(tuple(paths), (ID, ORDINAL), sum(map(len, files)))


@pytest.mark.parametrize("at_once", [1, 4, 1 << 25])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_row_of_an_id_that_is_there_twice_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, threads: int
) -> None:
    monkeypatch.setattr(duplicates, "AT_ONCE", at_once)
    first = [("a", 0), ("b", 0), (None, 0), ("c", 0), ("c", 1), (None, 0), ("a", 0)]
    table = labels(tmp_path, first, [("d", 0), ("b", 0), ("c", 2), ("", 0)])
    expected = [FILE, FILE + 1, FILE + 6, 2 * FILE + 1]
    assert sorted(suspects(table, threads).tolist()) == expected


def test_ids_that_are_all_different_are_not_suspected(tmp_path: Path) -> None:
    table = labels(tmp_path, [(f"id-{i}", i % 2) for i in range(5000)], rows_per_group=700)
    assert suspects(table, 2).tolist() == []


def test_no_labels_are_no_suspects(tmp_path: Path) -> None:
    assert suspects(labels(tmp_path, []), 2).tolist() == []
