from __future__ import annotations

import json

import pytest

from driftline.constraints import Constraint, Judgement, Verdict
from driftline.dialects.sagemaker_constraints import DataConstraints, Feature, QualityConstraints
from driftline.dialects.sagemaker_violations import violations, write_violations
from driftline.metrics.metric import Measurement, exactly
from driftline.schema import Kind, ProblemType

FILE = DataConstraints(tuple(Feature(f"f{i}", Kind.INTEGRAL) for i in range(9)))
QUALITY = QualityConstraints(ProblemType.BINARY, ())


def judged(constraint: Constraint, value: float | None, verdict: Verdict = Verdict.VIOLATED) -> Judgement:
    estimate = None if value is None else exactly(value)
    return Judgement(constraint, Measurement(constraint.metric, constraint.column, estimate), verdict, "")


@pytest.mark.parametrize(
    ("constraint", "value", "check", "text"),
    [
        (
            Constraint("integral_share", "f1", low=1.0),
            0.9964592817400101,
            "data_type_check",
            "Data type match requirement is not met. Expected data type: Integral, Expected match: 100.0%. "
            "Observed: Only 99.64592817400101% of data is Integral.",
        ),
        (
            Constraint("numeric_share", "f1", low=0.5),
            0.25,
            "data_type_check",
            "Data type match requirement is not met. Expected data type: Fractional, Expected match: 50.0%. "
            "Observed: Only 25.0% of data is Fractional.",
        ),
        (
            Constraint("completeness", "f1", low=1.0),
            0.96875,
            "completeness_check",
            "Data completeness requirement is not met. Expected: 100.0%. Observed: Only 96.875%.",
        ),
        (
            Constraint("ks_robust", "f1", high=0.1),
            0.30791265775509713,
            "baseline_drift_check",
            "Baseline drift distance: 0.30791265775509713 exceeds threshold: 0.1",
        ),
        (
            Constraint("linf", "f1", high=0.1),
            0.5,
            "baseline_drift_check",
            "Baseline drift distance: 0.5 exceeds threshold: 0.1",
        ),
        (
            Constraint("chi_square", "f1", low=0.25),
            0.125,
            "baseline_drift_check",
            "Chi-squared test, 1 - p-value. Baseline drift distance: 0.875 exceeds threshold: 0.75",
        ),
        (
            Constraint("domain_share", "f1", low=1.0),
            0.75,
            "categorical_values_check",
            "Value: 0.75 does not meet the constraint requirement!",
        ),
    ],
)
def test_descriptions_are_those_of_model_monitor(constraint: Constraint, value: float, check: str, text: str) -> None:
    assert violations([judged(constraint, value)], FILE) == [
        {"feature_name": "f1", "constraint_check_type": check, "description": text}
    ]


def test_columns_are_counted_on_both_sides() -> None:
    (found,) = violations([judged(Constraint("missing_columns", None, high=0.0), 1.0)], FILE, ["a"] * 8)
    assert found["constraint_check_type"] == "missing_column_check"
    assert found["description"].endswith(
        "Number of columns in current dataset: 8, Number of columns in baseline constraints: 9"
    )


def test_only_the_violated_are_told_and_each_check_of_a_feature_once() -> None:
    ks, robust = Constraint("ks", "f1", high=0.1), Constraint("ks_robust", "f1", high=0.1)
    found = violations(
        [
            judged(ks, 0.5),
            judged(robust, 0.4),
            judged(Constraint("ks", "f2", high=0.1), 0.05, Verdict.HOLDS),
            judged(Constraint("ks", "f3", high=0.1), None, Verdict.UNKNOWN),
            judged(Constraint("minimum", "f4", low=0.0), -1.0),
        ],
        FILE,
    )
    assert [v["feature_name"] for v in found] == ["f1"]


@pytest.mark.parametrize(
    ("constraint", "value", "deviation", "operator", "name", "text"),
    [
        (
            Constraint("f2", None, low=0.625),
            0.1375728862973761,
            0.003627554789531606,
            "LessThanThreshold",
            "f2",
            "Metric f2 with 0.1375728862973761 +/- 0.003627554789531606 was LessThanThreshold '0.625'",
        ),
        (
            Constraint("false_positive_rate", None, high=0.25),
            0.5,
            0.000509,
            "GreaterThanThreshold",
            "falsePositiveRate",
            "Metric falsePositiveRate with 0.5 +/- 5.09E-4 was GreaterThanThreshold '0.25'",
        ),
        (
            Constraint("auc", None, low=0.75),
            0.5,
            None,
            "LessThanThreshold",
            "auc",
            "Metric auc with 0.5 +/- NaN was LessThanThreshold '0.75'",
        ),
    ],
)
def test_quality_is_told_as_by_model_monitor(
    constraint: Constraint, value: float, deviation: float | None, operator: str, name: str, text: str
) -> None:
    found = violations([judged(constraint, value)], QUALITY, deviations={constraint.metric: deviation})
    assert found == [{"constraint_check_type": operator, "description": text, "metric_name": name}]


def test_no_file_is_written_without_a_violation() -> None:
    assert write_violations([]) is None
    data = write_violations(violations([judged(Constraint("f1", None, low=0.5), 0.1)], QUALITY))
    assert data is not None
    assert list(json.loads(data)) == ["violations"]
