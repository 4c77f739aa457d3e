"""How good the predicted classes are, from the confusion matrix. Two classes here, many in `multiclass`."""

from __future__ import annotations

from typing import Final

from driftline.errors import Undefined
from driftline.metrics.interval import binomial, effective, score
from driftline.metrics.metric import Estimate, metric
from driftline.states.contingency import ContingencyState

POSITIVE: Final = "1"
_SOURCE: Final = "Amazon SageMaker Model Monitor, model quality metrics"
_BEST_CONSTANT: Final = f"{_SOURCE}: the classifier that always answers the most frequent label"

Cells = tuple[int, int, int, int]


def confusion_matrix(state: ContingencyState) -> dict[str, dict[str, float]]:
    """Rows by actual (outer key) and predicted class (inner key); every class stands in both, sorted.

    Whole numbers unless the rows are a sample.
    """
    classes = state.classes
    matrix = {actual: dict.fromkeys(classes, 0.0) for actual in classes}
    for (actual, predicted), count in state.cells.items():
        matrix[actual][predicted] = count.total
    return matrix


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def accuracy(state: ContingencyState, *, confidence: float) -> Estimate:
    """Accuracy: the share of rows whose class was predicted.

    Raises:
        Undefined: no row has both a label and a prediction.
    """
    right = sum(count.w for (actual, predicted), count in state.cells.items() if actual == predicted)
    return _share(state, right, _rows(state), "no row has a label and a prediction", confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def recall(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """Recall: the share of the actual positives that were predicted.

    Raises:
        Undefined: no row is labelled positive.
    """
    tp, fn, _, _ = _cells(state, positive)
    return _share(state, tp, tp + fn, _no_label(positive), confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def true_positive_rate(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """True positive rate: recall by another name."""
    return recall(state, positive=positive, confidence=confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def true_negative_rate(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """True negative rate: the share of the actual negatives that were predicted as such."""
    _, _, fp, tn = _cells(state, positive)
    return _share(state, tn, fp + tn, _only_label(positive), confidence)


@metric(unit="share", better="lower", low=0.0, high=1.0, source=_SOURCE)
def false_positive_rate(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """False positive rate: the share of the actual negatives that were predicted positive."""
    _, _, fp, tn = _cells(state, positive)
    return _share(state, fp, fp + tn, _only_label(positive), confidence)


@metric(unit="share", better="lower", low=0.0, high=1.0, source=_SOURCE)
def false_negative_rate(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """False negative rate: the share of the actual positives that were predicted negative."""
    tp, fn, _, _ = _cells(state, positive)
    return _share(state, fn, tp + fn, _no_label(positive), confidence)


@metric(unit="share", better="higher", low=0.0, high=1.0, source=_SOURCE)
def precision(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """Precision: the share of the predicted positives that are positive.

    Where nothing was predicted positive it is 0, as Model Monitor has it, with an interval from 0 to 1: not known.
    """
    tp, _, fp, _ = _cells(state, positive)
    if tp + fp == 0:
        return Estimate(0.0, 0.0, 1.0)
    return _share(state, tp, tp + fp, "", confidence)


@metric(unit="score", better="higher", low=0.0, high=1.0, source=f"{_SOURCE}; van Rijsbergen, 1979")
def f0_5(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """F0.5: precision and recall in one number, recall counting half as much."""
    return _f_beta(state, 0.5, positive, confidence)


@metric(unit="score", better="higher", low=0.0, high=1.0, source=f"{_SOURCE}; van Rijsbergen, 1979")
def f1(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """F1: the harmonic mean of precision and recall."""
    return _f_beta(state, 1.0, positive, confidence)


@metric(unit="score", better="higher", low=0.0, high=1.0, source=f"{_SOURCE}; van Rijsbergen, 1979")
def f2(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """F2: precision and recall in one number, recall counting twice as much."""
    return _f_beta(state, 2.0, positive, confidence)


@metric(unit="share", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def accuracy_best_constant_classifier(state: ContingencyState, *, confidence: float) -> Estimate:
    """Accuracy of always answering the most frequent label."""
    return majority(state, confidence)[1]


@metric(unit="share", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def recall_best_constant_classifier(
    state: ContingencyState, *, positive: str = POSITIVE, confidence: float
) -> Estimate:
    """Recall of always answering the most frequent label: 1 if that is the positive class, else 0."""
    answer = 1.0 if majority(state, confidence)[0] == positive else 0.0
    return Estimate(answer, answer, answer)


@metric(unit="share", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def precision_best_constant_classifier(
    state: ContingencyState, *, positive: str = POSITIVE, confidence: float
) -> Estimate:
    """Precision of always answering the most frequent label; 0 if that is not the positive class."""
    answer, share = majority(state, confidence)
    return share if answer == positive else Estimate(0.0, 0.0, 0.0)


@metric(unit="score", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def f0_5_best_constant_classifier(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """F0.5 of always answering the most frequent label; 0 if that is not the positive class."""
    return _constant_f(state, 0.5, positive, confidence)


@metric(unit="score", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def f1_best_constant_classifier(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """F1 of always answering the most frequent label; 0 if that is not the positive class."""
    return _constant_f(state, 1.0, positive, confidence)


@metric(unit="score", better="neither", low=0.0, high=1.0, source=_BEST_CONSTANT)
def f2_best_constant_classifier(state: ContingencyState, *, positive: str = POSITIVE, confidence: float) -> Estimate:
    """F2 of always answering the most frequent label; 0 if that is not the positive class."""
    return _constant_f(state, 2.0, positive, confidence)


def majority(state: ContingencyState, confidence: float) -> tuple[str, Estimate]:
    """The most frequent actual class (of equals the first by name) and its share."""
    actual: dict[str, int] = {}
    for (name, _), count in sorted(state.cells.items()):
        actual[name] = actual.get(name, 0) + count.w
    name = max(actual, key=lambda label: actual[label], default="")
    return name, _share(state, actual.get(name, 0), _rows(state), "no row has a label and a prediction", confidence)


def constant_f(share: float, beta: float) -> float:
    """F-beta of a class of this share that is always answered: its recall is 1."""
    squared = beta * beta
    return (1 + squared) * share / (squared * share + 1)


def _f_beta(state: ContingencyState, beta: float, positive: str, confidence: float) -> Estimate:
    # F = (1 + b²) TP / ((1 + b²) TP + b² FN + FP): a ratio of counts. Times 4, its factors are whole numbers for the
    # betas in use, so that one division gives the correctly rounded value.
    tp, fn, fp, _ = _cells(state, positive)
    if tp + fn == 0:
        raise Undefined(_no_label(positive))
    squared = round(4 * beta * beta)
    top, of_fn, of_fp = 4 + squared, squared, 4
    whole = top * tp + of_fn * fn + of_fp * fp
    value = top * tp / whole
    design = state.w2 / _rows(state)  # what a unit of weight adds to the variance
    spread = top * top * tp * (1 - value) ** 2 + value * value * (of_fn * of_fn * fn + of_fp * of_fp * fp)
    return score(value, spread * design / whole / whole, whole / top / design, confidence)


def _constant_f(state: ContingencyState, beta: float, positive: str, confidence: float) -> Estimate:
    answer, share = majority(state, confidence)
    if answer != positive:
        return Estimate(0.0, 0.0, 0.0)
    return Estimate(*(constant_f(end, beta) for end in (share.value, share.low, share.high)))


def _cells(state: ContingencyState, positive: str) -> Cells:
    """TP, FN, FP, TN in units of weight."""
    _rows(state)
    cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for (actual, predicted), count in state.cells.items():
        cells[actual == positive, predicted == positive] += count.w
    return cells[True, True], cells[True, False], cells[False, True], cells[False, False]


def _rows(state: ContingencyState) -> int:
    weight = state.total.w
    if weight == 0:
        raise Undefined("no row has a label" if state.missing.n == 0 else "no row has both a label and a prediction")
    return weight


def _share(state: ContingencyState, some: int, whole: int, why_not: str, confidence: float) -> Estimate:
    if whole == 0:
        raise Undefined(why_not)
    return binomial(some / whole, effective(whole, state.total.w, state.w2), confidence)


def _no_label(positive: str) -> str:
    return f"no row is labelled {positive!r}"


def _only_label(positive: str) -> str:
    return f"every row is labelled {positive!r}"
