"""The metrics that Model Monitor publishes to CloudWatch, as the JSON lines that its agent reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from driftline.dialects.sagemaker_json import Json
from driftline.dialects.sagemaker_quality import OURS
from driftline.dialects.sagemaker_statistics import sum_of
from driftline.metrics.metric import Measurement
from driftline.monitors.monitor import Profile
from driftline.states.column import Column

DRIFT = ("ks_robust", "linf_robust", "ks", "linf")
"""The distances that may be published, the one that Model Monitor uses by itself first."""


def data_metrics(
    profile: Profile, measured: Iterable[Measurement], at: datetime, dimensions: Mapping[str, str]
) -> bytes:
    """The lines of a data-quality run: values, completeness and drift of every column.

    Args:
        profile, measured: of the window.
        at: the end of the window.
        dimensions: such as `Endpoint` and `MonitoringSchedule`, by name.
    """
    values = {(m.metric, m.column): m.value for m in measured if m.value is not None}
    return _lines(_data(profile, values), at, dimensions)


def quality_metrics(measured: Iterable[Measurement], at: datetime, dimensions: Mapping[str, str]) -> bytes:
    """The lines of a model-quality run: every scalar of its statistics; args as in `data_metrics`."""
    points = ({"MetricName": m.metric, "Value": m.value} for m in measured if m.metric not in OURS)
    return _lines((point for point in points if point["Value"] is not None), at, dimensions)


def _data(profile: Profile, values: Mapping[tuple[str, str | None], float | None]) -> Iterator[Json]:
    for name in profile.columns:
        moments = profile.states[Column(name)].moments
        if moments.n and profile.states[Column(name)].kinds.kind.numeric:
            ends = {"Minimum": moments.minimum, "Maximum": moments.maximum}
            statistic = {"SampleCount": float(moments.n), "Sum": sum_of(moments), **ends}
            yield {"MetricName": f"feature_data_{name}", "StatisticValues": statistic}
        if ("completeness", name) in values:
            yield {"MetricName": f"feature_non_null_{name}", "Value": values["completeness", name]}
        drift = next((values[metric, name] for metric in DRIFT if (metric, name) in values), None)
        if drift is not None:
            yield {"MetricName": f"feature_baseline_drift_{name}", "Value": drift}


def _lines(points: Iterable[Json], at: datetime, dimensions: Mapping[str, str]) -> bytes:
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    where = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    lines = []
    for point in points:
        named = {"MetricName": point["MetricName"], "Timestamp": moment, "Dimensions": where, **point, "Unit": "None"}
        lines.append(json.dumps(named, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    return "".join(line + "\n" for line in lines).encode()
