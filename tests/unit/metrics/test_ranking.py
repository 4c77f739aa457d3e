from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.errors import Undefined
from driftline.metrics import ranking
from driftline.metrics.metric import Metric
from driftline.states.scores import Scores, ScoresState

EVERY = [ranking.auc, ranking.au_prc, ranking.log_loss, ranking.brier, ranking.calibration_error]
SUMMARY = Scores("s", "y")


def scores_of(score: Any, truth: Any, limit: int = 16384) -> ScoresState:
    columns = {"s": pa.array(score, pa.float64()), "y": pa.array(truth, pa.int64())}
    return Scores("s", "y", limit=limit).of(pa.record_batch(columns))


def drawn(rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
    score = rng.beta(1.0, 2.0, rows)
    return score, (rng.random(rows) < score).astype(int)


@pytest.mark.parametrize("metric", EVERY, ids=lambda m: str(m.name))
def test_no_rows_have_no_value(metric: Metric[Any]) -> None:
    with pytest.raises(Undefined, match="label"):
        metric(SUMMARY.empty(), confidence=0.95)


@pytest.mark.parametrize("metric", EVERY[:2], ids=lambda m: str(m.name))
@pytest.mark.parametrize(("label", "word"), [(0, "negative"), (1, "positive")])
def test_one_class_has_no_ranking(metric: Metric[Any], label: int, word: str) -> None:
    with pytest.raises(Undefined, match=f"only one class: every labelled row is {word}"):
        metric(scores_of([0.2, 0.8], [label, label]), confidence=0.95)


@pytest.mark.parametrize("metric", EVERY[:4], ids=lambda m: str(m.name))
def test_the_interval_holds_the_true_value(metric: Metric[Any]) -> None:
    rng = np.random.default_rng(0)
    truth = metric(scores_of(*drawn(rng, 300_000)), confidence=0.95).value
    estimates = [metric(scores_of(*drawn(rng, 200)), confidence=0.95) for _ in range(200)]
    assert np.mean([e.low <= truth <= e.high for e in estimates]) >= 0.91


def test_a_calibrated_model_is_not_called_miscalibrated() -> None:
    rng = np.random.default_rng(1)
    estimates = [ranking.calibration_error(scores_of(*drawn(rng, 300)), confidence=0.95) for _ in range(100)]
    assert np.mean([e.low > 0.0 for e in estimates]) <= 0.05
    score, truth = drawn(rng, 2000)
    assert ranking.calibration_error(scores_of(score / 2, truth), confidence=0.95).low > 0.1


@pytest.mark.parametrize(("score", "value"), [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0)])
def test_a_perfect_ranking_of_few_rows_is_not_certain(score: list[float], value: float) -> None:
    estimate = ranking.auc(scores_of(score, [0, 0, 1, 1]), confidence=0.95)
    assert estimate.value == value
    assert estimate.high - estimate.low > 0.5


def test_an_area_from_wide_buckets_is_unsure_by_what_they_hold() -> None:
    rng = np.random.default_rng(2)
    score, truth = drawn(rng, 5000)
    fine, coarse = scores_of(score, truth), scores_of(score, truth, limit=64)
    exact, rough = (ranking.auc(state, confidence=0.95) for state in (fine, coarse))
    assert rough.low < exact.low < exact.high < rough.high


def test_the_area_of_sixteen_thousand_buckets_takes_under_thirty_milliseconds() -> None:
    state = scores_of(*drawn(np.random.default_rng(3), 200_000))
    assert len(state.positive.keys) > 8000
    ranking.auc(state, confidence=0.95)
    started = perf_counter()
    ranking.auc(state, confidence=0.95)
    assert perf_counter() - started < 0.03


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    state = scores_of(*drawn(np.random.default_rng(4), 5000))
    curve = ranking.roc_curve(state, points=100)
    assert len(curve.false_positive_rates) <= 102
    assert (curve.false_positive_rates[0], curve.true_positive_rates[0]) == (0.0, 0.0)
    assert (curve.false_positive_rates[-1], curve.true_positive_rates[-1]) == (1.0, 1.0)
    area = np.trapezoid(curve.true_positive_rates, curve.false_positive_rates)
    assert area == pytest.approx(ranking.auc(state, confidence=0.95).value, abs=1e-3)
    assert len(ranking.pr_curve(state, points=100).recalls) <= 102


def test_scores_that_are_no_probabilities_rank_but_do_not_calibrate() -> None:
    state = scores_of([-3.0, 2.0, 5.0, -1.0], [0, 1, 1, 0])
    assert ranking.auc(state, confidence=0.95).value == 1.0
    with pytest.raises(Undefined, match=r"\[0, 1\]"):
        ranking.calibration_error(state, confidence=0.95)


def test_a_sample_knows_as_much_as_its_rows() -> None:
    score, truth = drawn(np.random.default_rng(5), 500)
    columns = {"s": score, "y": truth, "driftline.probability": np.full(500, 0.25)}
    plain, sampled = scores_of(score, truth), SUMMARY.of(pa.record_batch(columns))
    for metric in EVERY:
        expected, got = (metric(state, confidence=0.95) for state in (plain, sampled))
        assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high))
