"""How well the scores tell positives from negatives, and how far they can be taken as probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Final

import numpy as np

from driftline.errors import Undefined
from driftline.metrics.interval import Floats, binomial, corrected, effective, logit, positive, sums
from driftline.metrics.metric import Estimate, metric
from driftline.states.histogram import HistogramState
from driftline.states.rows import ONE
from driftline.states.scores import ScoresState

_MODEL_MONITOR: Final = "Amazon SageMaker Model Monitor, model quality metrics"
CALIBRATION_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Receiver operating characteristic, from (0, 0) to (1, 1): one point for each distinct score, descending."""

    false_positive_rates: Floats
    true_positive_rates: Floats


@dataclass(frozen=True, slots=True)
class PrCurve:
    """Precision and recall: one point for each distinct score, descending, after a first one of recall 0."""

    precisions: Floats
    recalls: Floats


def roc_curve(state: ScoresState, *, points: int | None = None) -> RocCurve:
    """The ROC curve; exact while the state holds at most 16384 distinct scores per class.

    Args:
        state: the scores.
        points: keep about this many points, evenly spread along the curve; None keeps all.

    Raises:
        Undefined: one class only.
    """
    table = _both(state)
    rates = [np.concatenate(([0.0], np.cumsum(side) / side.sum())) for side in (table.negative, table.positive)]
    chosen = _evenly(rates[0] + rates[1], points)
    return RocCurve(rates[0][chosen], rates[1][chosen])


def pr_curve(state: ScoresState, *, points: int | None = None) -> PrCurve:
    """The precision-recall curve; its first point has recall 0 and the precision of the first real one.

    Args and errors are those of `roc_curve`.
    """
    table = _both(state)
    hits, all_ = np.cumsum(table.positive), np.cumsum(table.positive + table.negative)
    precisions, recalls = hits / all_, hits / hits[-1]
    precisions, recalls = np.concatenate((precisions[:1], precisions)), np.concatenate(([0.0], recalls))
    chosen = _evenly(np.arange(len(recalls)) / len(recalls) + recalls, points)
    return PrCurve(precisions[chosen], recalls[chosen])


@metric(unit="area", better="higher", low=0.0, high=1.0, source=f"{_MODEL_MONITOR}; DeLong, Biometrics 44, 1988")
def auc(state: ScoresState, *, confidence: float) -> Estimate:
    """Area under the ROC curve: how often a positive scores higher than a negative, ties counting half.

    The interval is DeLong's on the log odds, beyond 99 % with Student's quantile, for a rare class leaves few degrees
    of freedom. Where a bucket of the histogram holds more than one score, the pairs inside of it could fall either
    way: the interval is wider by half their share.

    Raises:
        Undefined: one class only.
    """
    table = _both(state)
    above = np.cumsum(table.negative) - table.negative / 2
    beaten = _from_here(table.negative) - table.negative / 2  # negatives, by a positive of this score
    wins, losses = float(np.sum(table.positive * beaten)), float(np.sum(table.positive * above))
    value = wins / (wins + losses)
    p, q = table.positive / table.positive.sum(), table.negative / table.negative.sum()
    n, m = (float(side.sum()) * table.design for side in (table.positive, table.negative))
    if min(n, m) < 2.0 or not 0.0 < value < 1.0:
        estimate = binomial(value, min(n, m), confidence)
    else:
        beating = np.cumsum(p) - p / 2  # share of the positives that score higher than a negative of this score
        of_positives, of_negatives = (
            _variance(beaten / table.negative.sum(), p) / (n - 1),
            _variance(beating, q) / (m - 1),
        )
        variance = of_positives + of_negatives
        slack = of_positives**2 / (n - 1) + of_negatives**2 / (m - 1)  # Welch and Satterthwaite, for a rare class
        freedom = variance**2 / slack if slack > 0.0 else inf
        estimate = _logit_or_share(value, variance, min(n, m), confidence, freedom)
    unsure = float(np.sum(p * q)) / 2 if table.coarse else 0.0
    return Estimate(value, max(0.0, estimate.low - unsure), min(1.0, estimate.high + unsure))


@metric(unit="area", better="higher", low=0.0, high=1.0, source="Boyd, Eng and Page, ECML 2013; scikit-learn")
def au_prc(state: ScoresState, *, confidence: float) -> Estimate:
    """Average precision: the area under the precision-recall curve in steps, without interpolation.

    Raises:
        Undefined: one class only.
    """
    table = _both(state)
    positives = float(table.positive.sum())
    hits, all_ = np.cumsum(table.positive), np.cumsum(table.positive + table.negative)
    precisions = hits / all_
    value = min(1.0, float(np.sum(table.positive * precisions)) / positives)
    misses = all_ - hits
    # One row more of a score changes the precision at this score and at all lower ones.
    gain = _from_here(table.positive * misses / all_**2)
    loss = _from_here(table.positive * hits / all_**2)
    by_positive, by_negative = (precisions + gain - value) / positives, -loss / positives
    variance = float(np.sum(table.positive * by_positive**2) + np.sum(table.negative * by_negative**2))
    return _logit_or_share(value, variance / table.design, positives * table.design, confidence)


