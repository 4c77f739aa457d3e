"""What every engine does with files as they come: many, small, damaged, of differing schemas, of any type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Join, Table
from driftline.engines.engine import Engine
from driftline.errors import InputError, Unavailable
from driftline.schema import ID, LABEL, ORDINAL, PROBABILITY, SCORE
from driftline.states.column import Column
from driftline.states.moments import Moments
from driftline.states.rows import ONE, Rows
from driftline.states.state import Plan

Writer: TypeAlias = Callable[..., Table]

X: Plan = frozenset({Rows(), Column("x")})


def both(one: Table, other: Table) -> Table:
    return Table((*one.paths, *other.paths), one.columns, one.rows + other.rows)


def expected(plan: Plan, *columns: Any) -> dict[Any, Any]:
    states = [{s: s.of(batch) for s in plan} for c in columns for batch in pa.table(c).combine_chunks().to_batches()]
    whole = states[0]
    for more in states[1:]:
        whole = {summary: state.merge(more[summary]) for summary, state in whole.items()}
    return whole


def test_hundreds_of_files_of_one_row_are_one_dataset(engine: Engine, table: Writer) -> None:
    rows = {"x": np.random.default_rng(3).normal(size=700), "s": [f"s{i % 7}" for i in range(700)]}
    plan: Plan = frozenset({Rows(), Column("x"), Column("s")})
    assert dict(engine.fold(plan, table(rows, files=700)).states) == expected(plan, rows)


def test_a_hundred_row_groups_are_one_dataset(engine: Engine, table: Writer) -> None:
    rows = {"x": np.random.default_rng(3).normal(size=10_000)}
    assert dict(engine.fold(X, table(rows, group=100)).states) == expected(X, rows)


def test_a_wide_table_is_folded_whole(engine: Engine, table: Writer) -> None:
    rows = {f"c{i}": np.arange(3.0) + i for i in range(1500)}
    plan: Plan = frozenset(Moments(name) for name in rows)
    states = engine.fold(plan, table(rows)).states
    assert [states[Moments(name)].maximum for name in rows] == [i + 2.0 for i in range(1500)]


TYPES: dict[str, pa.Array] = {
    "decimal": pa.array([Decimal("1.25"), None, Decimal("-3.50")]),
    "wide decimal": pa.array([Decimal("1e30"), None, Decimal("2")], pa.decimal256(60, 2)),
    "date": pa.array([date(2026, 1, 1), None, date(1969, 12, 31)]),
    "time": pa.array([time(1, 2, 3), None, time(0)]),
    "timestamp": pa.array([datetime(2026, 1, 1), None, datetime(1969, 1, 1)], pa.timestamp("ns")),  # noqa: DTZ001
    "zoned": pa.array([1, None, 3], pa.timestamp("ms", "Europe/Berlin")),
    "duration": pa.array([timedelta(seconds=1), None, timedelta(0)]),
    "list": pa.array([[1, 2], None, []]),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}]),
    "list of structs": pa.array([[{"a": 1}], None, []]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"\xff", None, b""]),
    "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
    "numbers in a dictionary": pa.array([1, None, 2]).dictionary_encode(),
    "large text": pa.array(["a", None, "1"], pa.large_string()),
    "boolean": pa.array([True, None, False]),
    "half": pa.array([np.float16(1.5), None, np.float16("nan")], pa.float16()),
    "unsigned": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "nothing": pa.nulls(3),
}


@pytest.mark.parametrize("values", TYPES.values(), ids=TYPES.keys())
def test_every_type_of_column_has_a_state(engine: Engine, table: Writer, values: pa.Array) -> None:
    rows = pa.table({"x": values, "other": [1, 2, 3]})
    state = engine.fold(X, table(rows, files=2)).states[Column("x")]
    assert state == Column("x").of(rows.combine_chunks().to_batches()[0])
    assert (state.rows.n, state.kinds.null.n) == (3, values.null_count)


def test_a_file_without_a_column_is_named(engine: Engine, table: Writer) -> None:
    second = table({"y": [1.0]})
    with pytest.raises(InputError, match=rf"{second.paths[0].name}' has no column 'x'; its columns are 'y'"):
        engine.fold(X, both(table({"x": [1.0]}), second))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1]), pa.array(["1"])),
        (pa.array([1.0]), pa.array([True])),
        (pa.array([1], pa.timestamp("ms")), pa.array([1], pa.timestamp("us"))),
        (pa.array([date(2026, 1, 1)]), pa.array([1])),
        (pa.array([[1]]), pa.array([1])),
    ],
    ids=["number and text", "number and truth", "units of time", "date and number", "list and number"],
)
def test_a_type_that_changes_between_files_is_named(
    engine: Engine, table: Writer, one: pa.Array, other: pa.Array
) -> None:
    first, second = table({"x": one}), table({"x": other})
    message = rf"column 'x' is .* in file .*{second.paths[0].name}' and .* in file .*{first.paths[0].name}'"
    with pytest.raises(InputError, match=message):
        engine.fold(X, both(first, second))


def test_numbers_may_be_stored_in_several_ways(engine: Engine, table: Writer) -> None:
    ways = [{"x": [1, 2]}, {"x": [1.5, None]}, {"x": pa.nulls(2)}, {"x": pa.array([Decimal("7.5")])}]
    tables = [table(way) for way in ways]
    whole = Table(tuple(t.paths[0] for t in tables), ("x",), sum(t.rows for t in tables))
    assert dict(engine.fold(X, whole).states) == expected(X, *ways)


def test_texts_may_be_stored_in_several_ways(engine: Engine, table: Writer) -> None:
    one, other = {"x": pa.array(["a", "b"]).dictionary_encode()}, {"x": pa.array(["b", "c"], pa.large_string())}
    assert dict(engine.fold(X, both(table(one), table(other))).states) == expected(X, one, other)


def test_a_file_without_probabilities_has_one_everywhere(engine: Engine, table: Writer) -> None:
    plain, sampled = table({"x": [1.0]}), table({"x": [1.0], PROBABILITY: [0.5]})
    for whole in (both(plain, sampled), both(sampled, plain)):
        assert engine.fold(frozenset({Rows()}), whole).states[Rows()].w == 3 * ONE


def test_a_probability_that_is_none_is_named_with_its_file(engine: Engine, table: Writer) -> None:
    wrong = table({"x": [1.0, 2.0], PROBABILITY: [0.5, 0.0]})
    with pytest.raises(InputError, match=rf"{wrong.paths[0].name}.*row 1 .*0\.0 is not an inclusion probability"):
        engine.fold(X, wrong)


def test_a_name_that_stands_twice_is_named_with_its_file(engine: Engine, table: Writer) -> None:
    twice = table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"]))
    with pytest.raises(InputError, match=rf"{twice.paths[0].name}.*2 columns 'x'"):
        engine.fold(X, twice)


def test_files_with_no_rows_among_others_change_nothing(engine: Engine, table: Writer) -> None:
    some, none = {"x": [1.0, 2.0]}, pa.table({"x": pa.array([], pa.float64())})
    assert dict(engine.fold(X, both(table(none), table(some))).states) == expected(X, some)


def test_a_table_without_columns_has_no_rows(engine: Engine, table: Writer) -> None:
    assert engine.fold(frozenset({Rows()}), table(pa.table({}))).states[Rows()].n == 0


def test_files_that_hold_other_rows_than_were_counted_are_refused(engine: Engine, table: Writer) -> None:
    counted = table({"x": np.arange(10.0)})
    pq.write_table(pa.table({"x": np.arange(20.0)}), counted.paths[0])
    for fold in (lambda: engine.fold(X, counted), lambda: engine.fold_blocks(X, counted, 2)):
        with pytest.raises(Unavailable, match=r"the files hold 20 rows, and held 10 .*changed"):
            fold()


def test_a_type_that_changes_between_the_files_of_a_join_is_named(engine: Engine, table: Writer) -> None:
    ids, more = {ID: ["a"], ORDINAL: [0]}, {ID: ["b"], ORDINAL: [0]}
    whole, halves = table(ids | {SCORE: [1]}), table(more | {SCORE: [0.5]})
    labels = table(ids | {LABEL: ["1"]})
    with pytest.raises(InputError, match=rf"'driftline.score' is double in file .*{halves.paths[0].name}' and int64"):
        engine.fold(frozenset({Moments(SCORE)}), Join(both(whole, halves), labels))


def test_what_is_nowhere_in_a_file_of_a_join_is_null_there(engine: Engine, table: Writer) -> None:
    ids, more = {ID: ["a"], ORDINAL: [0]}, {ID: ["b"], ORDINAL: [0]}
    predictions = both(table(ids | {SCORE: pa.nulls(1)}), table(more | {SCORE: [0.5]}))
    labels = both(table(ids | {LABEL: pa.nulls(1, pa.string())}), table(more | {LABEL: ["1"]}))
    states = engine.fold(frozenset({Rows(), Moments(SCORE)}), Join(predictions, labels)).states
    assert (states[Rows()].n, states[Moments(SCORE)].n, states[Moments(SCORE)].maximum) == (2, 1, 0.5)
