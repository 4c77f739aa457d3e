from __future__ import annotations

import json
from typing import Any

import pytest

from driftline.constraints import Constraint, Mode
from driftline.dialects.sagemaker_constraints import (
    DataConstraints,
    QualityConstraints,
    constraints_of,
    read_constraints,
    write_constraints,
)
from driftline.errors import InputError
from driftline.schema import ProblemType

AGE = {"name": "age", "inferred_type": "Integral", "completeness": 1.0, "num_constraints": {"is_non_negative": True}}
PLAN = {
    "name": "plan",
    "inferred_type": "String",
    "completeness": 0.75,
    "string_constraints": {"domains": ["free", "pro"]},
}
PRICE = {"name": "price", "inferred_type": "Fractional", "completeness": 0.5}
DRIFT = {
    "perform_comparison": "Enabled",
    "comparison_threshold": 0.1,
    "comparison_method": "Robust",
    "categorical_comparison_threshold": 0.1,
    "categorical_drift_method": "LInfinity",
}
CONFIG = {
    "evaluate_constraints": "Enabled",
    "emit_metrics": "Enabled",
    "datatype_check_threshold": 1.0,
    "domain_content_threshold": 1.0,
    "distribution_constraints": DRIFT,
}


def file_of(*features: dict[str, Any], config: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"version": 0.0, "features": features, "monitoring_config": config or CONFIG}).encode()


def constraints(data: bytes, mode: Mode = Mode.POINT) -> dict[tuple[str, str | None], Constraint]:
    return {(c.metric, c.column): c for c in constraints_of(read_constraints(data), mode)}


def drift_of(config: dict[str, Any], feature: dict[str, Any], mode: Mode = Mode.POINT) -> list[Constraint]:
    drift = {"ks", "ks_robust", "linf", "linf_robust", "chi_square"}
    return [c for (metric, _), c in constraints(file_of(feature, config=config), mode).items() if metric in drift]


def test_a_file_is_written_as_it_was_read() -> None:
    override = {"datatype_check_threshold": 0.5}
    data = file_of(AGE, PLAN, {**PRICE, "monitoring_config_overrides": override})
    assert json.loads(write_constraints(read_constraints(data))) == json.loads(data)


def test_the_keys_are_written_in_model_monitors_order() -> None:
    text = write_constraints(read_constraints(file_of(AGE, PLAN))).decode()
    assert list(json.loads(text)["monitoring_config"]) == list(CONFIG)
    assert list(json.loads(text)["features"][0]) == list(AGE)


def test_bounds_are_those_of_the_file() -> None:
    found = constraints(file_of(AGE, PLAN, PRICE))
    assert {key: (c.low, c.high) for key, c in found.items()} == {
        ("missing_columns", None): (None, 0.0),
        ("extra_columns", None): (None, 0.0),
        ("integral_share", "age"): (1.0, None),
        ("completeness", "age"): (1.0, None),
        ("ks_robust", "age"): (None, 0.1),
        ("completeness", "plan"): (0.75, None),
        ("domain_share", "plan"): (1.0, None),
        ("linf_robust", "plan"): (None, 0.1),
        ("numeric_share", "price"): (1.0, None),
        ("completeness", "price"): (0.5, None),
        ("ks_robust", "price"): (None, 0.1),
    }


def test_confident_mode_asks_the_distances_that_have_an_interval() -> None:
    found = constraints(file_of(AGE, PLAN), Mode.CONFIDENT)
    assert {metric for metric, _ in found if metric in ("ks", "linf", "ks_robust", "linf_robust")} == {"ks", "linf"}


def test_effects_of_the_baseline_go_before_the_practical_floor() -> None:
    file = read_constraints(file_of(AGE))
    found = {c.metric: c.effect for c in constraints_of(file, Mode.CONFIDENT, {("ks", "age"): 0.25})}
    assert found["ks"] == 0.25
    assert found["completeness"] == 0.01
    assert found["integral_share"] == 0.0


@pytest.mark.parametrize(
    ("method", "metric"),
    [("Robust", "ks_robust"), ("Simple", "ks"), ("linf_robust", "ks_robust"), ("linf_simple", "ks"), ("SIMPLE", "ks")],
)
def test_every_spelling_of_the_comparison_method_is_understood(method: str, metric: str) -> None:
    config = {**CONFIG, "distribution_constraints": {**DRIFT, "comparison_method": method}}
    assert [c.metric for c in drift_of(config, AGE)] == [metric]


