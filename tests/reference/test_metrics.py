"""Our numbers against scikit-learn, SciPy and published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from driftline.errors import Undefined
from driftline.metrics import classification, column, drift, multiclass, ranking, regression, tails
from driftline.metrics.interval import binomial
from driftline.metrics.metric import Metric
from driftline.states.column import Column, ColumnState
from driftline.states.contingency import Contingency, ContingencyState
from driftline.states.residuals import Residuals, ResidualsState
from driftline.states.scores import Scores, ScoresState

CHURN = Path(__file__).parents[1] / "data" / "churn" / "validation_with_predictions.csv"


@pytest.fixture(scope="module")
def churn() -> pa.RecordBatch:
    return pyarrow.csv.read_csv(CHURN).combine_chunks().to_batches()[0]


@pytest.fixture(scope="module")
def truth(churn: pa.RecordBatch) -> Any:
    return churn["label"].to_numpy()


@pytest.fixture(scope="module")
def predicted(churn: pa.RecordBatch) -> Any:
    return churn["prediction"].to_numpy()


@pytest.fixture(scope="module")
def probability(churn: pa.RecordBatch) -> Any:
    return churn["probability"].to_numpy()


@pytest.fixture(scope="module")
def table(churn: pa.RecordBatch) -> ContingencyState:
    return Contingency("label", "prediction").of(churn)


@pytest.fixture(scope="module")
def scores(churn: pa.RecordBatch) -> ScoresState:
    return Scores("probability", "label").of(churn)


def value(metric: Metric[Any], *states: Any) -> float:
    estimate = metric(*states, confidence=0.95)
    assert estimate.low <= estimate.value <= estimate.high
    return estimate.value


def column_of(values: Any) -> ColumnState:
    return Column("x").of(pa.record_batch({"x": pa.array(values)}))


def test_binary_metrics_of_churn_are_those_of_scikit_learn(table: ContingencyState, truth: Any, predicted: Any) -> None:
    tn, fp, fn, tp = sk.confusion_matrix(truth, predicted).ravel().tolist()
    expected: dict[Metric[Any], float] = {
        classification.accuracy: sk.accuracy_score(truth, predicted),
        classification.recall: sk.recall_score(truth, predicted),
        classification.precision: sk.precision_score(truth, predicted),
        classification.true_positive_rate: tp / (tp + fn),
        classification.true_negative_rate: tn / (tn + fp),
        classification.false_positive_rate: fp / (fp + tn),
        classification.false_negative_rate: fn / (fn + tp),
        classification.f0_5: sk.fbeta_score(truth, predicted, beta=0.5),
        classification.f1: sk.f1_score(truth, predicted),
        classification.f2: sk.fbeta_score(truth, predicted, beta=2),
    }
    assert {m.name: value(m, table) for m in expected} == pytest.approx(
        {m.name: v for m, v in expected.items()}, abs=1e-12
    )


def test_the_best_constant_classifier_of_churn_is_the_published_one(table: ContingencyState) -> None:
    assert value(classification.accuracy_best_constant_classifier, table) == 173 / 201
    for metric in (
        classification.recall_best_constant_classifier,
        classification.precision_best_constant_classifier,
        classification.f0_5_best_constant_classifier,
        classification.f1_best_constant_classifier,
        classification.f2_best_constant_classifier,
    ):
        assert value(metric, table) == 0.0


def test_ranking_metrics_of_churn_are_those_of_scikit_learn(scores: ScoresState, truth: Any, probability: Any) -> None:
    assert value(ranking.auc, scores) == pytest.approx(sk.roc_auc_score(truth, probability), abs=1e-12)
    assert value(ranking.au_prc, scores) == pytest.approx(sk.average_precision_score(truth, probability), abs=1e-12)
    assert value(ranking.log_loss, scores) == pytest.approx(sk.log_loss(truth, probability), abs=1e-12)
    assert value(ranking.brier, scores) == pytest.approx(sk.brier_score_loss(truth, probability), abs=1e-12)


def test_the_curves_of_churn_are_those_of_scikit_learn(scores: ScoresState, truth: Any, probability: Any) -> None:
    fpr, tpr, _ = sk.roc_curve(truth, probability, drop_intermediate=False)
    roc = ranking.roc_curve(scores)
    np.testing.assert_allclose(roc.false_positive_rates, fpr, atol=1e-12)
    np.testing.assert_allclose(roc.true_positive_rates, tpr, atol=1e-12)
    precisions, recalls, _ = sk.precision_recall_curve(truth, probability)
    ours = ranking.pr_curve(scores)
    assert (ours.recalls[0], ours.precisions[0]) == (0.0, ours.precisions[1])
    np.testing.assert_allclose(ours.precisions[1:], precisions[-2::-1], atol=1e-12)
    np.testing.assert_allclose(ours.recalls[1:], recalls[-2::-1], atol=1e-12)


def test_ties_count_half_in_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(1)
    truth, score = rng.integers(0, 2, 500), rng.integers(0, 8, 500) / 8
    state = Scores("s", "y").of(pa.record_batch({"s": score, "y": truth}))
    assert value(ranking.auc, state) == pytest.approx(sk.roc_auc_score(truth, score), abs=1e-12)


def test_the_deviation_of_the_area_is_delongs(scores: ScoresState, truth: Any, probability: Any) -> None:
    wins = np.subtract.outer(probability[truth == 1], probability[truth == 0])
    beats = (wins > 0) + (wins == 0) / 2
    variance = beats.mean(1).var(ddof=1) / len(beats) + beats.mean(0).var(ddof=1) / beats.shape[1]
    estimate = ranking.auc(scores, confidence=0.95)
    odds = np.log([end / (1 - end) for end in (estimate.low, estimate.high)])
    expected = 2 * stats.norm.ppf(0.975) * np.sqrt(variance) / (estimate.value * (1 - estimate.value))
    assert odds[1] - odds[0] == pytest.approx(expected, rel=1e-9)


def test_multiclass_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth = rng.choice(list("abcde"), 800, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    predicted = np.where(rng.random(800) < 0.6, truth, rng.choice(list("abcd"), 800))
    state = Contingency("y", "p").of(pa.record_batch({"y": pa.array(truth), "p": pa.array(predicted)}))
    how = {"average": "weighted", "zero_division": 0}
    expected: dict[Metric[Any], float] = {
        classification.accuracy: sk.accuracy_score(truth, predicted),
        multiclass.weighted_recall: sk.recall_score(truth, predicted, **how),
        multiclass.weighted_precision: sk.precision_score(truth, predicted, **how),
        multiclass.weighted_f0_5: sk.fbeta_score(truth, predicted, beta=0.5, **how),
        multiclass.weighted_f1: sk.f1_score(truth, predicted, **how),
        multiclass.weighted_f2: sk.fbeta_score(truth, predicted, beta=2, **how),
    }
    assert {m.name: value(m, state) for m in expected} == pytest.approx(
        {m.name: v for m, v in expected.items()}, abs=1e-12
    )
    constant = np.full(800, max(set(truth.tolist()), key=truth.tolist().count))
    best: dict[Metric[Any], float] = {
        multiclass.weighted_recall_best_constant_classifier: sk.recall_score(truth, constant, **how),
        multiclass.weighted_precision_best_constant_classifier: sk.precision_score(truth, constant, **how),
        multiclass.weighted_f0_5_best_constant_classifier: sk.fbeta_score(truth, constant, beta=0.5, **how),
        multiclass.weighted_f1_best_constant_classifier: sk.f1_score(truth, constant, **how),
        multiclass.weighted_f2_best_constant_classifier: sk.fbeta_score(truth, constant, beta=2, **how),
    }
    assert {m.name: value(m, state) for m in best} == pytest.approx({m.name: v for m, v in best.items()}, abs=1e-12)


def regressed(offset: float = 0.0) -> tuple[ResidualsState, Any, Any]:
    rng = np.random.default_rng(3)
    truth = rng.gamma(2.0, size=1000) + offset
    predicted = truth + rng.normal(0.1, 0.5, 1000)
    return Residuals("p", "y").of(pa.record_batch({"p": predicted, "y": truth})), truth, predicted


@pytest.mark.parametrize("offset", [0.0, 1e6], ids=["near zero", "far from zero"])
def test_regression_metrics_are_those_of_scikit_learn(offset: float) -> None:
    state, truth, predicted = regressed(offset)
    assert value(regression.mae, state) == pytest.approx(sk.mean_absolute_error(truth, predicted), abs=1e-12)
    assert value(regression.mse, state) == pytest.approx(sk.mean_squared_error(truth, predicted), abs=1e-12)
    assert value(regression.rmse, state) == pytest.approx(sk.root_mean_squared_error(truth, predicted), abs=1e-12)
    assert value(regression.r2, state) == pytest.approx(sk.r2_score(truth, predicted), abs=1e-9 if offset else 1e-12)


@pytest.mark.parametrize("kind", ["normal", "few whole numbers", "many rows", "offset"])
def test_the_gap_is_that_of_scipy(kind: str) -> None:
    rng = np.random.default_rng(4)
    x: Any
    y: Any
    if kind == "few whole numbers":
        x, y = rng.poisson(3.0, 400), rng.poisson(3.5, 900)
    elif kind == "offset":
        x, y = 1.7e9 + 86400 * rng.random(3000), 1.7e9 + 86400 * rng.random(9000) + 4000
    else:
        size = 30_000 if kind == "many rows" else 400
        x, y = rng.normal(0.1, 1.0, size), rng.normal(0.0, 1.0, 2 * size)
    expected = stats.ks_2samp(x, y).statistic
    assert value(drift.ks, column_of(x), column_of(y)) == pytest.approx(
        expected, abs=1e-12 if len(x) <= 900 and kind != "offset" else 1e-3
    )


def test_chi_square_is_that_of_scipy() -> None:
    window, baseline = {"a": 60, "b": 25, "c": 15}, {"a": 500, "b": 300, "c": 200}
    states = [column_of([v for v, n in counts.items() for _ in range(n)]) for counts in (window, baseline)]
    expected = stats.chisquare([60, 25, 15], [50, 30, 20]).pvalue
    assert value(drift.chi_square, *states) == pytest.approx(expected, abs=1e-12)


def test_a_large_shift_measures_as_in_scipy() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(1.0, 1.0, 4000), rng.normal(0.0, 1.0, 4000)
    expected = stats.wasserstein_distance(x, y) / y.std()
    assert value(drift.wasserstein, column_of(x), column_of(y)) == pytest.approx(expected, rel=2e-3)


def test_moments_and_quantiles_are_those_of_numpy() -> None:
    x = np.random.default_rng(6).lognormal(size=2000)
    state = column_of(x)
    assert value(column.mean, state) == pytest.approx(x.mean(), rel=1e-14)
    assert value(column.std, state) == pytest.approx(x.std(), rel=1e-13)
    assert value(column.total, state) == pytest.approx(x.sum(), rel=1e-14)
    for q in (0.0, 0.01, 0.25, 0.5, 0.9, 1.0):
        assert column.quantile(state, q, confidence=0.95).value == np.quantile(x, q, method="inverted_cdf")


def test_the_interval_of_a_share_is_that_of_scipy() -> None:
    state = column_of([1] * 30 + [None] * 4)
    estimate = column.completeness(state, confidence=0.95)
    expected = stats.binomtest(30, 34).proportion_ci(0.95, "wilson")
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "rows"), [(29, 30), (1, 3000), (999, 1000), (150, 300)])
def test_far_out_the_interval_of_a_share_covers_the_exact_one(hits: int, rows: int) -> None:
    ours = binomial(hits / rows, rows, 0.9999)
    exact = stats.binomtest(hits, rows).proportion_ci(0.9999, "exact")
    wilson = stats.binomtest(hits, rows).proportion_ci(0.9999, "wilson")
    assert ours.low == pytest.approx(min(exact.low, wilson.low), rel=1e-7)
    assert ours.high == pytest.approx(max(exact.high, wilson.high), rel=1e-7)


@pytest.mark.parametrize("tail", [1e-9, 1e-5, 0.02])
@pytest.mark.parametrize("shape", [0.3, 4.0, 700.0])
def test_quantiles_are_those_of_scipy(tail: float, shape: float) -> None:
    for other in (0.2, 5.0, 2e5):
        expected = special.betaincinv(shape, other, tail)
        if expected > 1e-200:
            assert tails.beta_quantile(tail, shape, other) == pytest.approx(expected, rel=1e-7)
    assert tails.student_quantile(tail, shape) == pytest.approx(-special.stdtrit(shape, tail), rel=1e-7)


def test_shares_print_as_in_model_monitor() -> None:
    state = column_of(["1"] * 2252 + ["x"] * 8)
    assert repr(value(column.integral_share, state) * 100) == repr(2252 / 2260 * 100)


def test_one_class_has_no_area() -> None:
    state = Scores("s", "y").of(pa.record_batch({"s": [0.1, 0.9], "y": ["0", "0"]}))
    with pytest.raises(Undefined, match="every labelled row is negative"):
        ranking.auc(state, confidence=0.95)
