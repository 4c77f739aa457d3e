"""Executors read a bucket by themselves, and give the same states as files on this disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from driftline.dataset.dataset import Dataset, Join, Table
from driftline.engines.carried import CARRIED, CarryingEngine
from driftline.engines.engine import Engine
from driftline.engines.local import LocalEngine
from driftline.engines.spark import SparkEngine
from driftline.errors import Unavailable
from driftline.objects.places import store_at
from driftline.objects.remote import found_at
from driftline.schema import ID, LABEL, ORDINAL, SCORE
from driftline.states.column import Column
from driftline.states.rows import Rows
from driftline.states.scores import Scores
from driftline.states.state import Plan

Writer: TypeAlias = Callable[..., Table]
COLUMNS: Plan = frozenset({Rows(), Column("x"), Column("s")})
JOINED: Plan = frozenset({Rows(), Scores(SCORE, LABEL)})
ROWS = 20_000


@pytest.fixture
def rows(table: Writer) -> Table:
    random = np.random.default_rng(3)
    columns = {
        "x": random.normal(size=ROWS),
        "s": random.choice(np.array(["a", "b", "c"]), ROWS),
        "unread": range(ROWS),
    }
    return table(columns, files=3, group=2000)


@pytest.fixture
def join(table: Writer) -> Join:
    random = np.random.default_rng(4)
    ids = np.arange(ROWS)
    predictions = {ID: ids.astype(str), ORDINAL: ids * 0, SCORE: random.random(ROWS)}
    labels = {ID: ids[::2].astype(str), ORDINAL: ids[::2] * 0, LABEL: random.choice(np.array(["0", "1"]), ROWS // 2)}
    return Join(table(predictions, files=2), table(labels, files=2))


@pytest.fixture(params=["local", pytest.param("spark", marks=pytest.mark.spark)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "local":
        return LocalEngine(scratch=tmp_path / "scratch")
    return SparkEngine(lambda: request.getfixturevalue("on_cluster"), tmp_path / "scratch", bucket_rows=5000)


def put(table: Table, place: str) -> Table:
    """The table in the bucket; its files are gone from the disk."""
    store = store_at(place)
    for number, path in enumerate(table.paths):
        store.put_file(f"{number}.parquet", path)
        path.unlink()
    return replace(table, paths=(), objects=tuple(found_at(place)))


def encoded(engine: Engine, plan: Plan, dataset: Dataset) -> dict[str, bytes]:
    return {repr(summary): state.encode() for summary, state in engine.fold(plan, dataset).states.items()}


def test_rows_in_a_bucket_give_the_states_of_rows_on_the_disk(engine: Engine, rows: Table, s3: str) -> None:
    expected = encoded(LocalEngine(), COLUMNS, rows)
    assert encoded(engine, COLUMNS, put(rows, s3)) == expected


def test_a_join_in_a_bucket_gives_the_states_and_the_coverage_of_one_on_the_disk(
    engine: Engine, join: Join, s3: str
) -> None:
    expected, coverage = encoded(LocalEngine(), JOINED, join), LocalEngine().fold(JOINED, join).coverage
    there = Join(put(join.predictions, f"{s3}/predictions"), put(join.labels, f"{s3}/labels"))
    assert encoded(engine, JOINED, there) == expected
    assert engine.fold(JOINED, there).coverage == coverage


def test_rows_on_a_disk_of_this_machine_alone_are_carried_to_the_executors(
    engine: Engine, rows: Table, join: Join, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = store_at(s3), []

    class Seeing:
        """Passes on, and notes what it was given."""

        def fold(self, plan: Plan, dataset: Dataset, progress: Any = None) -> Any:
            seen.append(dataset)
            return engine.fold(plan, dataset, progress)

    carrying = CarryingEngine(Seeing(), store)  # type: ignore[arg-type]
    for plan, dataset in ((COLUMNS, rows), (JOINED, join)):
        assert encoded(carrying, plan, dataset) == encoded(LocalEngine(), plan, dataset)
    assert all(not table.paths for d in seen for table in ((d.predictions, d.labels) if isinstance(d, Join) else (d,)))
    assert list(store.list(f"{CARRIED}/")) == [], "nothing stays behind"


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_an_object_that_is_no_longer_what_was_listed_ends_the_work(
    engine: Engine, rows: Table, s3: str, how: str
) -> None:
    there, store = put(rows, s3), store_at(s3)
    if how == "deleted":
        store.delete("1.parquet")
    else:
        store.put("1.parquet", store.get("0.parquet"))
    with pytest.raises(Unavailable, match=r"1\.parquet"):
        engine.fold(COLUMNS, there)
