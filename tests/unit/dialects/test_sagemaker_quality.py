from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.dialects.sagemaker_quality import quality_statistics, standard_deviations, write_quality_statistics
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Profile
from driftline.schema import LABEL, PREDICTION, SCORE, ProblemType
from driftline.states.state import States

AT = datetime(2026, 3, 1, 10, 7, 11, 123000, UTC)
BINARY = ModelQuality(ProblemType.BINARY, score=True)
REGRESSION = ModelQuality(ProblemType.REGRESSION)
MULTICLASS = ModelQuality(ProblemType.MULTICLASS)


def profile(monitor: ModelQuality, **columns: Any) -> Profile:
    batch = pa.record_batch(columns)
    return Profile(States({summary: summary.of(batch) for summary in monitor.plan(())}), ())


def none(value: float) -> dict[str, Any]:
    return {"value": value, "standard_deviation": "NaN"}


def test_the_regression_example_of_the_format_is_written_to_the_letter() -> None:
    rows = profile(REGRESSION, **{LABEL: [0.0, 1.0, 2.0, 3.0], PREDICTION: [0.0, 1.0, 3.0, 4.0]})
    assert json.loads(write_quality_statistics(REGRESSION, rows, AT)) == {
        "version": 0.0,
        "dataset": {"item_count": 4, "evaluation_time": "2026-03-01T10:07:11.123Z"},
        "regression_metrics": {
            "mae": none(0.5),
            "mse": none(0.5),
            "rmse": none(0.7071067811865476),
            "r2": none(0.6),
        },
    }


def test_the_binary_example_of_the_format_is_written_to_the_letter() -> None:
    columns = {LABEL: ["1", "1", "0", "0"], PREDICTION: ["1", "0", "0", "0"], SCORE: [0.9, 0.4, 0.3, 0.1]}
    found = quality_statistics(BINARY, profile(BINARY, **columns), AT)["binary_classification_metrics"]
    expected = {
        "confusion_matrix": {"0": {"0": 2, "1": 0}, "1": {"0": 1, "1": 1}},
        "recall": none(0.5),
        "precision": none(1.0),
        "accuracy": none(0.75),
        "accuracy_best_constant_classifier": none(0.5),
        "receiver_operating_characteristic_curve": {
            "false_positive_rates": [0.0, 0.0, 0.0, 0.5, 1.0, 1.0],
            "true_positive_rates": [0.0, 0.5, 1.0, 1.0, 1.0, 1.0],
        },
        "precision_recall_curve": {
            "precisions": [1.0, 1.0, 1.0, 0.6666666666666666, 0.5],
            "recalls": [0.0, 0.5, 1.0, 1.0, 1.0],
        },
        "auc": none(1.0),
    }
    assert {key: found[key] for key in expected} == expected
    assert len(found) == 17 + 3
    assert [key for key in found if "curve" in key or key in ("auc", "f0_5")] == [
        "receiver_operating_characteristic_curve",
        "precision_recall_curve",
        "auc",
        "f0_5",
    ]


def test_a_multiclass_file_has_twelve_scalars_and_the_matrix() -> None:
    rows = profile(MULTICLASS, **{LABEL: ["a", "b", "c", "c"], PREDICTION: ["a", "b", "b", "c"]})
    found = quality_statistics(MULTICLASS, rows, AT)["multiclass_classification_metrics"]
    assert len(found) == 13
    assert found["weighted_recall"] == found["accuracy"] == none(0.75)
    assert found["weighted_precision_best_constant_classifier"] == none(0.25)


def test_an_undefined_metric_is_written_as_a_string() -> None:
    rows = profile(BINARY, **{LABEL: ["0", "0"], PREDICTION: ["0", "0"], SCORE: [0.1, 0.2]})
    found = quality_statistics(BINARY, rows, AT)["binary_classification_metrics"]
    assert found["auc"] == {"value": "NaN", "standard_deviation": "NaN"}
    assert "precision_recall_curve" not in found
    assert found["accuracy"]["value"] == 1.0


def test_without_scores_there_is_no_area_and_no_curve() -> None:
    monitor = ModelQuality(ProblemType.BINARY)
    rows = profile(monitor, **{LABEL: ["0", "1"], PREDICTION: ["0", "1"]})
    found = quality_statistics(monitor, rows, AT)["binary_classification_metrics"]
    assert "auc" not in found
    assert len(found) == 17


def test_the_deviation_is_that_of_draws_of_four_fifths_of_the_rows() -> None:
    rng = np.random.default_rng(5)
    label, right = rng.random(2096) < 0.4, rng.random(2096) < 0.63
    predicted = np.where(right, label, ~label)
    rows = profile(
        BINARY,
        **{LABEL: label.tolist(), PREDICTION: predicted.tolist(), SCORE: np.where(predicted, 0.8, 0.2).tolist()},
    )
    found = standard_deviations(BINARY, rows)["accuracy"]
    hits = label == predicted
    drawn = [hits[rng.permutation(2096)[:1676]].mean() for _ in range(2000)]
    assert found == pytest.approx(np.std(drawn), rel=0.1)


def test_the_time_is_written_in_utc() -> None:
    rows = profile(REGRESSION, **{LABEL: [0.0], PREDICTION: [0.0]})
    east = datetime(2026, 3, 1, 12, 7, 11, tzinfo=timezone(timedelta(hours=2)))
    assert quality_statistics(REGRESSION, rows, east)["dataset"]["evaluation_time"] == "2026-03-01T10:07:11.000Z"
