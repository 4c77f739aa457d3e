from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from driftline.errors import InputError, Undefined
from driftline.metrics import column
from driftline.metrics.metric import Estimate, Metric, exactly
from driftline.states.column import ColumnState
from driftline.states.counts import CountsState
from driftline.states.rows import RowsState

EVERY = [
    column.completeness,
    column.integral_share,
    column.numeric_share,
    column.nan_share,
    column.infinite_share,
    column.distinct,
    column.mean,
    column.std,
    column.minimum,
    column.maximum,
    column.total,
]


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: str(m.name))
def test_a_window_without_rows_has_no_value(metric: Metric[Any]) -> None:
    with pytest.raises(Undefined, match=r"no rows|finite number"):
        metric(ColumnState(), confidence=0.95)


@pytest.mark.parametrize("metric", EVERY[1:], ids=lambda m: str(m.name))
def test_a_column_of_nulls_has_only_a_completeness(metric: Metric[Any], column_of: Any) -> None:
    state = column_of([None, None, None])
    assert column.completeness(state, confidence=0.95).value == 0.0
    with pytest.raises(Undefined, match=r"no row has a value|finite number"):
        metric(state, confidence=0.95)


def test_a_column_of_strings_has_no_mean(column_of: Any) -> None:
    with pytest.raises(Undefined, match="finite number"):
        column.mean(column_of(["a", "b"]), confidence=0.95)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: str(m.name))
def test_one_row_has_a_finite_interval(metric: Metric[Any], column_of: Any) -> None:
    estimate = metric(column_of([2.5]), confidence=0.9999)
    assert all(math.isfinite(end) for end in (estimate.low, estimate.value, estimate.high))
    assert estimate.low <= estimate.value <= estimate.high


def test_a_mean_stands_even_where_the_variance_does_not_fit(column_of: Any) -> None:
    estimate = column.mean(column_of([1e308, -1e308, 3.0] * 10), confidence=0.95)
    assert estimate.value == 1.0
    assert estimate.low < -1e300


def test_whole_numbers_count_as_numbers_too(column_of: Any) -> None:
    state = column_of(["1", "2", "2.5", "x", None])
    assert column.integral_share(state, confidence=0.95).value == 0.5
    assert column.numeric_share(state, confidence=0.95).value == 0.75


def test_nan_and_infinity_have_their_shares_and_no_part_in_the_mean(column_of: Any) -> None:
    state = column_of([1.0, 3.0, math.nan, math.inf])
    assert column.nan_share(state, confidence=0.95).value == 0.25
    assert column.infinite_share(state, confidence=0.95).value == 0.25
    assert column.mean(state, confidence=0.95).value == 2.0
    assert column.maximum(state, confidence=0.95) == exactly(3.0)


def test_values_outside_the_domain_lower_its_share(column_of: Any) -> None:
    state = column_of(["a"] * 6 + ["b"] * 3 + ["new"])
    assert column.domain_share(state, frozenset({"a", "b"}), confidence=0.95).value == 0.9


def test_typed_numbers_have_no_domain(column_of: Any) -> None:
    with pytest.raises(Undefined, match="numbers"):
        column.domain_share(column_of([1, 2]), frozenset({"1"}), confidence=0.95)


def test_the_share_of_a_domain_is_bounded_where_values_are_sampled(column_of: Any) -> None:
    values = [f"id{i}" for i in range(20_000)] + ["known"] * 5000
    estimate = column.domain_share(column_of(values), frozenset({"known"}), confidence=0.95)
    assert estimate.low <= 0.2 <= estimate.high


def test_distinct_strings_are_exact_up_to_the_limit_and_then_estimated(column_of: Any) -> None:
    assert column.distinct(column_of(["a", "b", "a", None]), confidence=0.95) == exactly(2.0)
    estimate = column.distinct(column_of([f"v{i}" for i in range(20_000)]), confidence=0.9999)
    assert estimate.low < 20_000 <= estimate.high
    assert estimate.value == pytest.approx(20_000, rel=0.04)


