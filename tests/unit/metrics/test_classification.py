from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from driftline.errors import Undefined
from driftline.metrics import classification, multiclass
from driftline.metrics.metric import Estimate, Metric, exactly
from driftline.states.contingency import ContingencyState
from driftline.states.rows import ONE, Count

BINARY: list[Metric[Any]] = [
    classification.accuracy,
    classification.recall,
    classification.precision,
    classification.true_positive_rate,
    classification.true_negative_rate,
    classification.false_positive_rate,
    classification.false_negative_rate,
    classification.f0_5,
    classification.f1,
    classification.f2,
]
MULTICLASS: list[Metric[Any]] = [
    multiclass.weighted_recall,
    multiclass.weighted_precision,
    multiclass.weighted_f0_5,
    multiclass.weighted_f1,
    multiclass.weighted_f2,
]
CELLS = {("1", "1"): 60, ("1", "0"): 25, ("0", "1"): 30, ("0", "0"): 200}
CLASSES = {
    ("a", "a"): 90,
    ("a", "b"): 20,
    ("b", "b"): 60,
    ("b", "c"): 15,
    ("c", "c"): 20,
    ("c", "a"): 25,
    ("b", "a"): 5,
}


def state_of(cells: dict[tuple[str, str], int]) -> ContingencyState:
    counts = {pair: Count(rows, rows * ONE) for pair, rows in cells.items() if rows}
    return ContingencyState(counts, sum(cells.values()) * ONE * ONE)


@pytest.mark.parametrize("metric", BINARY + MULTICLASS, ids=lambda m: str(m.name))
def test_no_rows_have_no_value(metric: Metric[Any]) -> None:
    with pytest.raises(Undefined, match="label"):
        metric(ContingencyState(), confidence=0.95)


@pytest.mark.parametrize("metric", BINARY + MULTICLASS, ids=lambda m: str(m.name))
def test_intervals_agree_with_a_bootstrap_of_the_rows(metric: Metric[Any]) -> None:
    cells = CELLS if metric in BINARY else CLASSES
    rows = sum(cells.values())
    draws = np.random.default_rng(0).multinomial(rows, np.array(list(cells.values())) / rows, 1500)
    values = [metric(state_of(dict(zip(cells, draw.tolist(), strict=True))), confidence=0.95).value for draw in draws]
    estimate = metric(state_of(cells), confidence=0.95)
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.018)


@pytest.mark.parametrize("metric", BINARY + MULTICLASS, ids=lambda m: str(m.name))
def test_intervals_hold_the_true_value_with_few_rows(metric: Metric[Any]) -> None:
    cells = CELLS if metric in BINARY else CLASSES
    rows = sum(cells.values())
    truth = metric(state_of(cells), confidence=0.95).value
    draws = np.random.default_rng(1).multinomial(40, np.array(list(cells.values())) / rows, 400)
    estimates = [metric(state_of(dict(zip(cells, draw.tolist(), strict=True))), confidence=0.95) for draw in draws]
    assert np.mean([e.low <= truth <= e.high for e in estimates]) >= 0.92


def test_without_positive_labels_recall_has_no_value_and_says_why(table_of: Any) -> None:
    state = table_of({("0", "0"): 5, ("0", "1"): 2})
    for metric in (classification.recall, classification.f1, classification.false_negative_rate):
        with pytest.raises(Undefined, match="no row is labelled '1'"):
            metric(state, confidence=0.95)


def test_without_negative_labels_the_negative_rates_have_no_value(table_of: Any) -> None:
    state = table_of({("1", "1"): 5})
    for metric in (classification.true_negative_rate, classification.false_positive_rate):
        with pytest.raises(Undefined, match="every row is labelled '1'"):
            metric(state, confidence=0.95)


def test_without_positive_predictions_precision_is_zero_and_not_known(table_of: Any) -> None:
    estimate = classification.precision(table_of({("1", "0"): 5, ("0", "0"): 5}), confidence=0.95)
    assert estimate == Estimate(0.0, 0.0, 1.0)


def test_predictions_without_labels_are_named(table_of: Any) -> None:
    state = ContingencyState(missing=Count(3, 3 * ONE))
    with pytest.raises(Undefined, match="both a label and a prediction"):
        classification.accuracy(state, confidence=0.95)


def test_all_wrong_scores_zero_with_an_interval(table_of: Any) -> None:
    estimate = classification.f1(table_of({("1", "0"): 10, ("0", "1"): 10}), confidence=0.95)
    assert (estimate.value, estimate.low) == (0.0, 0.0)
    assert 0.1 < estimate.high < 0.5


def test_all_right_scores_one_with_an_interval(table_of: Any) -> None:
    for metric in (*BINARY[:3], *BINARY[7:], *MULTICLASS):
        estimate = metric(table_of({("1", "1"): 10, ("0", "0"): 10}), confidence=0.95)
        assert (estimate.value, estimate.high) == (1.0, 1.0)
        assert 0.5 < estimate.low < 0.95


def test_published_scores_are_correctly_rounded() -> None:
    # TP 5, FN 3, FP 3: F2 = 25 / (25 + 12 + 3) = 0.625, as Model Monitor's own baseline has it.
    state = state_of({("1", "1"): 5, ("1", "0"): 3, ("0", "1"): 3, ("0", "0"): 9})
    assert classification.f2(state, confidence=0.95).value == 0.625


def test_a_constant_answer_that_is_positive_has_recall_one(table_of: Any) -> None:
    state = table_of({("1", "0"): 6, ("1", "1"): 2, ("0", "0"): 2})
    assert classification.accuracy_best_constant_classifier(state, confidence=0.95).value == 0.8
    assert classification.recall_best_constant_classifier(state, confidence=0.95) == exactly(1.0)
    assert classification.precision_best_constant_classifier(state, confidence=0.95).value == 0.8
    assert classification.f1_best_constant_classifier(state, confidence=0.95).value == pytest.approx(1.6 / 1.8)


def test_a_sample_knows_as_much_as_its_rows(table_of: Any) -> None:
    for metric in BINARY + MULTICLASS:
        plain, sampled = (metric(table_of(CELLS, p), confidence=0.95) for p in (1.0, 0.25))
        assert (sampled.value, sampled.low, sampled.high) == pytest.approx((plain.value, plain.low, plain.high))


def test_the_confusion_matrix_has_actual_classes_outside(table_of: Any) -> None:
    matrix = classification.confusion_matrix(table_of({("1", "0"): 3, ("0", "0"): 4}))
    assert matrix == {"0": {"0": 4.0, "1": 0.0}, "1": {"0": 3.0, "1": 0.0}}
