"""What only Spark has: other machines that may vanish, or run something else, and three ways to reach them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest

from driftline.dataset.dataset import Join, Table
from driftline.engines.local import LocalEngine
from driftline.engines.remote import SCHEMA, Origin, Scan, Slots
from driftline.engines.session import mapped, session
from driftline.engines.spark import SparkEngine
from driftline.engines.tasks import tasks
from driftline.errors import Corrupt, InputError
from driftline.schema import ID, LABEL, ORDINAL, PROBABILITY, SCORE
from driftline.states.column import Column
from driftline.states.contingency import Contingency
from driftline.states.histogram import Histogram
from driftline.states.moments import Moments
from driftline.states.residuals import Residuals
from driftline.states.rows import Rows
from driftline.states.scores import Scores
from driftline.states.state import Plan

Writer: TypeAlias = Callable[..., Table]

# Every summary there is, over every kind of column.
EVERY: Plan = frozenset(
    {
        Rows(),
        Contingency("label", "class"),
        Contingency("truth", None, score="score", threshold=0.25),
        Residuals("x", "score"),
        Scores("score", "label"),
        *(
            Column(name)
            for name in ("x", "i", "text", "truth", "when", "category", "nothing", "nested", "score", "label")
        ),
        *(Histogram(name, limit=16) for name in ("x", "i", "score")),
        *(Moments(name) for name in ("x", "i", "score")),
    }
)


def every_column(rows: int) -> pa.Table:
    random = np.random.default_rng(11)
    classes = np.array(["0", "1"])
    x = random.normal(size=rows) * 10.0 ** random.integers(-300, 300, rows)
    x[::97] = np.nan
    return pa.table(
        {
            "x": x,
            "i": random.integers(-(2**62), 2**62, rows),
            "text": [None if k == 9 else f"{k}" * (k % 3) for k in random.integers(0, 10, rows)],
            "truth": random.random(rows) < 0.5,
            "when": pa.array(random.integers(0, 2**41, rows)).cast(pa.timestamp("ms", "UTC")),
            "category": pa.array(random.choice(np.array(["a", "b"]), rows)).dictionary_encode(),
            "nothing": pa.nulls(rows),
            "nested": [[int(k)] for k in random.integers(0, 3, rows)],
            "label": random.choice(classes, rows),
            "class": random.choice(classes, rows),
            "score": random.random(rows),
            PROBABILITY: random.choice([1.0, 0.5, 0.1], rows),
        }
    )


def scored(table: Writer, rows: int, group: int) -> Join:
    """Every other prediction has a label, some two."""
    random = np.random.default_rng(5)
    ids = np.arange(rows)
    predictions = {ID: ids.astype(str), ORDINAL: ids * 0, SCORE: random.random(rows)}
    labelled = np.concatenate([ids[::2], ids[::6], ids[: rows // 4] + rows])
    random.shuffle(labelled)
    truth = random.choice(np.array(["0", "1"]), len(labelled))
    labels = {ID: labelled.astype(str), ORDINAL: labelled * 0, LABEL: truth}
    return Join(table(predictions, files=2, group=group), table(labels, files=3, group=group))


QUALITY: Plan = frozenset({Rows(), Moments(SCORE), Scores(SCORE, LABEL), Contingency(LABEL, None, SCORE)})


@pytest.fixture
def local(tmp_path: Path) -> LocalEngine:
    return LocalEngine(scratch=tmp_path / "scratch")


def test_every_summary_has_the_same_state_as_on_one_machine(
    on_cluster: Any, table: Writer, tmp_path: Path, local: LocalEngine
) -> None:
    rows = table(every_column(6000), files=3, group=700)
    engine = SparkEngine(lambda: on_cluster, tmp_path)
    assert dict(engine.fold(EVERY, rows).states) == dict(local.fold(EVERY, rows).states)
    spans = [(0, 6000), (10, 20), (1999, 4500)]
    ours, theirs = engine.fold_spans(EVERY, rows, spans), local.fold_spans(EVERY, rows, spans)
    assert [dict(states) for states in ours] == [dict(states) for states in theirs]


def test_spark_connect_gives_the_same_states_and_says_how_far_it_is(
    connect: str, table: Writer, tmp_path: Path, local: LocalEngine
) -> None:
    rows = table(every_column(3000), files=2, group=700)
    join = scored(table, 3000, 500)
    seen: list[tuple[int, int | None]] = []
    with session(connect, tmp_path) as spark:
        engine = SparkEngine(lambda: spark, tmp_path, bucket_rows=2000)
        states = engine.fold(EVERY, rows, lambda done, of, _: seen.append((done, of))).states
        joined = engine.fold(QUALITY, join)
        with pytest.raises(InputError, match="has no column 'y'"):
            engine.fold(frozenset({Moments("y")}), rows)
    assert dict(states) == dict(local.fold(EVERY, rows).states)
    assert joined == local.fold(QUALITY, join)
    assert seen == sorted(seen)
    assert seen[-1] == (3000, 3000)


def test_states_of_many_parts_are_merged_on_the_executors_first(
    on_cluster: Any, table: Writer, tmp_path: Path, local: LocalEngine
) -> None:
    join = scored(table, 4000, 500)
    engine = SparkEngine(lambda: on_cluster, tmp_path, bucket_rows=1000, fan_in=2)
    assert engine.fold(QUALITY, join) == local.fold(QUALITY, join)


@pytest.mark.parametrize("job", ["profile", "join"])
def test_a_worker_that_dies_in_mid_job_loses_nothing(
    cluster: Any, on_cluster: Any, table: Writer, tmp_path: Path, local: LocalEngine, job: str
) -> None:
    plan: Plan = frozenset({Rows(), Column("i")}) if job == "profile" else QUALITY
    # Millions of rows, for a task has a million; small row groups, for it must take its time.
    many = np.arange(12_000_000, dtype=np.int32) % 1000
    data = table({"i": many}, files=2, group=2000) if job == "profile" else scored(table, 20_000, 5000)
    killed: list[int] = []

    def kill_one(done: int, _: int | None, __: str) -> None:
        if done and not killed:
            killed.append(done)
            cluster.kill("one")

    try:
        folded = SparkEngine(lambda: on_cluster, tmp_path, bucket_rows=1000).fold(plan, data, kill_one)
    finally:
        cluster.start_worker("one")
    assert 0 < killed[0] < (len(many) if isinstance(data, Table) else data.predictions.rows)
    assert folded == local.fold(plan, data)


def test_a_damaged_file_of_a_join_is_named(on_cluster: Any, table: Writer, tmp_path: Path) -> None:
    join = scored(table, 4000, 4000)
    path = join.labels.paths[1]
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=rf"{path.name}.*column 'driftline\.[a-z]+' cannot be read"):
        SparkEngine(lambda: on_cluster, tmp_path).fold(QUALITY, join)


def test_executors_with_another_driftline_are_refused(on_cluster: Any, table: Writer) -> None:
    rows = table({"x": [1.0]})
    plan: Plan = frozenset({Moments("x")})
    slots = Slots(tuple(plan), ((0, 1),))
    other = Scan(Origin("3.9", "0.0.1"), slots, Scan.of(slots, tasks(plan, rows, 1)).tasks)
    (row,) = mapped(on_cluster.range(1), other, SCHEMA).collect()
    assert row.error.startswith("InputError: the executors run Driftline")
    assert "the driver Driftline 0.0.1 on Python 3.9" in row.error


@pytest.mark.parametrize("url", ["spark://", "yarn", "local[0]", "local[two]", "http://x", "", "spark:// x"])
def test_what_is_no_engine_is_named(url: str, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"write local, spark://host:port, local\[\*\] or sc://host:port"),
        session(url, tmp_path),
    ):
        pass