def test_distinct_numbers_are_exact_up_to_the_limit_and_then_estimated(column_of: Any) -> None:
    assert column.distinct(column_of([0.0, 1.0, 1.0, math.inf]), confidence=0.95) == exactly(3.0)
    estimate = column.distinct(column_of(np.arange(20_000.0)), confidence=0.9999)
    assert estimate.low < 20_000 <= estimate.high
    assert estimate.value == pytest.approx(20_000, rel=0.04)
    estimate = column.distinct(column_of(np.tile(np.arange(20_000.0), 5)), confidence=0.9999)
    assert estimate.low < 20_000 < estimate.high
    assert estimate.high - estimate.low < 2_000


def test_the_interval_of_a_quantile_holds_the_true_one(column_of: Any) -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        estimate = column.quantile(column_of(rng.normal(size=200)), 0.9, confidence=0.95)
        inside += estimate.low <= 1.2815515 <= estimate.high
    assert inside >= 88


def test_a_quantile_of_integers_is_an_integer(column_of: Any) -> None:
    values = np.arange(1_000_000, 1_020_000)
    estimate = column.quantile(column_of(values), 0.5, confidence=0.95)
    assert estimate.value == int(estimate.value)
    assert estimate.value == pytest.approx(1_010_000, rel=1e-5)


@pytest.mark.parametrize("values", [[0.0], [-1.0, 0.0, 2.5], np.arange(-9_000.0, 9_000.0) / 7, np.arange(9_000)])
def test_quantiles_at_once_are_those_of_numpy(column_of: Any, values: Any) -> None:
    levels = (0.0, 0.05, 0.5, 0.95, 1.0)
    found = column.quantiles(column_of(values), levels, confidence=0.95)
    exact = np.quantile(values, levels, method="inverted_cdf")
    assert [each.value for each in found] == pytest.approx(exact, rel=1e-3, abs=1e-9)
    assert all(each.low <= true <= each.high for each, true in zip(found, exact, strict=True))


def test_a_quantile_above_one_is_refused(column_of: Any) -> None:
    with pytest.raises(InputError, match=r"0\.5 for the median"):
        column.quantile(column_of([1.0]), 50.0, confidence=0.95)


@pytest.mark.parametrize("metric", [column.mean, column.std], ids=["mean", "std"])
def test_the_interval_of_a_moment_holds_the_true_one(metric: Metric[Any], column_of: Any) -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        estimate = metric(column_of(rng.normal(1.0, 1.0, 150)), confidence=0.95)
        inside += estimate.low <= 1.0 <= estimate.high
    assert inside >= 180


def test_a_sample_of_equal_probability_knows_as_much_as_its_rows(column_of: Any) -> None:
    values = [1.0, 2.0, 3.0, None] * 25
    plain, sampled = column_of(values), column_of(values, 0.25)
    for metric in (column.completeness, column.mean, column.std):
        expected, got = metric(plain, confidence=0.95), metric(sampled, confidence=0.95)
        assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_sample_makes_totals_uncertain(column_of: Any) -> None:
    estimate = column.total(column_of([1.0, 2.0] * 50, 0.5), confidence=0.95)
    assert estimate.value == 300.0
    assert 200.0 < estimate.low < estimate.value < estimate.high
    assert column.total(column_of([1.0, 2.0] * 50), confidence=0.95) == exactly(150.0)


def test_rows_are_exact_unless_sampled() -> None:
    assert column.rows(RowsState.of_rows(10, None), confidence=0.95) == exactly(10.0)
    estimate = column.rows(RowsState.of_rows(100, np.full(100, 4 << 16)), confidence=0.95)
    assert 100.0 < estimate.low < estimate.value == 400.0 < estimate.high


def test_coverage_is_the_share_of_labels_there(column_of: Any) -> None:
    labels = column_of(["1", "0", None, None])
    assert column.coverage(labels.kinds, labels.rows, confidence=0.95).value == 0.5
    with pytest.raises(Undefined, match="no rows"):
        column.coverage(CountsState(), RowsState(), confidence=0.95)


def test_a_higher_confidence_gives_a_wider_interval(column_of: Any) -> None:
    state = column_of(np.random.default_rng(2).lognormal(size=300))
    for metric in (column.completeness, column.mean, column.std, column.integral_share):
        some, more = (metric(state, confidence=c) for c in (0.95, 0.9999))
        assert _width(more) > _width(some)


def _width(estimate: Estimate) -> float:
    return estimate.high - estimate.low