def test_the_chi_squared_test_is_violated_by_a_small_p() -> None:
    config = {**CONFIG, "distribution_constraints": {**DRIFT, "categorical_drift_method": "ChiSquared"}}
    (found,) = drift_of(config, PLAN)
    assert (found.metric, found.low, found.high) == ("chi_square", 0.1, None)


def test_the_categorical_threshold_falls_back_to_the_other_one() -> None:
    config = {**CONFIG, "distribution_constraints": {"comparison_threshold": 0.3}}
    assert [c.high for c in drift_of(config, PLAN)] == [0.3]


@pytest.mark.parametrize("key", ["monitoring_config_overrides", "monitoringConfigOverrides"])
def test_a_feature_may_override_what_the_file_says(key: str) -> None:
    over = {"datatype_check_threshold": 0.9, "distribution_constraints": {"comparison_threshold": 0.4}}
    found = constraints(file_of({**AGE, key: over}, PRICE))
    assert found["integral_share", "age"].low == 0.9
    assert found["ks_robust", "age"].high == 0.4
    assert found["ks_robust", "price"].high == 0.1


def test_an_override_is_found_where_the_sdk_puts_it() -> None:
    strings = {"domains": ["free"], "monitoring_config_overrides": {"evaluate_constraints": "Disabled"}}
    found = constraints(file_of(AGE, {**PLAN, "string_constraints": strings}))
    assert {column for _, column in found} == {None, "age"}


def test_switches_switch_off() -> None:
    off = {**CONFIG, "distribution_constraints": {**DRIFT, "perform_comparison": "Disabled"}}
    assert drift_of(off, AGE) == []
    assert constraints(file_of(AGE, config={**CONFIG, "evaluate_constraints": "Disabled"})) == {}


def test_an_all_null_column_is_held_to_its_completeness_alone() -> None:
    found = constraints(file_of({"name": "x", "inferred_type": "Unknown", "completeness": 0.0}))
    assert [metric for metric, column in found if column == "x"] == ["completeness"]


def test_unknown_keys_and_missing_config_are_tolerated() -> None:
    data = json.dumps({"features": [{**AGE, "new": 1}], "distribution_constraints": {"min_domain_mass": 1}}).encode()
    file = read_constraints(data)
    assert isinstance(file, DataConstraints)
    assert file.config.comparison_threshold == 0.1


BINARY = {
    "recall": {"threshold": 0.5, "comparison_operator": "LessThanThreshold", "additional_properties": None},
    "false_positive_rate": {"threshold": 0.0, "comparison_operator": "GreaterThanThreshold"},
}


def test_the_operator_names_the_violating_side() -> None:
    file = read_constraints(json.dumps({"version": 0.0, "binary_classification_constraints": BINARY}).encode())
    assert isinstance(file, QualityConstraints)
    assert file.problem is ProblemType.BINARY
    recall, rate = constraints_of(file, Mode.CONFIDENT)
    assert (recall.low, recall.high, recall.effect, recall.best) == (0.5, None, 0.02, 1.0)
    assert (rate.low, rate.high, rate.best) == (None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"version": 0.0}, "c.json: not a constraints file of Model Monitor"),
        ({"features": {}}, "c.json: features is {}, but must be a list"),
        ({"features": [{"inferred_type": "Integral"}]}, r"key 'name' of features\[0\] is missing"),
        ({"features": [{"name": "a", "inferred_type": "Float"}]}, r'inferred_type is "Float", but must be "Integral"'),
        ({"features": [AGE, AGE]}, "feature 'age' is listed twice"),
        (
            {"features": [{**AGE, "completeness": "high"}]},
            r'features\[0\].completeness is "high", but must be a number',
        ),
        (
            {"features": [AGE], "monitoring_config": {"distribution_constraints": {"comparison_method": "Magic"}}},
            'comparison_method is "Magic", but must be "Robust" or "Simple"',
        ),
        (
            {"binary_classification_constraints": {"auc": {"threshold": 0.5, "comparison_operator": "Equals"}}},
            "binary_classification_constraints.auc.comparison_operator is .Equals., but must be .LessThanThreshold.",
        ),
        ({"binary_classification_constraints": BINARY, "regression_constraints": {}}, "one problem type"),
    ],
)
def test_wrong_content_is_refused_with_file_and_key(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_constraints(json.dumps(document).encode(), "c.json")
