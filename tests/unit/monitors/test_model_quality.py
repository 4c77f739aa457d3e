from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from driftline.constraints import Constraint, Mode, Verdict, judge
from driftline.errors import InputError
from driftline.metrics.metric import Measurement
from driftline.monitors.effects import BEST
from driftline.monitors.model_quality import CONSTRAINED, ModelQuality
from driftline.monitors.monitor import Monitor, Profile
from driftline.schema import LABEL, PREDICTION, SCORE, ProblemType
from driftline.states.contingency import Contingency
from driftline.states.residuals import Residuals
from driftline.states.scores import Scores

Profiled = Callable[..., Profile]
RNG = np.random.default_rng(11)
BINARY = ModelQuality(ProblemType.BINARY, prediction=True, score=True)
SCORE_ALONE = ModelQuality(ProblemType.BINARY, prediction=False, score=True, threshold=0.6)
MULTICLASS = ModelQuality(ProblemType.MULTICLASS)
REGRESSION = ModelQuality(ProblemType.REGRESSION)


def measured(monitor: Monitor, profile: Profile) -> dict[str, Measurement]:
    return {m.metric: m for m in monitor.measure(profile, None, 0.99)}


def scored(profiled: Profiled, rows: int, skill: float, monitor: Monitor = BINARY) -> Profile:
    label = RNG.random(rows) < 0.3
    score = 1 / (1 + np.exp(-RNG.normal(np.where(label, skill, -skill))))
    predicted = np.where(score > 0.5, "1", "0").tolist()
    columns = {LABEL: np.where(label, "1", "0").tolist(), PREDICTION: predicted, SCORE: score.tolist()}
    return profiled(monitor, **columns)


@pytest.mark.parametrize(
    ("monitor", "plan"),
    [
        (BINARY, {Contingency(LABEL, PREDICTION), Scores(SCORE, LABEL)}),
        (SCORE_ALONE, {Contingency(LABEL, None, SCORE, 0.6), Scores(SCORE, LABEL)}),
        (ModelQuality(ProblemType.BINARY), {Contingency(LABEL, PREDICTION)}),
        (MULTICLASS, {Contingency(LABEL, PREDICTION)}),
        (REGRESSION, {Residuals(PREDICTION, LABEL)}),
    ],
    ids=["prediction and score", "score alone", "prediction alone", "multiclass", "regression"],
)
def test_only_what_the_metrics_need_is_kept(monitor: ModelQuality, plan: set[object]) -> None:
    assert monitor.plan(["a", "b"]) == plan


def test_a_problem_without_predictions_is_refused() -> None:
    with pytest.raises(InputError, match="a binary problem needs predictions or probabilities"):
        ModelQuality(ProblemType.BINARY, prediction=False)
    with pytest.raises(InputError, match="problem type Regression needs a column of predictions"):
        ModelQuality(ProblemType.REGRESSION, prediction=False, score=True)


def test_a_score_above_the_threshold_is_a_prediction_of_class_1(profiled: Profiled) -> None:
    profile = profiled(SCORE_ALONE, **{LABEL: ["1", "1", "0", "0"], SCORE: [0.7, 0.6, 0.61, 0.1]})
    assert measured(SCORE_ALONE, profile)["accuracy"].value == 0.5


def test_area_and_losses_are_measured_where_there_are_scores(profiled: Profiled) -> None:
    profile = scored(profiled, 500, 1.0)
    assert {"auc", "au_prc", "log_loss", "brier"} <= set(measured(BINARY, profile))
    assert "auc" not in measured(ModelQuality(ProblemType.BINARY), profile)


def test_one_class_leaves_some_metrics_undefined_with_a_reason(profiled: Profiled) -> None:
    profile = profiled(BINARY, **{LABEL: ["0", "0"], PREDICTION: ["0", "1"], SCORE: [0.1, 0.9]})
    found = measured(BINARY, profile)
    assert found["accuracy"].value == 0.5
    assert found["recall"].estimate is None
    assert found["auc"].estimate is None
    assert all(m.reason for m in found.values() if m.estimate is None)


@pytest.mark.parametrize(("label", "said"), [("0", "none of the 2 labels is 1"), ("1", "all 2 labels are 1")])
def test_a_baseline_of_one_class_is_refused(profiled: Profiled, label: str, said: str) -> None:
    profile = profiled(BINARY, **{LABEL: [label, label], PREDICTION: ["0", "1"], SCORE: [0.1, 0.9]})
    with pytest.raises(InputError, match=f"{said}.*baseline of one class.*give rows of both classes"):
        list(BINARY.suggest(profile, [profile]))
    assert [c.metric for c in BINARY.suggest(profile, []) if c.metric in ("accuracy", "auc")] == ["accuracy"]


@pytest.mark.parametrize("monitor", [BINARY, MULTICLASS, REGRESSION], ids=lambda m: m.problem.value)
def test_no_rows_at_all_are_undefined_everywhere(profiled: Profiled, monitor: ModelQuality) -> None:
    kind = pa.float64() if monitor is REGRESSION else pa.string()
    empty = {LABEL: pa.array([], kind), PREDICTION: pa.array([], kind), SCORE: pa.array([], pa.float64())}
    found = measured(monitor, profiled(monitor, **empty))
    assert not [m for m in found.values() if m.estimate is not None and m.metric in CONSTRAINED[monitor.problem]]
    assert list(monitor.suggest(profiled(monitor, **empty), [])) == []


