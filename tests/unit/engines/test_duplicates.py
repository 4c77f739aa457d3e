"""Rows of labels that may be superseded, told by their hashes."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from driftline.engines import duplicates
from driftline.engines.duplicates import suspects


def places(*rows: tuple[str, int]) -> list[int]:
    ids, ordinals = pa.array([row[0] for row in rows], pa.string()), pa.array([row[1] for row in rows], pa.int64())
    with duckdb.connect() as connection:
        connection.register("labels", pa.table({"id": ids, "ordinal": ordinals, "place": range(100, 100 + len(rows))}))
        return sorted(suspects(connection, len(rows)).tolist())


@pytest.mark.parametrize("at_once", [1, 4, 1 << 25])
def test_every_row_of_an_id_that_is_there_twice_is_named(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(duplicates, "AT_ONCE", at_once)
    rows = [("a", 0), ("b", 0), ("c", 0), ("c", 1), ("a", 0), ("d", 0), ("b", 0), ("c", 2), ("", 0)]
    assert places(*rows) == [100, 101, 104, 106]


def test_ids_that_are_all_different_are_not_suspected() -> None:
    assert places(*[(f"id-{i}", i % 2) for i in range(5000)]) == []


def test_no_labels_are_no_suspects() -> None:
    assert places() == []
