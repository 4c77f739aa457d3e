from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from driftline.dialects.sagemaker_metrics import data_metrics, quality_metrics
from driftline.metrics.metric import Measurement, exactly
from driftline.monitors.data_quality import DataQuality
from driftline.monitors.monitor import Profile

AT = datetime(2026, 3, 1, 10, tzinfo=UTC)
WHERE = {"Endpoint": "churn", "MonitoringSchedule": "churn-hourly"}
DIMENSIONS = [{"Name": "Endpoint", "Value": "churn"}, {"Name": "MonitoringSchedule", "Value": "churn-hourly"}]


def test_every_column_has_its_values_completeness_and_drift(profiled: Callable[..., Profile]) -> None:
    profile = profiled(age=[1, 2, 3, 4], plan=["a", None, "b", "b"])
    lines = data_metrics(profile, DataQuality().measure(profile, profile, 0.95), AT, WHERE).splitlines()
    found = {line["MetricName"]: line for line in map(json.loads, lines)}
    assert found["feature_data_age"] == {
        "MetricName": "feature_data_age",
        "Timestamp": "2026-03-01T10:00:00Z",
        "Dimensions": DIMENSIONS,
        "StatisticValues": {"SampleCount": 4.0, "Sum": 10.0, "Minimum": 1.0, "Maximum": 4.0},
        "Unit": "None",
    }
    assert found["feature_non_null_plan"]["Value"] == 0.75
    assert found["feature_baseline_drift_age"]["Value"] == 0.0
    assert found["feature_baseline_drift_plan"]["Value"] == 0.0
    assert "feature_data_plan" not in found


def test_metrics_without_a_value_and_metrics_of_our_own_are_not_published() -> None:
    measured = [
        Measurement("auc", None, exactly(0.75)),
        Measurement("recall", None, None, "no row is labelled '1'"),
        Measurement("brier", None, exactly(0.2)),
    ]
    (line,) = quality_metrics(measured, AT, WHERE).splitlines()
    assert json.loads(line)["MetricName"] == "auc"
