"""What AWS's own service answered on the telecom churn data, and what an independent computation says of it."""

from __future__ import annotations

import csv
import json
import math
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn import metrics

from driftline.constraints import Mode, Verdict, judge, per_test_confidence
from driftline.dialects.sagemaker_files import (
    constraints_of,
    quality_constraints,
    quality_statistics,
    read_constraints,
    read_statistics,
    suggested_constraints,
    violations,
    write_constraints,
    write_statistics,
)
from driftline.monitors.data_quality import DataQuality
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Profile
from driftline.schema import LABEL, PREDICTION, SCORE, ProblemType
from driftline.states.state import States

CHURN = Path(__file__).parent.parent / "data" / "churn"
PROBABILITY = "0.014719205908477306"
"""A real answer of the model; the scenario only needs that it is not a whole number."""


def lines(name: str) -> list[list[str]]:
    with (CHURN / name).open(newline="") as file:
        return list(csv.reader(file))


def batch_of(names: list[str], rows: list[list[str]]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array([row[i] or None for row in rows], pa.string()) for i in range(len(names))], names=names
    )


def profile_of(batch: pa.RecordBatch) -> Profile:
    names = tuple(batch.schema.names)
    return Profile(States({summary: summary.of(batch) for summary in DataQuality().plan(names)}), names)


@pytest.fixture(scope="module")
def training() -> tuple[list[str], list[list[str]]]:
    header, *rows = lines("training-dataset-with-header.csv")
    return header, rows


@pytest.fixture(scope="module")
def baseline(training: tuple[list[str], list[list[str]]]) -> Profile:
    return profile_of(batch_of(*training))


@pytest.fixture(scope="module")
def statistics(baseline: Profile) -> dict[str, Any]:
    return dict(json.loads(write_statistics(baseline)))


def test_every_number_of_the_baseline_is_that_of_exact_arithmetic(
    training: tuple[list[str], list[list[str]]], statistics: dict[str, Any]
) -> None:
    header, rows = training
    assert statistics["dataset"]["item_count"] == 2333
    assert [f["name"] for f in statistics["features"]] == header
    for i, feature in enumerate(statistics["features"]):
        x = [float(row[i]) for row in rows]
        exact = [Fraction(v) for v in x]
        mean = sum(exact) / len(exact)
        found = feature["numerical_statistics"]
        assert found["common"] == {"num_present": 2333, "num_missing": 0}
        assert (found["min"], found["max"]) == (min(x), max(x))
        assert found["sum"] == math.fsum(x)
        assert found["mean"] == float(mean)
        deviation = math.sqrt(float(sum((v - mean) ** 2 for v in exact) / len(exact)))
        assert found["std_dev"] == pytest.approx(deviation, rel=1e-12)


def test_bucket_bounds_and_counts_are_exact(
    training: tuple[list[str], list[list[str]]], statistics: dict[str, Any]
) -> None:
    _, rows = training
    for i, feature in enumerate(statistics["features"]):
        x = [float(row[i]) for row in rows]
        low, high = min(x), max(x)
        kll = feature["numerical_statistics"]["distribution"]["kll"]
        assert len(kll["buckets"]) == 10
        for k, bucket in enumerate(kll["buckets"]):
            lower, upper = low + (high - low) * k / 10, low + (high - low) * (k + 1) / 10
            inside = sum(lower <= v < upper or (k == 9 and v == high) for v in x)
            assert bucket == {"lower_bound": lower, "upper_bound": upper, "count": float(inside)}


def test_the_sketch_holds_every_value_as_often_as_the_data(
    training: tuple[list[str], list[list[str]]], statistics: dict[str, Any]
) -> None:
    _, rows = training
    for i, feature in enumerate(statistics["features"]):
        data = feature["numerical_statistics"]["distribution"]["kll"]["sketch"]["data"]
        unrolled = sorted(v for level, items in enumerate(data) for v in items for _ in range(2**level))
        assert unrolled == sorted(float(row[i]) for row in rows)


def test_types_completeness_and_sign_are_suggested_as_by_model_monitor(baseline: Profile) -> None:
    document = json.loads(write_constraints(suggested_constraints(baseline)))
    fractional = {"Day Mins", "Eve Mins", "Night Mins", "Intl Mins"}
    assert len(document["features"]) == 70
    for feature in document["features"]:
        assert feature == {
            "name": feature["name"],
            "inferred_type": "Fractional" if feature["name"] in fractional else "Integral",
            "completeness": 1.0,
            "num_constraints": {"is_non_negative": True},
        }


@pytest.mark.parametrize("mode", list(Mode))
def test_the_introduction_scenario_finds_sixty_changed_types_and_nothing_else(
    training: tuple[list[str], list[list[str]]], baseline: Profile, mode: Mode
) -> None:
    header, rows = training
    requests = lines("test-dataset-input-cols.csv")
    assert len(requests) == 334
    current = profile_of(batch_of(header, [[PROBABILITY, *request] for request in requests]))
    monitor = DataQuality()
    parts = [profile_of(batch_of(header, rows[i::10])) for i in range(10)]
    effects = {(c.metric, c.column): c.effect for c in monitor.suggest(baseline, parts)}
    file = read_constraints(write_constraints(suggested_constraints(baseline)))
    asked = constraints_of(file, mode, effects)
    measured = {
        (m.metric, m.column): m
        for m in monitor.measure(
            current, read_statistics(write_statistics(baseline)), per_test_confidence(0.05, len(asked))
        )
    }
    judgements = [judge(c, measured[c.metric, c.column], mode) for c in asked]
    found = violations(judgements, file, current.columns)
    assert len(found) == 60
    assert {v["constraint_check_type"] for v in found} == {"data_type_check"}
    texts = {v["feature_name"]: v["description"] for v in found}
    start = "Data type match requirement is not met. Expected data type: Integral, Expected match: 100.0%. Observed: "
    assert texts.pop("Churn") == start + "Only 0.0% of data is Integral."
    assert set(texts.values()) == {start + "Only 99.7005988023952% of data is Integral."}
    unknown = [j for j in judgements if j.verdict is Verdict.UNKNOWN and j.constraint.metric not in ("ks", "ks_robust")]
    assert mode is Mode.CONFIDENT or not unknown