def test_labels_of_another_problem_are_refused_with_what_they_are(profiled: Profiled) -> None:
    words = {LABEL: ["yes", "no"], PREDICTION: ["yes", "yes"], SCORE: [0.5, 0.6]}
    with pytest.raises(InputError, match=r"2 of 2 labels are neither 0 nor 1 \('no', 'yes'\); write"):
        BINARY.check(profiled(BINARY, **words))
    MULTICLASS.check(profiled(MULTICLASS, **words))
    with pytest.raises(InputError, match="none of the 2 rows has a number as its label and as its prediction"):
        REGRESSION.check(profiled(REGRESSION, **words))


def test_labels_of_minus_one_and_one_are_those_of_a_binary_problem(profiled: Profiled) -> None:
    profile = profiled(BINARY, **{LABEL: ["-1", "1"], PREDICTION: ["1", "-1"], SCORE: [0.5, 0.6]})
    BINARY.check(profile)
    assert list(BINARY.oddities(profile)) == []


def test_what_a_binary_problem_has_no_place_for_is_named(profiled: Profiled) -> None:
    columns = {LABEL: ["0", "1", "1", "2"], PREDICTION: ["0.7", "1", "1", "0"], SCORE: [0.1, 1.5, 0.6, -0.9]}
    profile = profiled(BINARY, **columns)
    BINARY.check(profile)
    assert [str(odd) for odd in BINARY.oddities(profile)] == [
        "1 of 4 labels are neither 0 nor 1 ('2')",
        "1 of 4 predictions are neither 0 nor 1 ('0.7')",
        "2 of 4 probabilities are outside [0, 1] (they go from -0.9 to 1.5)",
    ]
    assert list(MULTICLASS.oddities(profiled(MULTICLASS, **columns))) == []


def test_ten_classes_are_no_binary_problem(profiled: Profiled) -> None:
    digits = [str(i % 10) for i in range(50)]
    profile = profiled(BINARY, **{LABEL: digits, PREDICTION: digits, SCORE: [0.5] * 50})
    with pytest.raises(InputError, match=r"40 of 50 labels are neither 0 nor 1 \('2', .*, …\); .*MulticlassClass"):
        BINARY.check(profile)


@pytest.mark.parametrize("problem", list(ProblemType))
def test_everything_constrained_is_measured_and_has_a_best_value(profiled: Profiled, problem: ProblemType) -> None:
    monitor = ModelQuality(problem, score=problem is ProblemType.BINARY)
    columns = {LABEL: [0.0, 1.0, 2.0], PREDICTION: [0.0, 1.0, 1.0], SCORE: [0.1, 0.9, 0.8]}
    found = {m.metric for m in monitor.measure(profiled(monitor, **columns), None, 0.95)}
    assert set(CONSTRAINED[problem]) <= found
    assert set(CONSTRAINED[problem]) <= set(BEST)


def test_bounds_are_the_baselines_own_values_and_effects_at_least_the_floors(profiled: Profiled) -> None:
    label = RNG.normal(10, 5, 2000)
    columns = {LABEL: label.tolist(), PREDICTION: (label + RNG.normal(0, 2, 2000)).tolist()}
    profile = profiled(REGRESSION, **columns)
    parts = [profiled(REGRESSION, **{name: x[i : i + 200] for name, x in columns.items()}) for i in range(0, 2000, 200)]
    value = {name: m.value for name, m in measured(REGRESSION, profile).items()}
    found = {c.metric: c for c in REGRESSION.suggest(profile, parts)}
    assert (found["rmse"].low, found["rmse"].high, found["rmse"].best) == (None, value["rmse"], 0.0)
    assert (found["r2"].low, found["r2"].high, found["r2"].best) == (value["r2"], None, 1.0)
    assert value["rmse"] is not None
    assert 0.05 * value["rmse"] <= found["rmse"].effect < 0.2 * value["rmse"]


def judged(constraints: list[Constraint], profile: Profile) -> dict[str, Verdict]:
    found = measured(BINARY, profile)
    return {c.metric: judge(c, found[c.metric], Mode.CONFIDENT).verdict for c in constraints}


def test_the_same_model_raises_nothing_and_a_worse_one_does(profiled: Profiled) -> None:
    whole = scored(profiled, 20_000, 1.0)
    parts = [scored(profiled, 1000, 1.0) for _ in range(10)]
    constraints = list(BINARY.suggest(whole, parts))
    for rows in (50, 300, 2000):
        assert Verdict.VIOLATED not in judged(constraints, scored(profiled, rows, 1.0)).values()
    assert judged(constraints, scored(profiled, 2000, 0.6))["auc"] is Verdict.VIOLATED


def test_a_model_that_varies_by_itself_gets_a_wider_effect(profiled: Profiled) -> None:
    whole = scored(profiled, 20_000, 1.0)
    steady = [scored(profiled, 1000, 1.0) for _ in range(10)]
    restless = [scored(profiled, 1000, 0.6 if i % 2 else 1.4) for i in range(10)]
    effect = {
        name: {c.metric: c.effect for c in BINARY.suggest(whole, p)}["auc"]
        for name, p in (("steady", steady), ("restless", restless))
    }
    assert 0.02 <= effect["steady"] < 0.04
    assert effect["restless"] > 0.2