@metric(unit="nats", better="lower", low=0.0, source="Good, JRSS B 14, 1952")
def log_loss(state: ScoresState, *, confidence: float) -> Estimate:
    """Log loss: the mean of -ln(the probability that the model gave to what came true).

    Raises:
        Undefined: no row has a label and a score in [0, 1].
    """
    return positive(state.log_loss_mean, _error(state, state.log_loss_variance), confidence)


@metric(unit="squared probability", better="lower", low=0.0, high=1.0, source="Brier, Monthly Weather Review 78, 1950")
def brier(state: ScoresState, *, confidence: float) -> Estimate:
    """Brier score: the mean of (probability - truth)².

    Raises:
        Undefined: no row has a label and a score in [0, 1].
    """
    estimate = positive(state.brier_mean, _error(state, state.brier_variance), confidence)
    return Estimate(estimate.value, estimate.low, max(estimate.value, min(1.0, estimate.high)))


@metric(unit="probability", better="lower", low=0.0, high=1.0, source="Kumar, Liang and Ma, NeurIPS 2019")
def calibration_error(state: ScoresState, *, confidence: float) -> Estimate:
    """Calibration error: how far scores and outcomes are apart in tenths of the rows, root mean square, beyond chance.

    Raises:
        Undefined: no row has a label, or some score is not in [0, 1].
    """
    if state.outside.n:
        raise Undefined("some scores are not in [0, 1], so they are not probabilities")
    table = _table(state)
    rows = table.positive + table.negative
    share = np.cumsum(rows) - rows / 2
    bins = np.minimum((share / rows.sum() * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    _, bins = np.unique(bins, return_inverse=True)
    count, hits, scored = sums(bins, rows), sums(bins, table.positive), sums(bins, rows * table.scores)
    weight, gap = count / rows.sum(), (hits - scored) / count
    # A perfectly calibrated model varies by score (1 - score); what the bins show varies by their own rate.
    expected, own = scored / count, hits / count
    null = np.clip(expected * (1 - expected), 0.0, None) / (count * table.design)
    raw = float(np.sum(weight * gap**2))
    slope = float(np.sum((2 * weight * gap) ** 2 * own * (1 - own) / (count * table.design)))
    squared = corrected(raw, float(np.sum(weight * null)), float(2 * np.sum((weight * null) ** 2)), slope, confidence)
    return Estimate(*(min(1.0, sqrt(end)) for end in (squared.value, squared.low, squared.high)))


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of both classes at every score, descending; `coarse` where a place may hold several scores."""

    scores: Floats
    positive: Floats
    negative: Floats
    coarse: bool
    design: float
    """How many rows of equal weight tell as much as one row here."""


def _both(state: ScoresState) -> _Table:
    table = _table(state)
    for side, which in ((table.positive, "negative"), (table.negative, "positive")):
        if not side.any():
            raise Undefined(f"only one class: every labelled row is {which}")
    return table


def _table(state: ScoresState) -> _Table:
    if state.total.n == 0:
        raise Undefined("no row has a label and a score")
    shift = max(state.positive.shift, state.negative.shift)
    sides = [_places(side.coarsen(shift)) for side in (state.positive, state.negative)]
    scores = np.union1d(sides[0][0], sides[1][0])
    rows = np.zeros((2, len(scores)))
    for row, (at, weights) in zip(rows, sides, strict=True):
        row[np.searchsorted(scores, at)] = weights / ONE  # exact: ONE is a power of two
    design = effective(ONE, state.total.w, state.w2)
    return _Table(scores[::-1], rows[0, ::-1], rows[1, ::-1], shift > 0, design)


def _places(histogram: HistogramState) -> tuple[Floats, Floats]:
    values, _, weights = histogram.points()
    infinite = [(-np.inf, histogram.negative_infinity.w), (np.inf, histogram.positive_infinity.w)]
    ends = [(at, weight) for at, weight in infinite if weight]
    return (
        np.concatenate((values, [at for at, _ in ends])),
        np.concatenate((weights.astype(np.float64), [float(weight) for _, weight in ends])),
    )


def _logit_or_share(value: float, variance: float, rows: float, confidence: float, freedom: float = inf) -> Estimate:
    if 0.0 < value < 1.0 and variance > 0.0:
        return logit(value, variance, confidence, freedom)
    return binomial(value, rows, confidence)


def _variance(values: Floats, shares: Floats) -> float:
    mean = float(np.sum(shares * values))
    return float(np.sum(shares * (values - mean) ** 2))


def _from_here(values: Floats) -> Floats:
    return np.asarray(np.cumsum(values[::-1])[::-1])


def _error(state: ScoresState, variance: float) -> float:
    rows = effective(state.inside.w, state.total.w, state.w2)
    return sqrt(max(0.0, variance) / (rows - 1)) if rows > 1.0 else float("inf")


def _evenly(along: Floats, points: int | None) -> Floats | slice:
    """Places of about `points` of the entries, evenly spread over the ascending `along`; the ends are kept."""
    if points is None or len(along) <= points:
        return slice(None)
    wanted = np.linspace(along[0], along[-1], points)
    places = np.searchsorted(along, wanted).clip(max=len(along) - 1)
    return np.unique(np.concatenate(([0], places, [len(along) - 1])))