@pytest.fixture(scope="module")
def predicted() -> dict[str, list[str]]:
    header, *rows = lines("validation_with_predictions.csv")
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


QUALITY = ModelQuality(ProblemType.BINARY, prediction=True, score=True)


@pytest.fixture(scope="module")
def quality(predicted: dict[str, list[str]]) -> Profile:
    batch = pa.record_batch(
        {
            LABEL: predicted["label"],
            PREDICTION: predicted["prediction"],
            SCORE: [float(p) for p in predicted["probability"]],
        }
    )
    return Profile(States({summary: summary.of(batch) for summary in QUALITY.plan(())}), ())


def oracle(predicted: dict[str, list[str]]) -> dict[str, float]:
    y, p = [int(v) for v in predicted["label"]], [int(v) for v in predicted["prediction"]]
    (tn, fp), (fn, tp) = metrics.confusion_matrix(y, p).tolist()
    scores = [float(v) for v in predicted["probability"]]
    return {
        "recall": metrics.recall_score(y, p),
        "precision": metrics.precision_score(y, p),
        "accuracy": metrics.accuracy_score(y, p),
        "true_positive_rate": tp / (tp + fn),
        "true_negative_rate": tn / (tn + fp),
        "false_positive_rate": fp / (tn + fp),
        "false_negative_rate": fn / (tp + fn),
        "auc": metrics.roc_auc_score(y, scores),
        "f0_5": metrics.fbeta_score(y, p, beta=0.5),
        "f1": metrics.f1_score(y, p),
        "f2": metrics.fbeta_score(y, p, beta=2.0),
        "accuracy_best_constant_classifier": 173 / 201,
        **{f"{m}_best_constant_classifier": 0.0 for m in ("recall", "precision", "f0_5", "f1", "f2")},
    }


def test_every_metric_of_the_model_is_that_of_scikit_learn(predicted: dict[str, list[str]], quality: Profile) -> None:
    document = quality_statistics(QUALITY, quality, datetime(2026, 3, 1, 10, 7, 11, 123456, UTC))
    assert document["dataset"] == {"item_count": 201, "evaluation_time": "2026-03-01T10:07:11.123Z"}
    found = document["binary_classification_metrics"]
    expected = oracle(predicted)
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert set(found) - set(expected) == {
        "confusion_matrix",
        "receiver_operating_characteristic_curve",
        "precision_recall_curve",
    }
    assert all(0.0 <= found[name]["standard_deviation"] < 0.1 for name in expected)
    y, p = [int(v) for v in predicted["label"]], [int(v) for v in predicted["prediction"]]
    matrix = metrics.confusion_matrix(y, p).tolist()
    assert found["confusion_matrix"] == {str(a): {str(b): matrix[a][b] for b in (0, 1)} for a in (0, 1)}


def test_the_curves_are_those_of_scikit_learn(predicted: dict[str, list[str]], quality: Profile) -> None:
    y, scores = [int(v) for v in predicted["label"]], [float(v) for v in predicted["probability"]]
    fpr, tpr, _ = metrics.roc_curve(y, scores, drop_intermediate=False)
    found = quality_statistics(QUALITY, quality, datetime(2026, 3, 1, tzinfo=UTC))["binary_classification_metrics"]
    roc = found["receiver_operating_characteristic_curve"]
    assert roc["false_positive_rates"] == pytest.approx([*fpr, 1.0], abs=1e-12)
    assert roc["true_positive_rates"] == pytest.approx([*tpr, 1.0], abs=1e-12)
    precisions, recalls, _ = metrics.precision_recall_curve(y, scores)
    curve = found["precision_recall_curve"]
    assert curve["recalls"] == pytest.approx(recalls[::-1].tolist(), abs=1e-12)
    assert curve["precisions"][1:] == pytest.approx(precisions[::-1].tolist()[1:], abs=1e-12)


def test_eleven_constraints_are_suggested_at_the_baselines_own_values(
    predicted: dict[str, list[str]], quality: Profile
) -> None:
    file = quality_constraints(ProblemType.BINARY, QUALITY.suggest(quality, []))
    document = json.loads(write_constraints(file))
    expected = oracle(predicted)
    greater = {"false_positive_rate", "false_negative_rate"}
    names = [name for name in expected if not name.endswith("classifier")]
    assert len(names) == 11
    assert document == {
        "version": 0.0,
        "binary_classification_constraints": {
            name: {
                "threshold": pytest.approx(expected[name], abs=1e-12),
                "comparison_operator": "GreaterThanThreshold" if name in greater else "LessThanThreshold",
            }
            for name in names
        },
    }
    assert list(document["binary_classification_constraints"]) == names
