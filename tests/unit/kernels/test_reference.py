"""The inner loops against plain Python integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.kernels.reference import (
    Buckets,
    collapse,
    exact_square_sum,
    exact_sum,
    exact_sums,
    numbers_of,
    order_keys,
)

FINITE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**400, 2.0**-400]),
    st.floats(-1, 1),
)
WEIGHTS = st.one_of(st.integers(0, 2**40), st.sampled_from([0, 1, 65536]))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FINITE, WEIGHTS), max_size=30), st.booleans())
def test_sums_are_exact(rows: list[tuple[float, int]], weighted: bool) -> None:
    x = np.array([value for value, _ in rows], np.float64)
    weights = np.array([weight for _, weight in rows], np.int64) if weighted else None
    factors = [weight if weighted else 1 for _, weight in rows]
    first = sum((Fraction(float(v)) * w for v, w in zip(x, factors, strict=True)), Fraction(0))
    second = sum((Fraction(float(v)) ** 2 * w for v, w in zip(x, factors, strict=True)), Fraction(0))
    assert Fraction(exact_sum(x, weights), 2**1074) == first
    assert Fraction(exact_square_sum(x, weights), 2**2148) == second


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200, 1e-310], ids=str)
def test_sums_of_long_columns_are_exact(scale: float) -> None:
    r = np.random.default_rng(1)
    x = r.normal(size=40_000) * np.exp(r.normal(0, 20, 40_000)) * scale
    s1, s2 = exact_sums(x)
    assert Fraction(s1, 2**1074) == sum(map(Fraction, x.tolist()))
    assert Fraction(s2, 2**2148) == sum(Fraction(v) ** 2 for v in x.tolist())


def test_a_block_full_of_the_greatest_grid_values_does_not_overflow_the_grid() -> None:
    x = np.full(100_000, np.nextafter(1.0, 0.0))
    assert Fraction(exact_sum(x), 2**1074) == Fraction(float(x[0])) * len(x)


@given(st.lists(st.floats(allow_nan=False), max_size=20))
def test_keys_have_the_order_of_the_numbers_and_can_be_read_back(values: list[float]) -> None:
    x = np.unique(np.array([v for v in values if v != 0], np.float64))
    keys = order_keys(x[x < 0], x[x > 0])
    assert (np.diff(keys.astype(object)) > 0).all()
    assert numbers_of(keys).tolist() == x.tolist()


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 200), max_size=60), st.integers(2, 9))
def test_the_shift_is_the_least_that_leaves_few_enough_buckets(drawn: list[int], limit: int) -> None:
    keys = np.sort(np.array(drawn, np.uint64))
    buckets = collapse(Buckets(0, keys, np.empty(0, np.int64), None), limit)
    used = {key >> buckets.shift for key in drawn}
    assert sorted(used) == buckets.keys.tolist()
    assert buckets.counts.tolist() == [sum(key >> buckets.shift == one for key in drawn) for one in sorted(used)]
    assert len(used) <= limit
    assert buckets.shift == 0 or len({key >> (buckets.shift - 1) for key in drawn}) > limit
