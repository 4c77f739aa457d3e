from __future__ import annotations

from math import inf, isfinite

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import InputError
from driftline.metrics.interval import (
    binomial,
    corrected,
    logit,
    normal,
    positive,
    score,
    standard_deviation,
    wilson,
    z,
)

confidences = st.sampled_from([0.5, 0.95, 0.9999, 1 - 1e-12])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -0.1])
def test_a_confidence_outside_zero_and_one_is_refused(confidence: float) -> None:
    with pytest.raises(InputError, match=r"0\.95 for 95 %"):
        z(confidence)


@settings(max_examples=50)
@given(some=st.integers(0, 1000), more=st.integers(0, 1000), confidence=confidences)
def test_a_share_lies_in_its_interval_and_the_interval_in_zero_to_one(some: int, more: int, confidence: float) -> None:
    rows = max(1, some + more)
    estimate = wilson(some / rows, rows, confidence)
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


@settings(max_examples=50)
@given(
    raw=st.floats(0, 5),
    mean=st.floats(1e-6, 1),
    freedom=st.floats(0.5, 100),
    slope=st.floats(0, 1),
    confidence=confidences,
)
def test_a_corrected_distance_is_never_above_the_raw_one(
    raw: float, mean: float, freedom: float, slope: float, confidence: float
) -> None:
    estimate = corrected(raw, mean, 2 * mean**2 / freedom, slope, confidence)
    assert 0.0 <= estimate.low <= estimate.value <= raw + 1e-9
    assert estimate.value <= estimate.high
    assert isfinite(estimate.high)


def test_a_corrected_distance_covers_the_centre_of_a_non_central_chi_square() -> None:
    rng = np.random.default_rng(0)
    for centre in (0.0, 5.0, 50.0):
        draws = rng.noncentral_chisquare(9, centre, 2000) if centre else rng.chisquare(9, 2000)
        estimates = [corrected(float(x), 9.0, 18.0, 0.0, 0.95) for x in draws]
        inside = np.mean([e.low <= centre <= e.high for e in estimates])
        assert 0.93 <= inside <= 0.995


@pytest.mark.parametrize(("rows", "share"), [(30, 0.999), (300, 0.998), (3000, 0.02)])
def test_a_share_is_missed_no_more_often_than_the_confidence_allows(rows: int, share: float) -> None:
    hits = np.random.default_rng(3).binomial(rows, share, 200_000)
    found, times = np.unique(hits, return_counts=True)
    ends = [binomial(int(k) / rows, rows, 0.999) for k in found]
    missed = sum(n for e, n in zip(ends, times, strict=True) if not e.low <= share <= e.high)
    assert missed / 200_000 <= 0.0012


def test_few_degrees_of_freedom_widen_only_the_far_tail() -> None:
    assert positive(3.0, 1.0, 0.95, 4.0) == positive(3.0, 1.0, 0.95)
    assert logit(0.8, 0.01, 0.9999, 4.0).low < logit(0.8, 0.01, 0.9999).low
    assert positive(3.0, 1.0, 0.9999, 4.0).high > positive(3.0, 1.0, 0.9999).high


def test_an_unknown_spread_gives_finite_ends() -> None:
    for estimate in (normal(3.0, inf, 0.95), positive(3.0, inf, 0.95)):
        assert isfinite(estimate.low)
        assert isfinite(estimate.high)
        assert estimate.low < -1e300 or estimate.low == 0.0
        assert estimate.high > 1e300


def test_a_number_without_variance_at_the_end_of_its_range_still_has_an_interval() -> None:
    assert score(1.0, 0.0, 10.0, 0.95).low < 0.75
    assert score(0.0, 0.0, 10.0, 0.95).high > 0.25


def test_the_log_odds_keep_an_area_below_one() -> None:
    estimate = logit(0.99, 0.01**2, 0.9999)
    assert 0.5 < estimate.low < 0.99 < estimate.high < 1.0


def test_the_deviation_is_that_of_draws_of_four_fifths() -> None:
    rng = np.random.default_rng(1)
    hits = rng.random(2000) < 0.63
    draws = [rng.permutation(hits)[:1600].mean() for _ in range(3000)]
    ours = standard_deviation(wilson(float(hits.mean()), 2000, 0.95), 0.95, 2000)
    assert ours == pytest.approx(np.std(draws), rel=0.06)


def test_few_rows_have_no_deviation() -> None:
    assert standard_deviation(wilson(0.5, 199, 0.95), 0.95, 199) is None
    assert standard_deviation(wilson(0.5, 200, 0.95), 0.95, 200) is not None
