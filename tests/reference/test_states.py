"""States against SciPy, scikit-learn and exact fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import stats
from sklearn import metrics

from driftline.kernels.distinct import ERROR
from driftline.schema import PROBABILITY
from driftline.states.column import Column, ColumnState
from driftline.states.contingency import Contingency
from driftline.states.histogram import Histogram, HistogramState
from driftline.states.moments import Moments
from driftline.states.residuals import Residuals
from driftline.states.rows import ONE
from driftline.states.scores import Scores

N = 40_000
DAY = 86_400_000
R = np.random.default_rng(11)


def epochs(start: int, days: int) -> npt.NDArray[np.int64]:
    return start + R.integers(0, days * DAY, N)


COLUMNS: dict[str, tuple[Any, Any]] = {
    "normal": (R.normal(size=N), R.normal(0.05, 1, N)),
    "the same": (R.normal(size=N), R.normal(size=N)),
    "exponential": (R.exponential(1, N), R.exponential(1.1, N)),
    "lognormal": (R.lognormal(0, 3, N), R.lognormal(0.1, 3, N)),
    "uniform": (R.random(N), R.random(N) ** 1.1),
    "cauchy": (R.standard_cauchy(N), R.standard_cauchy(N) * 1.2),
    "mixed signs": (R.choice([-1.0, 1.0], N) * R.lognormal(0, 4, N), R.choice([-1, 1], N) * R.lognormal(0.2, 4, N)),
    "offset": (1e9 + R.normal(size=N), 1e9 + R.normal(0.2, 1, N)),
    "small offset": (1e6 + R.random(N) * 1e-3, 1e6 + R.random(N) ** 1.2 * 1e-3),
    "zero and one": ((R.random(N) < 0.3).astype(np.int64), (R.random(N) < 0.35).astype(np.int64)),
    "epoch milliseconds": (epochs(1_700_000_000_000, 30), epochs(1_700_000_000_000 + 3 * DAY, 30)),
    "epoch beside zeros": (
        np.where(R.random(N) < 0.1, 0, epochs(1_700_000_000_000, 30)),
        np.where(R.random(N) < 0.2, 0, epochs(1_700_000_000_000 + DAY, 30)),
    ),
    "small integers": (R.poisson(4, N), R.poisson(4.2, N)),
    "large integers": (R.integers(-(2**62), 2**62, N), R.integers(-(2**61), 2**62, N)),
    "zero-inflated": (np.maximum(R.normal(size=N), 0), np.maximum(R.normal(0.1, 1, N), 0)),
    "cents": (np.round(R.gamma(2, 40, N), 2), np.round(R.gamma(2, 42, N), 2)),
    "single precision": (R.normal(size=N).astype(np.float32), R.normal(0.1, 1, N).astype(np.float32)),
    "constant": (np.full(N, 3.7), np.full(N, 3.7)),
    "huge and tiny": (10.0 ** R.uniform(-300, 300, N), 10.0 ** R.uniform(-300, 290, N)),
}
every_column = pytest.mark.parametrize("name", COLUMNS)


def distance(a: HistogramState, b: HistogramState) -> float:
    """Kolmogorov-Smirnov distance, read at the edges of the buckets."""
    shift = max(a.shift, b.shift)
    shares = []
    for state in (a.coarsen(shift), b.coarsen(shift)):
        values, _, weights = state.points(integral=True)
        shares.append(dict(zip(values.tolist(), (weights / state.total.w).tolist(), strict=True)))
    steps = [shares[0].get(v, 0.0) - shares[1].get(v, 0.0) for v in sorted({*shares[0], *shares[1]})]
    return float(np.abs(np.cumsum(steps)).max())


@every_column
def test_the_distance_of_two_states_is_that_of_the_rows_within_a_thousandth(name: str) -> None:
    current, baseline = COLUMNS[name]
    summary = Histogram("x")
    states = [summary.of(pa.record_batch({"x": pa.array(x)})) for x in (current, baseline)]
    assert len(states[0].keys) <= 4096
    exact = stats.ks_2samp(current, baseline, method="asymp").statistic
    assert distance(*states) == pytest.approx(exact, abs=0.001)


@every_column
def test_moments_are_correctly_rounded(name: str) -> None:
    x = np.asarray(COLUMNS[name][0], np.float64)[:5_000]
    state = Moments("x").of(pa.record_batch({"x": pa.array(x)}))
    exact = [Fraction(v) for v in x.tolist()]
    mean = sum(exact) / len(exact)
    assert state.mean == float(mean)
    assert state.total == float(sum(exact))
    assert (state.minimum, state.maximum) == (x.min(), x.max())
    if name != "huge and tiny":
        assert state.variance == float(sum(v * v for v in exact) / len(exact) - mean * mean)
        assert state.std == pytest.approx(np.std(x), rel=1e-6, abs=1e-9)


@every_column
def test_counts_at_the_edges_of_buckets_are_exact(name: str) -> None:
    x = np.sort(np.asarray(COLUMNS[name][0], np.float64))
    state = Histogram("x").of(pa.record_batch({"x": x}))
    lower, upper = state.lower_edges(), state.upper_edges()
    inside = np.searchsorted(x, upper, "right") - np.searchsorted(x, lower, "left")
    assert inside.tolist() == state.counts.tolist()
    assert (lower[1:] > upper[:-1]).all()
    assert state.total.n == N
    for integral in (False, True):
        values, counts, weights = state.points(integral)
        assert (np.diff(values) > 0).all()
        assert (int(counts.sum()), int(weights.sum())) == (N, N * ONE)
    middles = state.points()[0]
    assert ((middles[middles != 0] >= lower) & (middles[middles != 0] <= upper)).all()
    if np.issubdtype(np.asarray(COLUMNS[name][0]).dtype, np.integer):
        assert (state.points(integral=True)[0] % 1 == 0).all()


def weighted(**columns: Any) -> tuple[pa.RecordBatch, npt.NDArray[np.float64]]:
    n = len(next(iter(columns.values())))
    p = R.choice([1.0, 0.5, 0.125], n)
    return pa.record_batch({**{k: pa.array(v) for k, v in columns.items()}, PROBABILITY: p}), 1 / p


def test_weighted_moments_are_those_of_repeated_rows() -> None:
    x = R.normal(5, 2, 3_000)
    rows, w = weighted(x=x)
    repeated = pa.record_batch({"x": np.repeat(x, w.astype(int))})
    one, other = Column("x").of(rows), Column("x").of(repeated)
    assert (one.moments.mean, one.moments.variance) == (other.moments.mean, other.moments.variance)
    assert one.histogram.points()[2].tolist() == other.histogram.points()[2].tolist()
    assert one.moments.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())


def test_the_losses_of_scores_are_those_of_scikit_learn() -> None:
    score = np.concatenate((R.random(5_000), [0.0, 1.0]))
    label = np.append(R.random(5_000) < score[:5_000], [False, True]).astype(int)
    rows, w = weighted(p=score, y=label)
    state = Scores("p", "y").of(rows)
    assert state.log_loss_mean == pytest.approx(metrics.log_loss(label, score, sample_weight=w), rel=1e-9)
    assert state.brier_mean == pytest.approx(metrics.brier_score_loss(label, score, sample_weight=w), rel=1e-12)
    losses = (score - label) ** 2
    assert state.brier_variance == pytest.approx(np.average((losses - np.average(losses, weights=w)) ** 2, weights=w))
    assert (state.positive.total.n, state.negative.total.n) == (label.sum(), (1 - label).sum())
    assert state.w2 / ONE**2 == pytest.approx((w**2).sum())


def test_residuals_give_the_errors_of_scikit_learn() -> None:
    y = R.normal(1e6, 3, 4_000)
    p = y + R.normal(0.5, 1, 4_000)
    rows, w = weighted(p=p, y=y)
    s = Residuals("p", "y").of(rows)
    unit = s.w << 1074
    assert s.abs_e / unit == pytest.approx(metrics.mean_absolute_error(y, p, sample_weight=w), rel=1e-12)
    assert s.e2 / unit == pytest.approx(metrics.mean_squared_error(y, p, sample_weight=w), rel=1e-12)
    assert 1 - s.e2 / unit / s.y.variance == pytest.approx(metrics.r2_score(y, p, sample_weight=w), rel=1e-9)
    assert s.e2y2 / unit == pytest.approx(np.average((p - y) ** 2 * y**2, weights=w), rel=1e-12)


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    actual, predicted = R.integers(0, 5, 3_000), R.integers(0, 5, 3_000)
    rows, w = weighted(y=actual, p=predicted.astype(float))
    cells = Contingency("y", "p").of(rows).cells
    expected = metrics.confusion_matrix(actual, predicted, sample_weight=w)
    assert [[cells[str(a), str(b)].total for b in range(5)] for a in range(5)] == expected.tolist()


@pytest.mark.parametrize("distinct", [4_000, 20_000, 100_000])
def test_the_number_of_distinct_texts_is_within_its_stated_error(distinct: int) -> None:
    texts = pa.array([f"user-{i}" for i in range(distinct)])
    values = Column("x").of(pa.record_batch({"x": texts})).values
    assert values is not None
    assert values.exact == (distinct <= 4096)
    assert values.distinct == pytest.approx(distinct, rel=0 if values.exact else 4 * ERROR)


def test_strings_of_numbers_give_the_numbers_of_a_typed_column() -> None:
    x = R.normal(size=2_000)
    spelled = Column("x").of(pa.record_batch({"x": [f"{v:.17e}" for v in x]}))
    typed: ColumnState = Column("x").of(pa.record_batch({"x": x}))
    assert spelled.moments == typed.moments
    assert spelled.histogram == typed.histogram
    assert spelled.kinds == typed.kinds
