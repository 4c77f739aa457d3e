from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.errors import Undefined
from driftline.metrics import regression
from driftline.metrics.metric import Metric, exactly
from driftline.states.residuals import Residuals, ResidualsState

EVERY = [regression.mae, regression.mse, regression.rmse, regression.r2]


def residuals_of(prediction: Any, label: Any) -> ResidualsState:
    columns = {"p": pa.array(prediction, pa.float64()), "y": pa.array(label, pa.float64())}
    return Residuals("p", "y").of(pa.record_batch(columns))


def drawn(rng: np.random.Generator, rows: int, offset: float = 0.0) -> ResidualsState:
    label = rng.gamma(3.0, size=rows) + offset
    return residuals_of(label + rng.normal(0.2, 0.8, rows), label)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: str(m.name))
def test_no_rows_have_no_value(metric: Metric[Any]) -> None:
    with pytest.raises(Undefined, match="both a label and a prediction"):
        metric(residuals_of([], []), confidence=0.95)


def test_equal_labels_have_no_variance_to_explain() -> None:
    with pytest.raises(Undefined, match="all labels are equal"):
        regression.r2(residuals_of([1.0, 2.0], [3.0, 3.0]), confidence=0.95)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: str(m.name))
@pytest.mark.parametrize("offset", [0.0, 1e5, 1e9], ids=["near zero", "far", "very far"])
def test_the_interval_holds_the_true_value(metric: Metric[Any], offset: float) -> None:
    rng = np.random.default_rng(0)
    truth = metric(drawn(rng, 200_000, offset), confidence=0.95).value
    estimates = [metric(drawn(rng, 150, offset), confidence=0.95) for _ in range(150)]
    assert np.mean([e.low <= truth <= e.high for e in estimates]) >= 0.88


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: str(m.name))
def test_perfect_predictions_are_certain(metric: Metric[Any]) -> None:
    best = 1.0 if metric is regression.r2 else 0.0
    assert metric(residuals_of([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]), confidence=0.95) == exactly(best)


@pytest.mark.parametrize("metric", EVERY[:3], ids=lambda m: str(m.name))
def test_one_row_tells_a_value_and_nothing_more(metric: Metric[Any]) -> None:
    estimate = metric(residuals_of([1.0], [2.0]), confidence=0.95)
    assert estimate.value == 1.0
    assert estimate.low == 0.0
    assert estimate.high > 1e100


def test_predictions_worse_than_the_mean_have_a_negative_r2() -> None:
    estimate = regression.r2(residuals_of([4.0, 2.0, 2.0, 2.0], [2.0, 2.0, 3.0, 1.0]), confidence=0.95)
    assert estimate.value == -2.0
    assert estimate.low < -2.0 < estimate.high < 1.0


def test_errors_of_any_size_have_a_value_or_a_reason() -> None:
    state = residuals_of([1e150, 2e150, 3.0], [1.0, 2.0, 3.0])
    assert regression.mse(state, confidence=0.999).value == pytest.approx(5e300 / 3)
    assert regression.rmse(state, confidence=0.999).low == 0.0
    with pytest.raises(Undefined, match="R² does not fit into float64"):
        regression.r2(residuals_of([1e150, 1e150], [0.0, 1e-100]), confidence=0.95)


def test_errors_carried_by_a_few_rows_are_less_certain_far_out() -> None:
    rng = np.random.default_rng(4)
    errors = rng.standard_t(3, (4000, 30))
    missed = [not e.low <= 3.0 for e in (regression.mse(residuals_of(x, 0 * x), confidence=0.999) for x in errors)]
    assert np.mean(missed) <= 0.001
