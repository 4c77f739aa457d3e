"""How far a window has moved from the baseline.

Two samples of the same source differ, too, and the more so the smaller they are. So every distance here either has that
chance share taken out of its value (`psi`, `jensen_shannon`, `hellinger`, `tvd`, `wasserstein`), or shows the raw value
that Model Monitor knows with an interval whose low end has it taken out (`ks`, `linf` and their robust forms).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from math import isfinite, log, sqrt
from typing import Final

import numpy as np

from driftline.errors import Undefined
from driftline.metrics.bins import Floats, Shares, categories, few, numbers
from driftline.metrics.interval import corrected, folded, sums, z
from driftline.metrics.metric import Estimate, exactly, metric
from driftline.states.column import ColumnState

ROBUST: Final = 1.8
"""Model Monitor's allowance for chance: the Kolmogorov-Smirnov factor of a level of 0.003."""
DRAWS: Final = 300
_SEGMENTS: Final = 128
_DEEQU: Final = "Deequ, analyzers/Distance.scala"

Statistic = Callable[[Floats, Floats], Floats]


@metric(unit="share", better="lower", low=0.0, high=1.0, source=f"Kolmogorov-Smirnov; {_DEEQU}")
def ks(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Kolmogorov-Smirnov: the largest gap between the two cumulative distributions.

    Model Monitor's `Simple` distance of numbers. The value is the raw gap, chance included; the low end of the interval
    is what remains of it beyond chance, so that it is above a bound only with evidence. The histogram's buckets
    limit the resolution: the gap is exact while both sides hold at most 4096 distinct numbers.

    Raises:
        Undefined: one side holds no number.
    """
    _, shares = numbers(current, baseline)
    gap = float(np.max(np.abs(np.cumsum(shares.p) - np.cumsum(shares.q))))
    return _gap_interval(gap, shares, confidence)


@metric(unit="share", better="lower", low=0.0, high=1.0, source=_DEEQU)
def ks_robust(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Robust Kolmogorov-Smirnov: the gap less what chance can do, as Model Monitor computes it.

    max(0, gap - 1.8 sqrt(1/n + 1/m)). The interval is that of the gap itself.
    """
    _, shares = numbers(current, baseline)
    gap = float(np.max(np.abs(np.cumsum(shares.p) - np.cumsum(shares.q))))
    return _robust(_gap_interval(gap, shares, confidence), shares)


@metric(unit="share", better="lower", low=0.0, high=1.0, source=_DEEQU)
def linf(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """L-infinity: the largest change of the share of any one value.

    Model Monitor's `Simple` distance of categories. The value is raw, chance included; the low end of the interval
    allows for having looked at all the values (Bonferroni), so that it is above a bound only with evidence.

    Raises:
        Undefined: one side has no value, or does not count its values one by one.
    """
    shares = categories(current, baseline)
    return _largest_change(shares, confidence)


@metric(unit="share", better="lower", low=0.0, high=1.0, source=_DEEQU)
def linf_robust(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Robust L-infinity: the largest change of a share less what chance can do, as Model Monitor computes it.

    max(0, change - 1.8 sqrt(1/n + 1/m)). The interval is that of the change itself.
    """
    shares = categories(current, baseline)
    return _robust(_largest_change(shares, confidence), shares)


@metric(unit="p-value", better="higher", low=0.0, high=1.0, source=f"Pearson, 1900; {_DEEQU}")
def chi_square(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Chi-square: the probability that values drawn from the baseline differ from it as much as these do.

    Values that the baseline does not know are left out, and rare ones are merged as Deequ does: of two categories each
    must be expected 10 times, of more at most a fifth may be expected less than 5 times. As there, the baseline's
    shares are taken as certain: a baseline that is not much larger than the window makes the probability too small.

    Raises:
        Undefined: fewer than two categories are left, or as `linf`.
    """
    shares = categories(current, baseline)
    known = shares.q > 0.0
    seen = shares.p[known] * shares.n
    expected = shares.q[known] / shares.q[known].sum() * seen.sum()
    cells = merge_rare(expected.tolist(), seen.tolist())
    if len(cells) < 2:
        raise Undefined("fewer than two values are frequent enough for a chi-square test")
    from scipy.special import chdtrc  # its import costs more than all the rest of a check

    statistic = sum((saw - expects) ** 2 / expects for expects, saw in cells)
    return exactly(float(chdtrc(len(cells) - 1, statistic)))


@metric(unit="nats", better="lower", low=0.0, source="Siddiqi, Credit Risk Scorecards, 2006; Yurdakul, 2018")
def psi(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Population stability index: how far the shares of the bins have moved, beyond chance.

    The sum over the bins of (p - q) ln(p / q), with p the current and q the baseline share, over tenths of the baseline
    or its most frequent values. Half a row is added to every bin of both, so that no empty bin makes it infinite.

    Raises:
        Undefined: one side has no rows with a value.
    """
    shares = few(current, baseline)

    def statistic(p: Floats, q: Floats) -> Floats:
        p, q = _smooth(p, shares.n), _smooth(q, shares.m)
        return np.asarray(np.sum((p - q) * np.log(p / q), axis=-1))

    p, q = _smooth(shares.p, shares.n), _smooth(shares.q, shares.m)
    slopes = np.log(p / q) + 1 - q / p, np.log(q / p) + 1 - p / q
    return _beyond_chance(shares, statistic, Shares(p, q, shares.n, shares.m), slopes, confidence)


@metric(unit="distance", better="lower", low=0.0, high=1.0, source="Endres and Schindelin, IEEE Trans. IT 49, 2003")
def jensen_shannon(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Jensen-Shannon distance (base 2) between the shares of the bins, beyond chance: 0 is equal, 1 is disjoint."""
    shares = few(current, baseline)
    middle = (shares.p + shares.q) / 2
    slopes = _log2(shares.p, middle) / 2, _log2(shares.q, middle) / 2

    def statistic(p: Floats, q: Floats) -> Floats:
        m = (p + q) / 2
        return np.asarray(np.sum(p * _log2(p, m) + q * _log2(q, m), axis=-1) / 2)

    return _root(_beyond_chance(shares, statistic, shares, slopes, confidence))


@metric(unit="distance", better="lower", low=0.0, high=1.0, source="Hellinger, 1909")
def hellinger(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Hellinger distance between the shares of the bins, beyond chance: 0 is equal, 1 is disjoint."""
    shares = few(current, baseline)
    slopes = -_root_ratio(shares.q, shares.p) / 2, -_root_ratio(shares.p, shares.q) / 2

    def statistic(p: Floats, q: Floats) -> Floats:
        return np.asarray(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=-1) / 2)

    return _root(_beyond_chance(shares, statistic, shares, slopes, confidence))


@metric(unit="share", better="lower", low=0.0, high=1.0, source="Levin, Peres and Wilmer, Markov Chains, 2009")
def tvd(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Total variation distance: the share of rows that would have to change bins, beyond chance."""
    shares = few(current, baseline)
    raw = float(np.sum(np.abs(shares.p - shares.q))) / 2
    pooled = shares.pooled
    inner = (pooled > 0) & (pooled < 1)
    if not inner.any():
        return exactly(0.0)
    r = np.sqrt(pooled[inner] / (1 - pooled[inner]))
    correlation = -np.outer(r, r)
    np.fill_diagonal(correlation, 1.0)
    mean, variance = folded(shares.noise * np.sqrt(pooled[inner] * (1 - pooled[inner])) / 2, correlation)
    sign = np.sign(shares.p - shares.q) / 2
    return _first_power(raw, mean, variance, _delta(shares, (sign, -sign)), confidence, high=1.0)


@metric(unit="standard deviations", better="lower", low=0.0, source="Kantorovich; Vallender, 1974")
def wasserstein(current: ColumnState, baseline: ColumnState, *, confidence: float) -> Estimate:
    """Wasserstein distance: how far numbers moved on average, in standard deviations of the baseline, beyond chance.

    Raises:
        Undefined: one side holds no finite number, or all numbers of the baseline are equal.
    """
    values, shares = numbers(current, baseline, finite=True)
    unit = baseline.moments.std
    if unit == 0.0:
        raise Undefined("all numbers of the baseline are equal, so there is no standard deviation to measure in")
    step = np.diff(values / unit)
    gap = np.cumsum(shares.p)[:-1] - np.cumsum(shares.q)[:-1]
    raw = float(np.sum(np.abs(gap) * step))
    if len(step) == 0:
        return exactly(0.0)
    if not isfinite(raw):
        raise Undefined("the numbers reach so far that their distances do not fit into float64")
    below = np.clip(np.cumsum(shares.pooled)[:-1], 1e-12, 1 - 1e-12)
    mean, variance = _null_of_area(shares.noise * np.sqrt(below * (1 - below)) * step, below)
    ahead = np.append(np.cumsum((np.sign(gap) * step)[::-1])[::-1], 0.0)
    return _first_power(raw, mean, variance, _delta(shares, (ahead, -ahead)), confidence)


def merge_rare(expected: list[float], seen: list[float]) -> list[tuple[float, float]]:
    """Categories (expected, seen) with the smallest added to the second smallest until a chi-square test is sound.

    >>> merge_rare([20.0, 8.0], [15.0, 13.0])
    [(28.0, 28.0)]
    """
    heap = [(e, at, s) for at, (e, s) in enumerate(zip(expected, seen, strict=True)) if e > 0.0]
    heapify(heap)
    small = sum(cell[0] < 5 for cell in heap)
    while len(heap) > 1 and (heap[0][0] < 10 if len(heap) == 2 else small > len(heap) // 5):
        least, at, some = heappop(heap)
        less, _, more = heappop(heap)
        small += (least + less < 5) - (least < 5) - (less < 5)
        heappush(heap, (least + less, at, some + more))
    return [(e, s) for e, _, s in sorted(heap)]


def _gap_interval(gap: float, shares: Shares, confidence: float) -> Estimate:
    # Low: two empirical distributions are nowhere further off than the Kolmogorov bound (Massart's constant). High: the
    # true gap is reached somewhere, and there the empirical one misses it by a difference of two shares.
    bound = sqrt(-log((1 - confidence) / 4) / 2)
    return Estimate(gap, max(0.0, gap - bound * shares.noise), min(1.0, gap + z(confidence) / 2 * shares.noise))


def _largest_change(shares: Shares, confidence: float) -> Estimate:
    """The largest |p - q| with the interval of Newcombe (Statistics in Medicine 17, 1998) around each change."""
    change = np.abs(shares.p - shares.q)
    greater, less = np.maximum(shares.p, shares.q), np.minimum(shares.p, shares.q)
    rows = np.where(shares.p >= shares.q, shares.n, shares.m), np.where(shares.p >= shares.q, shares.m, shares.n)
    each, one = z(1 - (1 - confidence) / len(change)), z(confidence)
    toward = np.hypot(greater - _wilson(greater, rows[0], each)[0], _wilson(less, rows[1], each)[1] - less)
    away = np.hypot(_wilson(greater, rows[0], one)[1] - greater, less - _wilson(less, rows[1], one)[0])
    largest = float(np.max(change))
    low, high = float(np.max(change - toward)), float(np.max(change + away))
    return Estimate(largest, min(largest, max(0.0, low)), max(largest, min(1.0, high)))


def _wilson(share: Floats, rows: Floats, quantile: float) -> tuple[Floats, Floats]:
    """Both ends of Wilson's interval, with continuity correction: many of these shares rest on a row or two."""
    squared, middle = quantile * quantile, 2 * rows * share
    spread = squared - 1 / rows + 4 * rows * share * (1 - share)
    lower = quantile * np.sqrt(np.clip(spread + 4 * share - 2, 0.0, None)) + 1
    upper = quantile * np.sqrt(np.clip(spread - 4 * share + 2, 0.0, None)) + 1
    whole = 2 * (rows + squared)
    low, high = (middle + squared - lower) / whole, (middle + squared + upper) / whole
    return np.clip(low, 0.0, share), np.clip(high, share, 1.0)


def _robust(raw: Estimate, shares: Shares) -> Estimate:
    value = max(0.0, raw.value - ROBUST * shares.noise)
    return Estimate(value, min(value, raw.low), raw.high)


def _beyond_chance(
    shares: Shares, statistic: Statistic, at: Shares, slopes: tuple[Floats, Floats], confidence: float
) -> Estimate:
    """A statistic that is quadratic near no drift, less what chance adds, found by drawing from the pooled counts."""
    if len(shares.p) == 1:
        return exactly(0.0)  # all rows of both sides are in the one place there is
    raw = float(statistic(shares.p, shares.q))
    rng = np.random.default_rng(shares.seed)
    n, m = max(1, round(shares.n)), max(1, round(shares.m))
    draws = statistic(rng.multinomial(n, shares.pooled, DRAWS) / n, rng.multinomial(m, shares.pooled, DRAWS) / m)
    mean, variance = float(np.mean(draws)), float(np.var(draws))
    return corrected(max(0.0, raw), mean, variance, _delta(at, slopes), confidence)


def _first_power(
    raw: float, mean: float, variance: float, delta: float, confidence: float, high: float = float("inf")
) -> Estimate:
    """As `corrected`, for a distance that is not squared: mean and variance are its own without drift."""
    squared = corrected(
        raw**2, mean**2 + variance, 4 * mean**2 * variance + 2 * variance**2, 4 * raw**2 * delta, confidence
    )
    return _root(squared, high)


def _delta(shares: Shares, slopes: tuple[Floats, Floats]) -> float:
    """Variance by the delta method: `slopes` are the derivatives by p and by q."""
    sides = ((shares.p, slopes[0], shares.n), (shares.q, slopes[1], shares.m))
    return sum(float(np.sum(s * g * g) - np.sum(s * g) ** 2) / rows for s, g, rows in sides)


def _root(squared: Estimate, high: float = 1.0) -> Estimate:
    return Estimate(*(min(high, sqrt(end)) for end in (squared.value, squared.low, squared.high)))


def _smooth(shares: Floats, rows: float) -> Floats:
    return np.asarray((shares * rows + 0.5) / (rows + 0.5 * shares.shape[-1]))


def _log2(p: Floats, q: Floats) -> Floats:
    return np.log2(np.where(p > 0, p, 1.0) / np.where(p > 0, q, 1.0))


def _root_ratio(p: Floats, q: Floats) -> Floats:
    """sqrt(p / q), 0 where q is 0: such a place does not count, as its share is 0."""
    return np.sqrt(np.where(q > 0, p, 0.0) / np.where(q > 0, q, 1.0))


def _null_of_area(deviations: Floats, below: Floats) -> tuple[float, float]:
    """Mean and variance of the area between two distributions without drift; neighbours are taken together first."""
    cumulated = np.cumsum(deviations)
    group = np.minimum((cumulated / cumulated[-1] * _SEGMENTS).astype(np.int64), _SEGMENTS - 1)
    _, group = np.unique(group, return_inverse=True)
    each = sums(group, deviations)
    places = sums(group, deviations * below) / each
    odds = np.sqrt(places / (1 - places))
    return folded(each, np.minimum.outer(odds, odds) / np.maximum.outer(odds, odds))
