"""`constraint_violations.json`: the violated constraints in Model Monitor's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from driftline.constraints import Judgement, Verdict
from driftline.dialects.sagemaker_constraints import GREATER, LESS, ConstraintsFile, DataConstraints
from driftline.dialects.sagemaker_json import java_double, render

Violation: TypeAlias = dict[str, str]

CHECKS: Final[Mapping[str, str]] = {
    "integral_share": "data_type_check",
    "numeric_share": "data_type_check",
    "completeness": "completeness_check",
    "domain_share": "categorical_values_check",
    "ks": "baseline_drift_check",
    "ks_robust": "baseline_drift_check",
    "linf": "baseline_drift_check",
    "linf_robust": "baseline_drift_check",
    "chi_square": "baseline_drift_check",
    "missing_columns": "missing_column_check",
    "extra_columns": "extra_column_check",
}
"""The metrics that have a place in the violations file of a data-quality run; others stand in the report only."""

CAMEL: Final[Mapping[str, str]] = {
    "true_positive_rate": "truePositiveRate",
    "true_negative_rate": "trueNegativeRate",
    "false_positive_rate": "falsePositiveRate",
    "false_negative_rate": "falseNegativeRate",
}
"""Model Monitor spells these metrics otherwise in its violations than in its statistics."""


def violations(
    judgements: Iterable[Judgement],
    file: ConstraintsFile,
    columns: Sequence[str] = (),
    deviations: Mapping[str, float | None] | None = None,
) -> list[Violation]:
    """The violated judgements as entries of a `constraint_violations.json`.

    Args:
        judgements: all of a run; those that hold or are unknown are left out.
        file: the constraints that were judged.
        columns: of the window, for the checks of missing and extra columns.
        deviations: what `standard_deviations` gave for the window, for model quality.
    """
    violated = [j for j in judgements if j.verdict is Verdict.VIOLATED and j.measurement.value is not None]
    if isinstance(file, DataConstraints):
        return list(_data(violated, file, columns))
    return [_quality(j, (deviations or {}).get(j.constraint.metric)) for j in violated]


def write_violations(found: Sequence[Violation]) -> bytes | None:
    """The file's content; None where there is no violation, for then Model Monitor writes no file."""
    return render({"violations": list(found)}) if found else None


def _data(violated: Iterable[Judgement], file: DataConstraints, columns: Sequence[str]) -> Iterator[Violation]:
    told = set()
    for judgement in violated:
        check = CHECKS.get(judgement.constraint.metric)
        feature = judgement.constraint.column
        if check is None or (feature, check) in told:
            continue
        told.add((feature, check))
        if feature is None:
            yield _columns(check, len(columns), len(file.features))
        else:
            yield {
                "feature_name": feature,
                "constraint_check_type": check,
                "description": _description(judgement),
            }


def _columns(check: str, now: int, baseline: int) -> Violation:
    which = "Missing" if check == "missing_column_check" else "Extra"
    return {
        "feature_name": f"{which} columns",
        "constraint_check_type": check,
        "description": (
            f"There are {which.lower()} columns in current dataset. Number of columns in current dataset: {now}, "
            f"Number of columns in baseline constraints: {baseline}"
        ),
    }


def _description(judgement: Judgement) -> str:
    metric, value = judgement.constraint.metric, judgement.measurement.value or 0.0
    low, high = judgement.constraint.low or 0.0, judgement.constraint.high or 0.0
    if metric in ("integral_share", "numeric_share"):
        kind = "Integral" if metric == "integral_share" else "Fractional"
        return (
            f"Data type match requirement is not met. Expected data type: {kind}, Expected match: {_percent(low)}. "
            f"Observed: Only {_percent(value)} of data is {kind}."
        )
    if metric == "completeness":
        return f"Data completeness requirement is not met. Expected: {_percent(low)}. Observed: Only {_percent(value)}."
    if metric == "domain_share":
        return f"Value: {java_double(value)} does not meet the constraint requirement!"
    if metric == "chi_square":
        # A p-value alarms when it is small; told as 1 - p, the sentence that readers parse stays true.
        return (
            f"Chi-squared test, 1 - p-value. Baseline drift distance: {java_double(1 - value)} "
            f"exceeds threshold: {java_double(1 - low)}"
        )
    return f"Baseline drift distance: {java_double(value)} exceeds threshold: {java_double(high)}"


def _percent(share: float) -> str:
    return f"{java_double(share * 100)}%"


def _quality(judgement: Judgement, deviation: float | None) -> Violation:
    constraint, value = judgement.constraint, judgement.measurement.value or 0.0
    below = constraint.low is not None and value < constraint.low
    operator, bound = (LESS, constraint.low) if below else (GREATER, constraint.high)
    name = CAMEL.get(constraint.metric, constraint.metric)
    spread = java_double(deviation) if deviation is not None else "NaN"
    return {
        "constraint_check_type": operator,
        "description": (
            f"Metric {name} with {java_double(value)} +/- {spread} was {operator} '{java_double(bound or 0.0)}'"
        ),
        "metric_name": name,
    }
