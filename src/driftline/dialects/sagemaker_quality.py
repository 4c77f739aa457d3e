"""`statistics.json` of a model-quality baseline or run: metrics with deviations, confusion matrix, curves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from driftline.dialects.sagemaker_json import NOT_A_NUMBER, Json, render
from driftline.errors import Undefined
from driftline.metrics.interval import standard_deviation
from driftline.metrics.metric import Estimate
from driftline.metrics.ranking import pr_curve, roc_curve
from driftline.monitors.model_quality import SCORED, ModelQuality
from driftline.monitors.monitor import Profile
from driftline.schema import ProblemType
from driftline.states.contingency import ContingencyState
from driftline.states.scores import ScoresState

KEYS: Final[Mapping[ProblemType, str]] = {
    ProblemType.REGRESSION: "regression_metrics",
    ProblemType.BINARY: "binary_classification_metrics",
    ProblemType.MULTICLASS: "multiclass_classification_metrics",
}
OURS: Final = frozenset(metric.name for metric in SCORED) - {"auc"}
"""Metrics that Model Monitor's file does not have; they stand in our report."""
ONE_SIGMA: Final = 0.6826894921370859
"""At this confidence half of an interval is about one standard error, also of a share near 0 or 1."""

Estimates = Mapping[str, Estimate | None]


def quality_statistics(monitor: ModelQuality, profile: Profile, evaluated_at: datetime) -> Json:
    """The profile as the content of a model-quality `statistics.json`.

    A metric that is undefined here, such as the AUC of one class, has the value "NaN", as a string.
    """
    rows = _rows(monitor, profile)
    moment = evaluated_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "version": 0.0,
        "dataset": {"item_count": rows, "evaluation_time": moment},
        KEYS[monitor.problem]: _metrics(monitor, profile, rows),
    }


def write_quality_statistics(monitor: ModelQuality, profile: Profile, evaluated_at: datetime) -> bytes:
    """The profile as a model-quality `statistics.json` that Model Monitor's readers understand."""
    return render(quality_statistics(monitor, profile, evaluated_at))


def standard_deviations(monitor: ModelQuality, profile: Profile) -> dict[str, float | None]:
    """What Model Monitor prints after +/-, by metric; None for fewer than 200 rows."""
    rows = _rows(monitor, profile)
    return {
        name: None if estimate is None else standard_deviation(estimate, ONE_SIGMA, rows)
        for name, estimate in _estimates(monitor, profile).items()
    }


def _estimates(monitor: ModelQuality, profile: Profile) -> Estimates:
    return {m.metric: m.estimate for m in monitor.measure(profile, None, ONE_SIGMA) if m.metric not in OURS}


def _rows(monitor: ModelQuality, profile: Profile) -> int:
    if monitor.problem is ProblemType.REGRESSION:
        return profile.states[monitor.residuals].n
    return profile.states[monitor.contingency].total.n


def _metrics(monitor: ModelQuality, profile: Profile, rows: int) -> Json:
    estimates = _estimates(monitor, profile)
    scalars = {name: _scalar(estimate, rows) for name, estimate in estimates.items()}
    if monitor.problem is ProblemType.REGRESSION:
        return scalars
    out: Json = {"confusion_matrix": _matrix(profile.states[monitor.contingency])}
    for name, scalar in scalars.items():
        if name == "f0_5" and monitor.scores is not None:  # Model Monitor puts the curves before the F scores
            out |= {**_curves(profile.states[monitor.scores]), "auc": scalars["auc"]}
        out.setdefault(name, scalar)
    return out


def _scalar(estimate: Estimate | None, rows: int) -> Json:
    if estimate is None:
        return {"value": NOT_A_NUMBER, "standard_deviation": NOT_A_NUMBER}
    deviation = standard_deviation(estimate, ONE_SIGMA, rows)
    return {
        "value": float(estimate.value),
        "standard_deviation": NOT_A_NUMBER if deviation is None else float(deviation),
    }


def _matrix(state: ContingencyState) -> dict[str, dict[str, int]]:
    """Rows seen, by actual (outer key) and predicted class."""
    classes = state.classes
    return {
        actual: {
            predicted: state.cells[actual, predicted].n if (actual, predicted) in state.cells else 0
            for predicted in classes
        }
        for actual in classes
    }


def _curves(state: ScoresState) -> dict[str, Any]:
    try:
        roc, recalls = roc_curve(state), pr_curve(state)
    except Undefined:
        return {}
    return {
        "receiver_operating_characteristic_curve": {
            # Model Monitor closes the curve with (1, 1), also where its last point is there already.
            "false_positive_rates": [*roc.false_positive_rates.tolist(), 1.0],
            "true_positive_rates": [*roc.true_positive_rates.tolist(), 1.0],
        },
        "precision_recall_curve": {
            "precisions": recalls.precisions.tolist(),
            "recalls": recalls.recalls.tolist(),
        },
    }
