"""How good predicted classes are when there are many: per-class metrics, averaged by how frequent each class is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from driftline.errors import Undefined
from driftline.metrics.classification import accuracy, constant_f, majority
from driftline.metrics.interval import Floats, score, sums
from driftline.metrics.metric import Estimate, metric
from driftline.states.contingency import ContingencyState

_SOURCE: Final = "Amazon SageMaker Model Monitor, model quality metrics; Spark ML evaluators"
_BEST_CONSTANT: Final = f"{_SOURCE}: the classifier that always answers the most frequent label"


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def weighted_recall(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted recall: the recall of each class, weighted by its share of the labels. It equals the accuracy."""
    return accuracy(state, confidence=confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def weighted_precision(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted precision: the precision of each class, weighted by its share of the labels.

    A class that was never predicted has precision 0, as in Model Monitor.
    """
    return _weighted_f(state, 0.0, confidence)


@metric(unit="score", better="higher", low=0.0, high=1.0, source=_SOURCE)
def weighted_f0_5(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted F0.5: the F0.5 of each class, weighted by its share of the labels."""
    return _weighted_f(state, 0.5, confidence)


@metric(unit="score", better="higher", low=0.0, high=1.0, source=_SOURCE)
def weighted_f1(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted F1: the F1 of each class, weighted by its share of the labels."""
    return _weighted_f(state, 1.0, confidence)


@metric(unit="score", better="higher", low=0.0, high=1.0, source=_SOURCE)
def weighted_f2(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted F2: the F2 of each class, weighted by its share of the labels."""
    return _weighted_f(state, 2.0, confidence)


@metric(unit="share", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def weighted_recall_best_constant_classifier(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted recall of always answering the most frequent label."""
    return majority(state, confidence)[1]


@metric(unit="share", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def weighted_precision_best_constant_classifier(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted precision of always answering the most frequent label: its share squared."""
    share = majority(state, confidence)[1]
    return Estimate(share.value**2, share.low**2, share.high**2)


@metric(unit="score", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def weighted_f0_5_best_constant_classifier(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted F0.5 of always answering the most frequent label."""
    return _constant(state, 0.5, confidence)


@metric(unit="score", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def weighted_f1_best_constant_classifier(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted F1 of always answering the most frequent label."""
    return _constant(state, 1.0, confidence)


@metric(unit="score", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def weighted_f2_best_constant_classifier(state: ContingencyState, *, confidence: float) -> Estimate:
    """Weighted F2 of always answering the most frequent label."""
    return _constant(state, 2.0, confidence)


@dataclass(frozen=True, slots=True)
class _Table:
    """The cells in use: which class is actual, which predicted, and the (effective) rows."""

    actual: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    rows: Floats
    classes: int


def _table(state: ContingencyState) -> _Table:
    if state.total.w == 0:
        raise Undefined("no row has both a label and a prediction")
    place = {name: at for at, name in enumerate(state.classes)}
    actual = np.array([place[actual] for actual, _ in state.cells], np.int64)
    predicted = np.array([place[predicted] for _, predicted in state.cells], np.int64)
    weights = np.array([count.w for count in state.cells.values()], np.float64)
    return _Table(actual, predicted, weights * (state.total.w / state.w2), len(place))


def _weighted_f(state: ContingencyState, beta: float, confidence: float) -> Estimate:
    """The mean over rows of F-beta of the row's actual class; beta 0 is the precision.

    F of a class is (1 + b²) hits / (b² actual + predicted), so the derivative by each cell's rows follows from those by
    its row sum, its column sum and, on the diagonal, its hits. The average does not change when all rows are
    doubled, so its variance is that of independent counts: the sum of rows times derivative squared.
    """
    table, squared = _table(state), beta * beta
    diagonal = table.actual == table.predicted
    actual = sums(table.actual, table.rows, table.classes)
    predicted = sums(table.predicted, table.rows, table.classes)
    hits = sums(table.actual[diagonal], table.rows[diagonal], table.classes)
    whole = squared * actual + predicted
    each = np.where(whole > 0, whole, 1.0)
    f = (1 + squared) * hits / each
    total = float(table.rows.sum())
    value = min(1.0, float(np.sum(actual * f)) / total)
    by_row, by_column, by_hit = f - actual * f * squared / each, -actual * f / each, actual * (1 + squared) / each
    slope = by_row[table.actual] + by_column[table.predicted] + np.where(diagonal, by_hit[table.actual], 0.0) - value
    variance = float(np.sum(table.rows * slope**2)) / total**2
    return score(value, variance, total, confidence)


def _constant(state: ContingencyState, beta: float, confidence: float) -> Estimate:
    share = majority(state, confidence)[1]
    return Estimate(*(end * constant_f(end, beta) for end in (share.value, share.low, share.high)))
