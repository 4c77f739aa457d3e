"""What every engine must do."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Coverage, Join, Table
from driftline.engines.engine import Engine
from driftline.errors import Corrupt, InputError, Unavailable
from driftline.schema import ID, LABEL, ORDINAL, PROBABILITY, SCORE
from driftline.states.column import Column
from driftline.states.contingency import Contingency
from driftline.states.moments import Moments
from driftline.states.rows import ONE, Rows
from driftline.states.scores import Scores
from driftline.states.state import Plan, States

Writer: TypeAlias = Callable[..., Table]


@pytest.fixture
def numbers() -> dict[str, Any]:
    random = np.random.default_rng(7)
    return {
        "x": random.normal(size=5000),
        "i": random.integers(0, 50, 5000),
        "s": [("a", "b", None)[i] for i in random.integers(0, 3, 5000)],
        PROBABILITY: random.choice([1.0, 0.5], 5000),
    }


def merged(parts: list[States]) -> States:
    return reduce(lambda one, other: one.merge(other), parts)


PLAN: Plan = frozenset({Rows(), Column("x"), Column("i"), Column("s"), Moments("x")})


def expected(plan: Plan, columns: dict[str, Any]) -> dict[Any, Any]:
    batch = pa.table(columns).combine_chunks().to_batches()[0]
    return {summary: summary.of(batch) for summary in plan}


def test_batches_are_folded_into_one_state(engine: Engine, table: Writer, numbers: dict[str, Any]) -> None:
    folded = engine.fold(PLAN, table(numbers, files=3, group=700))
    assert dict(folded.states) == expected(PLAN, numbers)
    assert folded.coverage is None
    assert folded.states[Rows()].w > 5000 * ONE


def test_rows_alone_are_counted(engine: Engine, table: Writer) -> None:
    assert engine.fold(frozenset({Rows()}), table({"x": [1, 2, 3]})).states[Rows()].n == 3


def test_no_rows_give_empty_states(engine: Engine, table: Writer) -> None:
    nothing = table({"x": pa.array([], pa.float64())})
    for dataset in (nothing, Table((), (), 0)):
        assert engine.fold(frozenset({Moments("x")}), dataset).states[Moments("x")] == Moments("x").empty()
        assert len(engine.fold_blocks(frozenset({Moments("x")}), dataset, 4)) == 1


@pytest.mark.parametrize("blocks", [1, 3, 7, 5000, 9000])
def test_blocks_are_consecutive_equal_and_make_up_the_whole(engine: Engine, table: Writer, blocks: int) -> None:
    count = 5000 if blocks < 100 else 20
    dataset = table({"x": np.arange(float(count))}, files=3, group=700)
    plan: Plan = frozenset({Rows(), Moments("x")})
    parts = engine.fold_blocks(plan, dataset, blocks)
    sizes = [part[Rows()].n for part in parts]
    assert len(parts) == min(blocks, count)
    assert max(sizes) - min(sizes) <= 1
    ends = np.cumsum(sizes)
    assert [part[Moments("x")].maximum for part in parts] == (ends - 1).tolist()
    assert dict(merged(parts)) == dict(engine.fold(plan, dataset).states)


def test_spans_are_the_rows_they_name_even_where_they_overlap(engine: Engine, table: Writer) -> None:
    dataset = table({"x": np.arange(3000.0)}, files=3, group=400)
    found = engine.fold_spans(frozenset({Moments("x")}), dataset, [(0, 3000), (390, 410), (1999, 2001), (7, 7)])
    ends = [(part[Moments("x")].minimum, part[Moments("x")].maximum, part[Moments("x")].n) for part in found]
    assert ends == [(0.0, 2999.0, 3000), (390.0, 409.0, 20), (1999.0, 2000.0, 2), (None, None, 0)]


def test_progress_ends_at_all_rows(engine: Engine, table: Writer, numbers: dict[str, Any]) -> None:
    seen: list[tuple[int, int | None, str]] = []
    engine.fold(PLAN, table(numbers, group=700), lambda *told: seen.append(told))
    assert seen == sorted(seen)
    assert seen[-1] == (5000, 5000, "rows")


@pytest.fixture
def join(table: Writer) -> Join:
    """Ids 0 to 2999 were predicted; 1000 to 3999 are labelled, 1000 to 1099 twice: first wrong, then right."""
    ids = np.arange(3000)
    predictions = {ID: ids.astype(str), ORDINAL: ids * 0, SCORE: ids / 3000, PROBABILITY: np.full(3000, 0.5)}
    labelled = np.concatenate([np.arange(1000, 1100), np.arange(1000, 4000)])
    truth = (labelled >= 1500).astype(int).astype(str)
    truth[:100] = "wrong"
    labels = {ID: labelled.astype(str), ORDINAL: labelled * 0, LABEL: truth}
    return Join(table(predictions, files=2, group=700), table(labels, files=2))


def test_the_last_label_wins_and_coverage_tells_how_the_sides_met(engine: Engine, join: Join) -> None:
    plan: Plan = frozenset({Rows(), Contingency(LABEL, None, SCORE), Scores(SCORE, LABEL)})
    folded = engine.fold(plan, join)
    assert folded.coverage == Coverage(predictions=3000, labelled=2000, labels=3000, unmatched_labels=1000)
    assert folded.states[Rows()].n == 2000
    assert folded.states[Rows()].w == 2000 * 2 * ONE
    cells = {cell: count.n for cell, count in folded.states[Contingency(LABEL, None, SCORE)].cells.items()}
    assert cells == {("0", "0"): 500, ("1", "0"): 1, ("1", "1"): 1499}


def test_blocks_of_a_join_follow_the_predictions(engine: Engine, join: Join) -> None:
    plan: Plan = frozenset({Rows(), Moments(SCORE), Scores(SCORE, LABEL)})
    parts = engine.fold_blocks(plan, join, 4)
    assert [part[Rows()].n for part in parts] == [500] * 4
    assert [part[Moments(SCORE)].minimum for part in parts] == [1000 / 3000, 1500 / 3000, 2000 / 3000, 2500 / 3000]
    assert dict(merged(parts)) == dict(engine.fold(plan, join).states)


def test_the_row_of_a_request_is_part_of_the_key(engine: Engine, table: Writer) -> None:
    ids = {ID: ["a", "a", "b"], ORDINAL: [0, 1, 0]}
    join = Join(table(ids | {SCORE: [0.1, 0.9, 0.9]}), table(ids | {LABEL: ["0", "1", "0"]}))
    folded = engine.fold(frozenset({Contingency(LABEL, None, SCORE)}), join)
    cells = {cell: count.n for cell, count in folded.states[Contingency(LABEL, None, SCORE)].cells.items()}
    assert cells == {("0", "0"): 1, ("0", "1"): 1, ("1", "1"): 1}


def test_labels_without_predictions_and_the_reverse_are_no_failure(engine: Engine, table: Writer) -> None:
    none = {ID: pa.array([], pa.string()), ORDINAL: pa.array([], pa.int64())}
    some = {ID: ["a"], ORDINAL: [0]}
    label, no_label = {LABEL: ["1"]}, {LABEL: pa.array([], pa.string())}
    plan: Plan = frozenset({Rows()})
    left = engine.fold(plan, Join(table(some), table(none | no_label)))
    right = engine.fold(plan, Join(table(none), table(some | label)))
    assert left.coverage == Coverage(1, 0, 0, 0)
    assert right.coverage == Coverage(0, 0, 1, 1)


def test_a_column_that_is_not_there_is_named(engine: Engine, table: Writer, join: Join) -> None:
    with pytest.raises(InputError, match="has no column 'y'; its columns are 'x'"):
        engine.fold(frozenset({Moments("y")}), table({"x": [1.0]}))
    with pytest.raises(InputError, match=rf"{join.predictions.paths[0].name}' has no column 'y'"):
        engine.fold(frozenset({Moments("y")}), join)


def test_a_damaged_file_is_named_with_its_column(engine: Engine, table: Writer) -> None:
    random = np.random.default_rng(1)
    dataset = table({"x": random.normal(size=4000), "y": random.normal(size=4000)}, group=4000)
    path = dataset.paths[0]
    place = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[place.data_page_offset : place.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=rf"{path.name}.*column 'y' cannot be read"):
        engine.fold(frozenset({Moments("x"), Moments("y")}), dataset)


def test_a_damaged_file_of_a_join_is_named_with_its_column(engine: Engine, join: Join) -> None:
    path = join.labels.paths[0]
    group = pq.ParquetFile(path).metadata.row_group(0)
    place = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == LABEL)
    data = bytearray(path.read_bytes())
    start = place.dictionary_page_offset or place.data_page_offset
    data[start : start + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=rf"{path.name}.*row group 0: column '{LABEL}' cannot be read"):
        engine.fold(frozenset({Rows()}), join)


def test_a_join_of_other_rows_than_were_counted_is_refused(engine: Engine, table: Writer, join: Join) -> None:
    for side in (join.predictions, join.labels):
        before = side.paths[0].read_bytes()
        pq.write_table(pq.read_table(side.paths[0]).slice(3), side.paths[0])
        with pytest.raises(Unavailable, match=rf"held {side.rows:,} when they were counted"):
            engine.fold(frozenset({Rows()}), join)
        side.paths[0].write_bytes(before)
    assert engine.fold(frozenset({Rows()}), join).states[Rows()].n == 2000


def test_a_file_that_is_not_there_any_more_is_named(engine: Engine, table: Writer, join: Join) -> None:
    dataset = table({"x": [1.0]})
    dataset.paths[0].unlink()
    with pytest.raises(Unavailable, match=dataset.paths[0].name):
        engine.fold(frozenset({Moments("x")}), dataset)
    join.labels.paths[1].unlink()
    with pytest.raises(Unavailable, match=join.labels.paths[1].name):
        engine.fold(frozenset({Rows()}), join)
