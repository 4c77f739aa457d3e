"""How far predicted numbers are from the true ones."""

from __future__ import annotations

from fractions import Fraction
from math import inf, sqrt
from typing import Final

from driftline.errors import Undefined
from driftline.kernels.reference import UNIT
from driftline.metrics.interval import positive
from driftline.metrics.metric import Estimate, exactly, metric
from driftline.states.residuals import ResidualsState

_SOURCE: Final = "Amazon SageMaker Model Monitor, model quality metrics"
_FAR: Final = 1e6
"""Labels whose mean squared exceeds their variance by this much have lost their fourth moment to rounding."""


@metric(unit="of the label", better="lower", low=0.0, source=_SOURCE)
def mae(state: ResidualsState, *, confidence: float) -> Estimate:
    """Mean absolute error: the mean of |prediction - label|.

    Raises:
        Undefined: no row has both a label and a prediction.
    """
    mean = _mean(state, state.abs_e)
    square = _mean(state, state.e2)
    return positive(float(mean), _error(state, square - mean**2), confidence, _carrying(state, mean, square))


@metric(unit="of the label, squared", better="lower", low=0.0, source=_SOURCE)
def mse(state: ResidualsState, *, confidence: float) -> Estimate:
    """Mean squared error: the mean of (prediction - label)²."""
    mean = _mean(state, state.e2)
    square = _mean(state, state.e4)
    return positive(float(mean), _error(state, square - mean**2), confidence, _carrying(state, mean, square) / 2)


@metric(unit="of the label", better="lower", low=0.0, source=_SOURCE)
def rmse(state: ResidualsState, *, confidence: float) -> Estimate:
    """Root mean squared error: the root of the mean squared error, in the unit of the label."""
    squared = mse(state, confidence=confidence)
    return Estimate(sqrt(squared.value), sqrt(squared.low), sqrt(squared.high))


@metric(unit="share", better="higher", high=1.0, source=_SOURCE)
def r2(state: ResidualsState, *, confidence: float) -> Estimate:
    """R²: the share of the labels' variance that the predictions explain; negative if worse than their mean.

    Raises:
        Undefined: no row has both a label and a prediction, or all labels are equal.
    """
    lost = _mean(state, state.e2)
    w, spread = state.y.w, state.y.s2 * state.y.w - state.y.s1**2
    if spread <= 0:
        raise Undefined("all labels are equal, so there is no variance to explain")
    variance = Fraction(spread, (w * w) << (2 * UNIT))
    ratio = lost / variance
    try:
        value = float(1 - ratio)
    except OverflowError:
        raise Undefined(
            "the errors are too large beside the spread of the labels: R² does not fit into float64"
        ) from None
    if lost == 0:
        return exactly(value)
    if state.effective <= 2.0:
        return _below_one(value, inf, confidence)
    influence, tailed = _ratio_variance(state, lost, variance)
    return _below_one(value, sqrt(influence / state.effective), confidence, state.effective / tailed / 2)


def _below_one(value: float, error: float, confidence: float, freedom: float = inf) -> Estimate:
    """The interval of 1 - x, where x is positive and `error` is the standard error of ln x."""
    x = 1.0 - value
    mirrored = positive(x, x * error, confidence, freedom)
    return Estimate(value, min(value, 1.0 - mirrored.high), max(value, 1.0 - mirrored.low))


def _ratio_variance(state: ResidualsState, lost: Fraction, variance: Fraction) -> tuple[float, float]:
    """Variance of one row's influence on ln(lost / variance), which is e²/lost - (y - mean)²/variance.

    And the larger of the kurtosis of e and that of y: so many rows tell as much as one of a plain shape.
    """
    mean = Fraction(state.y.s1, state.y.w << UNIT)
    e4 = _mean(state, state.e4) / lost**2
    if mean**2 > variance * int(_FAR):
        return float(e4) - 1.0 + 2.0, max(float(e4), 3.0)
    y2, y3, y4 = (_mean(state, power) for power in (state.y2, state.y3, state.y4))
    fourth = y4 - 4 * mean * y3 + 6 * mean**2 * y2 - 3 * mean**4
    both = _mean(state, state.e2y2) - 2 * mean * _mean(state, state.e2y) + mean**2 * lost
    tailed = fourth / variance**2
    return max(0.0, float(e4 - 2 * both / (lost * variance) + tailed)), float(max(e4, tailed))


def _carrying(state: ResidualsState, mean: Fraction, square: Fraction) -> float:
    """On how many degrees of freedom the standard error of a mean rests: large errors that are few leave few.

    Satterthwaite's are 2n / (kurtosis - 1): of normal errors 0.7 n for the mean of |e|, n / 7 for that of e². The share
    of rows that carry the mean, mean² / mean square, is about the first, and half of it about the second.
    """
    return state.effective * float(mean**2 / square) if square else inf


def _mean(state: ResidualsState, total: int) -> Fraction:
    if state.w == 0:
        raise Undefined("no row has both a label and a prediction")
    return Fraction(total, state.w << UNIT)


def _error(state: ResidualsState, variance: Fraction) -> float:
    if state.effective <= 1.0:
        return inf
    try:
        return sqrt(max(0.0, float(variance)) / (state.effective - 1))
    except OverflowError:  # the mean fits into float64, its square does not
        return inf
