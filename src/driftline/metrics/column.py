"""Metrics of one column of one window: how complete, of what type, how large, how spread."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from driftline.errors import InputError, Undefined
from driftline.kernels.distinct import ERROR
from driftline.metrics.interval import binomial, effective, normal, positive, wilson
from driftline.metrics.metric import Estimate, exactly, metric
from driftline.states.column import ColumnState
from driftline.states.counts import CountsState
from driftline.states.histogram import Floats, HistogramState
from driftline.states.rows import ONE, RowsState

_MODEL_MONITOR = "Amazon SageMaker Model Monitor, statistics.json"


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_MODEL_MONITOR)
def completeness(column: ColumnState, *, confidence: float) -> Estimate:
    """Completeness: the share of rows that have a value.

    Raises:
        Undefined: the window has no rows.
    """
    if column.kinds.rows.n == 0:
        raise Undefined("the window has no rows")
    return _share(column.kinds.present.w, column.kinds.rows.w, column.rows, confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source="Model Monitor, data_type_check of Integral")
def integral_share(column: ColumnState, *, confidence: float) -> Estimate:
    """Whole numbers: the share of the values that are spelled as one."""
    return _share(column.kinds.integral.w, _present(column), column.rows, confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source="Model Monitor, data_type_check of Fractional")
def numeric_share(column: ColumnState, *, confidence: float) -> Estimate:
    """Numbers: the share of the values that are spelled as a number, whole or not."""
    kinds = column.kinds
    return _share(kinds.integral.w + kinds.fractional.w, _present(column), column.rows, confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source="Model Monitor, categorical_values_check")
def domain_share(column: ColumnState, domain: frozenset[str], *, confidence: float) -> Estimate:
    """Known values: the share of the values that are among those of the baseline.

    Where the column holds more distinct values than are counted one by one, the share is an estimate from a hash
    sample of the values, and the interval reaches from what is surely known to what is not surely unknown.

    Raises:
        Undefined: no values, or a column of typed numbers, whose values are not counted one by one.
    """
    present = _present(column)
    if column.values is None:
        raise Undefined("the column holds numbers, which are not compared with a list of values")
    known = sum(count.w for value, count in column.values.values.items() if value in domain)
    if column.values.exact:
        return _share(known, present, column.rows, confidence)
    foreign = sum(count.w for value, count in column.values.values.items() if value not in domain)
    guess = known / (known + foreign) if known + foreign else 0.5
    rows_told = effective(present, column.rows.w, column.rows.w2)
    at_least = binomial(known / present, rows_told, confidence)
    at_most = binomial(1 - foreign / present, rows_told, confidence)
    value = min(max(guess, at_least.value), at_most.value)
    return Estimate(value, at_least.low, at_most.high)


@metric(unit="share", better="lower", low=0.0, high=1.0, source="IEEE 754")
def nan_share(column: ColumnState, *, confidence: float) -> Estimate:
    """Not a number: the share of the values that are NaN."""
    return _share(column.histogram.nan.w, _present(column), column.rows, confidence)


@metric(unit="share", better="lower", low=0.0, high=1.0, source="IEEE 754")
def infinite_share(column: ColumnState, *, confidence: float) -> Estimate:
    """Infinite: the share of the values that are plus or minus infinity."""
    infinite = column.histogram.positive_infinity.w + column.histogram.negative_infinity.w
    return _share(infinite, _present(column), column.rows, confidence)


@metric(unit="values", better="neither", low=0.0, source="HyperLogLog with the estimator of Ertl, arXiv:1702.01284")
def distinct(column: ColumnState, *, confidence: float) -> Estimate:
    """Distinct values: how many different values there are.

    Exact up to the limit of the state (4096 by default), and estimated with a relative standard error of 0.8% beyond.
    """
    _present(column)
    if column.values is not None and not column.kinds.kind.numeric:
        found, kept, exact = column.values.distinct, len(column.values.values), column.values.exact
    else:
        histogram = column.histogram
        apart = sum(count.n > 0 for count in (histogram.nan, histogram.positive_infinity, histogram.negative_infinity))
        found, kept, exact = column.distinct_numbers + apart, len(histogram.keys), histogram.shift == 0
    if exact:
        return exactly(found)
    return normal(found, ERROR * found, confidence, low=float(kept), high=max(found, float(column.kinds.present.n)))


@metric(unit="of the column", better="neither", source=_MODEL_MONITOR)
def mean(column: ColumnState, *, confidence: float) -> Estimate:
    """Mean of the values that are finite numbers."""
    _numbers(column)
    return normal(column.moments.mean, _error_of_mean(column), confidence)


@metric(unit="of the column", better="neither", low=0.0, source=_MODEL_MONITOR)
def std(column: ColumnState, *, confidence: float) -> Estimate:
    """Standard deviation of the values that are finite numbers (population value: divided by n).

    The interval needs the fourth moment, which comes from the histogram.
    """
    _numbers(column)
    moments, rows = column.moments, column.moments.effective
    if rows <= 1.0:
        return normal(moments.std, _unknown(), confidence, low=0.0)
    if moments.std == 0.0:
        return exactly(0.0)
    values, _, weights = column.histogram.points()
    spread = (values - moments.mean) / moments.std
    squared = spread * spread
    kurtosis = float(np.average(squared * squared, weights=weights))
    error = moments.std * sqrt(max(kurtosis - 1.0, 1 / rows) / rows) / 2
    return positive(moments.std, error, confidence)


@metric(unit="of the column", better="neither", source=_MODEL_MONITOR)
def minimum(column: ColumnState, *, confidence: float) -> Estimate:
    """Smallest finite number seen."""
    return exactly(_seen(column.moments.minimum))


@metric(unit="of the column", better="neither", source=_MODEL_MONITOR)
def maximum(column: ColumnState, *, confidence: float) -> Estimate:
    """Largest finite number seen."""
    return exactly(_seen(column.moments.maximum))


@metric(unit="of the column", better="neither", source=_MODEL_MONITOR)
def total(column: ColumnState, *, confidence: float) -> Estimate:
    """Sum of the values that are finite numbers; exact unless the rows are a sample."""
    _numbers(column)
    moments = column.moments
    thinned = moments.w / ONE - moments.n  # rows that the sample stands for but does not hold
    if thinned <= 0.0:
        return exactly(moments.total)
    squares = moments.variance + moments.mean**2
    return normal(moments.total, sqrt(moments.w / ONE * thinned / moments.n * squares), confidence)


@metric(unit="of the column", better="neither", source="Order statistics: Conover, Practical Nonparametric Statistics")
def quantile(column: ColumnState, q: float, *, confidence: float) -> Estimate:
    """Quantile: the smallest value that at least a share q of the numbers does not exceed.

    The interval is that of the order statistic, widened to the edges of its histogram buckets.

    Raises:
        Undefined: no numbers.
        InputError: q is not in [0, 1].
    """
    return quantiles(column, (q,), confidence=confidence)[0]


def quantiles(column: ColumnState, levels: Sequence[float], *, confidence: float) -> list[Estimate]:
    """Several quantiles at once: what `quantile` says of each, for the price of little more than one."""
    for q in levels:
        if not 0.0 <= q <= 1.0:
            raise InputError(f"quantile {q} is not between 0 and 1; write 0.5 for the median")
    _numbers(column)
    histogram = column.histogram
    values, _, weights = histogram.points(integral=_integral(column))
    reached = np.cumsum(weights) / float(np.sum(weights))
    shares = [wilson(q, column.moments.effective, confidence) for q in levels]
    wanted = [(share.low, q, share.high) for share, q in zip(shares, levels, strict=True)]
    places = np.searchsorted(reached, np.array(wanted) * (1 - 1e-15), side="left").clip(max=len(values) - 1)
    lower, upper = _edges(histogram)
    lowest, found, highest = lower[places[:, 0]].tolist(), values[places[:, 1]].tolist(), upper[places[:, 2]].tolist()
    smallest, largest = _seen(column.moments.minimum), _seen(column.moments.maximum)
    told = []
    for low, value, high in zip(lowest, found, highest, strict=True):
        value = min(max(value, smallest), largest)
        told.append(Estimate(value, min(value, max(low, smallest)), max(value, min(high, largest))))
    return told


@metric(unit="rows", better="neither", low=0.0, source="Horvitz and Thompson, JASA 47, 1952")
def rows(state: RowsState, *, confidence: float) -> Estimate:
    """Rows: how many there are; an estimate where they are a sample."""
    if state.w <= state.n * ONE:
        return exactly(float(state.n))
    thinned = (state.w2 / ONE - state.w) / ONE
    return normal(state.total, sqrt(max(0.0, thinned)), confidence, low=float(state.n))


@metric(unit="share", better="higher", low=0.0, high=1.0, source="Horvitz and Thompson, JASA 47, 1952")
def coverage(labels: CountsState, sampled: RowsState, *, confidence: float) -> Estimate:
    """Coverage: the share of the predictions whose label has arrived."""
    if labels.rows.n == 0:
        raise Undefined("the window has no rows")
    return _share(labels.present.w, labels.rows.w, sampled, confidence)


def _share(some: int, all_: int, sampled: RowsState, confidence: float) -> Estimate:
    # One division of integers is correctly rounded: it prints as Model Monitor prints it.
    return binomial(some / all_, effective(all_, sampled.w, sampled.w2), confidence)


def _present(column: ColumnState) -> int:
    if column.kinds.rows.n == 0:
        raise Undefined("the window has no rows")
    if column.kinds.present.n == 0:
        raise Undefined("no row has a value in this column")
    return column.kinds.present.w


def _numbers(column: ColumnState) -> None:
    _present(column)
    if column.moments.n == 0:
        raise Undefined("no value in this column is a finite number")


def _seen(value: float | None) -> float:
    if value is None:
        raise Undefined("no value in this column is a finite number")
    return value


def _integral(column: ColumnState) -> bool:
    return column.kinds.integral.n > 0 and column.kinds.fractional.n == 0


def _error_of_mean(column: ColumnState) -> float:
    moments = column.moments
    try:
        return sqrt(moments.variance / (moments.effective - 1)) if moments.effective > 1.0 else _unknown()
    except Undefined:  # the variance does not fit into float64, but the mean does
        return _unknown()


def _unknown() -> float:
    """The standard error of what a single value cannot tell."""
    return float("inf")


def _edges(histogram: HistogramState) -> tuple[Floats, Floats]:
    """Lower and upper edge of each point of `histogram.points()`."""
    lower, upper = histogram.lower_edges(), histogram.upper_edges()
    if histogram.zero.n:
        at = int(np.searchsorted(lower, 0.0))
        lower, upper = np.insert(lower, at, 0.0), np.insert(upper, at, 0.0)
    return lower, upper
