"""Intervals: from a value and its spread to a value, a low end and a high end, at any confidence.

Everything here has a closed form in the normal quantile, because the confidences of a false-alarm budget
(0.9999 and beyond) lie where the percentiles of a bootstrap have no draws left.
"""

from __future__ import annotations

import sys
from math import exp, inf, isfinite, log, sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from driftline.errors import InputError
from driftline.metrics.metric import Estimate, exactly
from driftline.metrics.tails import beta_quantile, student_quantile

Floats = npt.NDArray[np.float64]

FEWEST_FOR_DEVIATION: Final = 200
"""Model Monitor writes no standard deviation for fewer rows."""
_SPREAD_OF_DRAWS: Final = 0.5  # sqrt((1 - 0.8) / 0.8)
_LARGEST: Final = sys.float_info.max
_SURE: Final = 0.99  # up to here the score interval is good everywhere, and the normal quantile for all else
_MANY: Final = 1000  # rows of either sort, from which on it is good at any confidence


def z(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches to each side.

    >>> round(z(0.95), 3)
    1.96
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence {confidence} is not between 0 and 1; write 0.95 for 95 %")
    # From the lower tail: 0.5 + confidence / 2 would round to 1 just below the highest confidences.
    return -NormalDist().inv_cdf((1.0 - confidence) / 2)


def effective(weight: int, w: int, w2: int) -> float:
    """How many rows of equal weight tell as much as rows of total `weight`, drawn like rows of weights w (squares w2).

    Args:
        weight, w: in the unit of states (ONE for a row that was surely kept).
        w2: in that unit squared.
    """
    return weight / w2 * w if w2 else 0.0


def normal(value: float, error: float, confidence: float, *, low: float = -inf, high: float = inf) -> Estimate:
    """`value` give or take its standard error, cut to [low, high]; an infinite error gives the widest interval.

    >>> normal(10.0, 1.0, 0.95, low=9.0)
    Estimate(value=10.0, low=9.0, high=11.959963984540053)
    """
    reach = z(confidence) * error
    return _ordered(value, max(low, value - reach), min(high, value + reach))


def positive(value: float, error: float, confidence: float, freedom: float = inf) -> Estimate:
    """Normal on the logarithm: for what cannot be negative, such as a standard deviation or a mean error.

    Args:
        value, error: the number and its standard error.
        confidence: of the interval.
        freedom: on how many degrees of freedom the standard error rests; the fewer, the wider (Student), if
            `confidence` is far out in the tail.
    """
    if value <= 0.0 or error == 0.0:
        return Estimate(value, value, value) if error == 0.0 else normal(value, error, confidence, low=0.0)
    reach = _student(confidence, freedom) * error / value
    return _ordered(value, value * _exp(-reach), value * _exp(reach))


def wilson(share: float, rows: float, confidence: float) -> Estimate:
    """Wilson's score interval of a share among (effectively) so many rows: never outside [0, 1], sensible at both ends.

    >>> round(wilson(0.0, 10, 0.95).high, 4)
    0.2775
    """
    if rows <= 0.0:
        return Estimate(share, 0.0, 1.0)
    squared = z(confidence) ** 2
    centre = (share + squared / (2 * rows)) / (1 + squared / rows)
    reach = sqrt(squared * (share * (1 - share) / rows + squared / (4 * rows * rows))) / (1 + squared / rows)
    low = 0.0 if share == 0.0 else max(0.0, centre - reach)
    high = 1.0 if share == 1.0 else min(1.0, centre + reach)
    return _ordered(share, low, high)


def binomial(share: float, rows: float, confidence: float) -> Estimate:
    """The interval of a share: Wilson's, and at high confidence at least the exact one (Clopper and Pearson, 1934).

    A false-alarm budget asks for confidences at which a single row of a rare sort would lie beyond the score interval.

    >>> round(wilson(29 / 30, 30, 0.9999).high, 4), round(binomial(29 / 30, 30, 0.9999).high, 6)
    (0.998, 0.999998)
    """
    estimate = wilson(share, rows, confidence)
    hits, misses = rows * share, rows * (1.0 - share)
    if confidence <= _SURE or not 0.0 < min(hits, misses) <= _MANY:
        return estimate
    tail = (1.0 - confidence) / 2
    low, high = beta_quantile(tail, hits, misses + 1), 1.0 - beta_quantile(tail, misses, hits + 1)
    return _ordered(share, min(estimate.low, low), max(estimate.high, high))


def score(value: float, variance: float, fallback: float, confidence: float) -> Estimate:
    """The interval of a share for what is none but lives in [0, 1], such as F1.

    It uses the number of rows at which a share of this value would vary as much.

    Args:
        value, variance: the number, and its variance by the delta method.
        fallback: the number of rows to use where the variance vanishes (at 0 and at 1).
        confidence: of the interval.
    """
    if 0.0 < value < 1.0 and variance > 0.0:
        return binomial(value, value * (1 - value) / variance, confidence)
    return binomial(value, fallback, confidence)


def logit(value: float, variance: float, confidence: float, freedom: float = inf) -> Estimate:
    """Normal (Student, with few degrees of freedom) on the log odds: for what leans near 0 and 1, such as AUC."""
    odds = log(value / (1 - value))
    reach = _student(confidence, freedom) * sqrt(variance) / (value * (1 - value))
    return _ordered(value, 1 / (1 + _exp(reach - odds)), 1 / (1 + _exp(-reach - odds)))


def corrected(raw: float, null_mean: float, null_variance: float, slope_variance: float, confidence: float) -> Estimate:
    """A squared distance without what chance alone adds to it, and its interval.

    Without drift the raw distance is about `a` times a chi-square variable with k degrees of freedom: `a` and k follow
    from its mean and variance there. With drift it is non-central, and the interval of its centre follows from
    Sankaran's root transform (Biometrika 46, 1959): sqrt(x - h) is normal around sqrt(centre + h), h = (k - 1) / 2.

    Args:
        raw: the squared distance of the two samples, >= 0.
        null_mean, null_variance: of the raw distance between two samples of these sizes without drift.
        slope_variance: the variance by the delta method; far from no drift it may exceed the chi-square's,
            and then widens the interval.
        confidence: of the interval.
    """
    if null_mean <= 0.0 or null_variance <= 0.0:
        return exactly(raw)
    scale, freedom = null_variance / (2 * null_mean), 2 * null_mean**2 / null_variance
    half, x = (freedom - 1) / 2, raw / scale
    local = 4 * raw * scale  # the slope's part of the variance, as a non-central chi-square has it
    widen = sqrt(max(1.0, slope_variance / local)) if local > 0.0 else 1.0
    root, reach = sqrt(max(0.0, x - half)), z(confidence) * widen
    value = max(0.0, x - freedom)
    low = max(0.0, max(0.0, root - reach) ** 2 - half)
    # By luck two samples may agree better than they should; that says nothing about how near their sources are.
    high = (max(root, sqrt(freedom - half)) + reach) ** 2 - half
    return _ordered(value * scale, low * scale, high * scale)


def sums(groups: npt.NDArray[np.int64], values: Floats, size: int = 0) -> Floats:
    """The sum of the values in each group (0, 1, …), at least `size` groups."""
    return np.asarray(np.bincount(groups, values, size), np.float64)


def folded(deviations: Floats, correlation: Floats) -> tuple[float, float]:
    """Mean and variance of the sum of |x| over jointly normal x around zero.

    Args:
        deviations: their standard deviations, shape (k,), all positive.
        correlation: shape (k, k).
    """
    r = np.clip(correlation, -1.0, 1.0)
    covariance = (2 / np.pi) * (np.sqrt(1 - r * r) + r * np.arcsin(r) - 1)
    mean = sqrt(2 / np.pi) * float(np.sum(deviations))
    return mean, float(deviations @ covariance @ deviations)


def standard_deviation(estimate: Estimate, confidence: float, rows: float) -> float | None:
    """What Model Monitor prints as `standard_deviation`: the expected spread over draws of 80 % of the rows.

    A draw of a share f without replacement varies by sqrt((1 - f) / f) of the standard error: by half of it. Model
    Monitor draws five times, so its own number is random around this one. None for fewer than 200 rows.

    >>> round(standard_deviation(normal(0.8, 0.02, 0.95), 0.95, 400), 6)
    0.01
    """
    if rows < FEWEST_FOR_DEVIATION:
        return None
    error = (estimate.high - estimate.low) / (2 * z(confidence))
    return _SPREAD_OF_DRAWS * error


def _student(confidence: float, freedom: float) -> float:
    """The quantile of a standard error that is itself an estimate: it shows far out in the tail, and there only."""
    return z(confidence) if confidence <= _SURE else student_quantile((1.0 - confidence) / 2, max(1.0, freedom))


def _ordered(value: float, low: float, high: float) -> Estimate:
    # Rounding must not push an end past the value, and a report has no way to write infinity.
    ends = min(value, low), max(value, high)
    return Estimate(value, max(-_LARGEST, ends[0]), min(_LARGEST, ends[1]))


def _exp(x: float) -> float:
    return exp(x) if isfinite(x) and x < 700.0 else (inf if x > 0 else 0.0)
