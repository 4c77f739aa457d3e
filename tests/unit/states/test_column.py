"""One column of every Arrow type, with nulls and cut out of a longer one."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.errors import InputError, Undefined
from driftline.kernels.numbers import in_numpy
from driftline.schema import PROBABILITY, Kind
from driftline.states.column import Column, ColumnState
from driftline.states.folding import folding
from driftline.states.frequent import FrequentState
from driftline.states.histogram import Histogram
from driftline.states.moments import Moments
from driftline.states.rows import ONE, Count

SORTS = ("null", "integral", "fractional", "boolean", "string", "other")


def state_of(values: Any, kind: pa.DataType | None = None, **columns: Any) -> ColumnState:
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    return Column("x").of(pa.record_batch({"x": column, **columns}))


def sorts(state: ColumnState) -> dict[str, int]:
    return {sort: getattr(state.kinds, sort).n for sort in SORTS if getattr(state.kinds, sort).n}


NUMBERS = [
    *((pa.type_for_alias(f"{sign}int{bits}"), "integral") for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *((pa.type_for_alias(name), "fractional") for name in ("float16", "float32", "float64")),
    *((kind(7, 2), "fractional") for kind in (pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256)),
    (pa.decimal128(20, 0), "integral"),
    *((kind, "integral") for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"))),
    *((pa.timestamp(unit, zone), "integral") for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
    *((pa.duration(unit), "integral") for unit in ("s", "ns")),
    (pa.date32(), "integral"),
]


def numbers(kind: pa.DataType) -> pa.Array:
    """9 (to be cut off), 1, null, 3, 3, 9 (to be cut off)."""
    values: list[Any] = [9, 1, None, 3, 3, 9]
    if pa.types.is_decimal(kind):
        return pa.array([None if v is None else Decimal(v) for v in values], kind)
    if pa.types.is_temporal(kind):
        return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    if pa.types.is_float16(kind):
        return pa.array([None if v is None else np.float16(v) for v in values], kind)
    return pa.array(values, kind)


@pytest.mark.parametrize(("kind", "sort"), NUMBERS, ids=str)
@pytest.mark.parametrize("wrapped", ["plain", "dictionary"])
def test_a_column_of_numbers_is_read_whatever_its_type(kind: pa.DataType, sort: str, wrapped: str) -> None:
    column = numbers(kind)
    if wrapped == "dictionary":
        places = pa.array([0, 1, None, 2, 2, 0], pa.int8())
        column = pa.DictionaryArray.from_arrays(places, column.take(pa.array([0, 1, 3])))
    state = state_of(column.slice(1, 4))
    assert sorts(state) == {"null": 1, sort: 3}
    assert (state.moments.mean, state.moments.minimum, state.moments.maximum) == (7 / 3, 1.0, 3.0)
    assert state.histogram.points()[0].tolist() == [1.0, 3.0]
    assert state.histogram.points()[1].tolist() == [1, 2]
    assert state.values is None


TEXTS = ["cut off", "7", None, "+ 2.5e0", "true", "a", "a", "", "cut off"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
        pa.DictionaryArray.from_arrays(
            pa.array([0, 1, 6, 2, 3, 4, 5, 7, None], pa.int8()),
            pa.array(["cut off", "7", "+ 2.5e0", "true", "a", "a", None, ""]),
        ),
    ],
    ids=["string", "large", "view", "dictionary", "large dictionary", "dictionary with a null and a repetition"],
)
def test_a_column_of_texts_is_read_whatever_its_type(column: pa.Array) -> None:
    state = state_of(column.slice(1, 6))
    assert sorts(state) == {"null": 1, "integral": 1, "fractional": 1, "boolean": 1, "string": 2}
    assert state.histogram.points()[0].tolist() == [2.5, 7.0]
    assert state.moments.n == 2
    assert state.values is not None
    assert {value: count.n for value, count in state.values.values.items()} == {"7": 1, "+ 2.5e0": 1, "true": 1, "a": 2}


@pytest.mark.parametrize(
    ("values", "kind", "sort"),
    [
        ([None, None], pa.null(), "null"),
        ([None, None], pa.string(), "null"),
        ([None, None], pa.float64(), "null"),
        ([[1], [2]], pa.list_(pa.int64()), "other"),
        ([{"a": 1}, {"a": 2}], pa.struct({"a": pa.int64()}), "other"),
        ([b"a", b"b"], pa.binary(), "other"),
    ],
    ids=str,
)
def test_what_is_neither_number_nor_text_is_only_counted(values: list[Any], kind: pa.DataType, sort: str) -> None:
    state = state_of(values, kind)
    assert sorts(state) == {sort: 2}
    assert state.moments.n == 0
    with pytest.raises(Undefined, match="no row with a finite number"):
        _ = state.moments.mean


def test_booleans_are_values_and_no_numbers() -> None:
    state = state_of([True, None, False, True])
    assert sorts(state) == {"null": 1, "boolean": 3}
    assert state.values is not None
    assert state.values.values == {"false": Count(1, ONE), "true": Count(2, 2 * ONE)}
    assert state.moments.n == 0


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("1", "integral"),
        ("-1", "integral"),
        ("+ 12", "integral"),
        ("007", "integral"),
        ("1.5", "fractional"),
        ("- 1.5E-3", "fractional"),
        ("1e5", "fractional"),
        ("true", "boolean"),
        ("True", "string"),
        (".5", "string"),
        ("1.", "string"),
        ("1e", "string"),
        ("NaN", "string"),
        ("inf", "string"),
        (" 1", "integral"),
        ("  1", "string"),
        ("1\n", "string"),
        ("1 ", "string"),
        ("-  1", "string"),
        ("\u0661", "string"),
        ("1,5", "string"),
        ("", "string"),
    ],
    ids=repr,
)
def test_a_text_is_classed_by_its_spelling(text: str, sort: str) -> None:
    state = state_of([text])
    assert sorts(state) == {sort: 1}
    assert state.moments.n == (sort in ("integral", "fractional"))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([None, None], Kind.UNKNOWN),
        (["1", None], Kind.INTEGRAL),
        (["1", "2.5"], Kind.FRACTIONAL),
        (["1", "2.5", "x"], Kind.STRING),
        (["true", "1"], Kind.STRING),
        (["true", "false"], Kind.STRING),
    ],
    ids=["no value", "integers", "one fraction", "one string", "a boolean among numbers", "booleans"],
)
def test_the_kind_of_a_column_follows_from_its_spellings(values: list[str | None], kind: Kind) -> None:
    assert state_of(values, pa.string()).kinds.kind is kind


def test_what_is_not_finite_is_counted_apart() -> None:
    values = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 5e-324, None]
    state = state_of(values)
    h = state.histogram
    assert [h.nan.n, h.positive_infinity.n, h.negative_infinity.n, h.zero.n, h.total.n] == [1, 1, 1, 2, 3]
    assert (state.moments.n, state.moments.minimum, state.moments.maximum) == (3, 0.0, 5e-324)
    assert sorts(state) == {"null": 1, "fractional": 6}


def test_a_text_beyond_float64_is_an_infinity() -> None:
    assert state_of(["1e999", "-1e999"]).histogram.positive_infinity.n == 1


def test_integers_are_taken_as_their_float64() -> None:
    state = state_of([2**63 - 1, -(2**63)], pa.int64())
    assert (state.moments.minimum, state.moments.maximum, state.moments.total) == (-(2.0**63), 2.0**63, 0.0)


def test_dates_count_days() -> None:
    assert state_of([dt.date(1970, 1, 3)]).moments.mean == 2.0


def test_a_sum_beyond_float64_is_undefined_and_its_mean_is_not() -> None:
    moments = state_of([1.7e308] * 4).moments
    assert moments.mean == 1.7e308
    with pytest.raises(Undefined, match="309 digits"):
        _ = moments.total


def test_the_mean_does_not_lose_small_numbers_beside_large_ones() -> None:
    assert state_of([1e308, 3.0, -1e308]).moments.total == 3.0


def test_a_row_stands_for_one_over_its_probability() -> None:
    state = state_of([1.0, 2.0, None], **{PROBABILITY: pa.array([0.5, 1.0, 0.25])})
    assert (state.rows.n, state.rows.total) == (3, 7.0)
    assert (state.kinds.null, state.kinds.fractional) == (Count(1, 4 * ONE), Count(2, 3 * ONE))
    assert state.moments.mean == 4 / 3
    assert state.histogram.points()[2].tolist() == [2 * ONE, ONE]
    assert state.rows.effective == 49 / 21


@pytest.mark.parametrize("p", [0.0, -1.0, 1.5, float("nan"), None, 1e-9], ids=str)
def test_an_impossible_probability_is_refused_with_its_row(p: float | None) -> None:
    with pytest.raises(InputError, match=r"row 1 of the batch: .* is not an inclusion probability"):
        state_of([1.0, 2.0], **{PROBABILITY: pa.array([1.0, p])})


def test_probabilities_must_be_numbers() -> None:
    with pytest.raises(InputError, match="holds string"):
        state_of([1.0], **{PROBABILITY: pa.array(["0.5"])})


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(InputError, match="no column 'x'; its columns are 'a', 'b'"):
        Column("x").of(pa.record_batch({"a": [1], "b": [2]}))


def test_a_column_without_values_leaves_the_texts_of_another_batch() -> None:
    texts = state_of(["a"])
    merged = state_of([None], pa.null()).merge(texts)
    assert merged.values == texts.values
    assert merged.kinds.null.n == 1


def test_beyond_the_limit_a_sample_of_the_values_keeps_exact_counts() -> None:
    rows = [f"v{i}" for i in range(5_000)] + ["v7"] * 3
    state = state_of(rows).values
    assert state is not None
    assert (state.exact, state.level) == (False, 1)
    assert all(count.n == 1 + 3 * (value == "v7") for value, count in state.values.items())
    assert len(state.values) <= state.limit


def test_states_of_unlike_limits_do_not_merge() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        FrequentState(limit=3).merge(FrequentState(limit=4))
    with pytest.raises(ValueError, match="4096 and 5"):
        Histogram("x").empty().merge(Histogram("x", 5).empty())


def test_buckets_cannot_be_made_finer() -> None:
    state = Histogram("x", limit=2).of(pa.record_batch({"x": [1.0, 2.0, 3.0]}))
    assert state.shift > 0
    with pytest.raises(ValueError, match="cannot be split"):
        state.coarsen(0)


def test_zero_stands_between_the_negative_and_the_positive_numbers() -> None:
    state = Histogram("x", limit=2).of(pa.record_batch({"x": [-5e-324, 0.0, 5e-324, -1e308, 1e308]}))
    assert state.points()[1].tolist() == [2, 1, 2]
    assert np.isfinite(state.points()[0]).all()
    assert np.isfinite(state.lower_edges()).all()
    assert np.isfinite(state.upper_edges()).all()


def test_a_state_does_not_change_with_the_batch_it_came_from() -> None:
    values = np.array([3.0, 1.0, 2.0])
    before = Moments("x").of(pa.record_batch({"x": pa.array(values)}))
    assert values.tolist() == [3.0, 1.0, 2.0]
    assert before.minimum == 1.0


@pytest.mark.parametrize("kernel", ["compiled", "in NumPy"])
def test_batches_of_very_many_texts_add_up(kernel: str) -> None:
    rng = np.random.default_rng(8)
    texts = np.array([f"user-{i}" for i in range(9_000)] + [str(i) for i in range(3_000)] + ["1.5e3", "true", "", "-"])
    batches = []
    for size in (12_000, 5_000, 3, 0, 8_000, 20_000):
        drawn = pa.array(rng.choice(texts, size).tolist(), pa.string())
        drawn = pa.chunked_array([drawn, pa.nulls(size % 7, pa.string())]).combine_chunks()
        batches.append(pa.record_batch({"x": drawn}))
    with in_numpy() if kernel == "in NumPy" else nullcontext():
        together = folding(Column("x"))
        for batch in batches:
            together.add(batch)
        state = together.state()
    merged = Column("x").empty()
    for batch in reversed(batches):
        merged = merged.merge(Column("x").of(batch))
    whole = Column("x").of(pa.Table.from_batches(batches).combine_chunks().to_batches()[0])
    assert state.encode() == merged.encode() == whole.encode()
    assert state.values is not None
    assert state.values.level > 0
