from __future__ import annotations

import pytest

from driftline.constraints import Constraint, Judgement, Mode, Verdict, judge, overall, per_test_confidence
from driftline.errors import InputError
from driftline.metrics.interval import binomial, wilson
from driftline.metrics.metric import Estimate, Measurement, exactly

H, V, U = Verdict.HOLDS, Verdict.VIOLATED, Verdict.UNKNOWN


def measured(value: float, low: float | None = None, high: float | None = None, metric: str = "auc") -> Measurement:
    return Measurement(metric, None, Estimate(value, value if low is None else low, value if high is None else high))


def at_least(bound: float, effect: float = 0.0, best: float | None = None, metric: str = "auc") -> Constraint:
    return Constraint(metric, None, low=bound, effect=effect, best=best)


def at_most(bound: float, effect: float = 0.0, best: float | None = None) -> Constraint:
    return Constraint("ks", None, high=bound, effect=effect, best=best)


@pytest.mark.parametrize(
    ("constraint", "measurement", "verdict"),
    [
        (at_least(0.75), measured(0.74, 0.6, 0.9), V),
        (at_least(0.75), measured(0.75, 0.6, 0.9), H),
        (at_most(0.1), measured(0.11, 0.0, 0.2), V),
        (at_most(0.1), measured(0.1, 0.0, 0.2), H),
        (Constraint("mean", "x", 1.0, 2.0), measured(2.5, 0.0, 9.0), V),
        (Constraint("mean", "x", 1.0, 2.0), measured(1.5, 0.0, 9.0), H),
        (Constraint("mean", "x"), measured(1e9), H),
    ],
    ids=["below", "at the low bound", "above", "at the high bound", "above both", "between", "no bound"],
)
def test_point_compares_the_value_alone(constraint: Constraint, measurement: Measurement, verdict: Verdict) -> None:
    assert judge(constraint, measurement, Mode.POINT).verdict is verdict


@pytest.mark.parametrize(
    ("constraint", "measurement", "verdict"),
    [
        (at_least(0.75), measured(0.70, 0.66, 0.74), V),
        (at_least(0.75), measured(0.70, 0.60, 0.80), U),
        (at_least(0.75), measured(0.80, 0.76, 0.84), H),
        (at_least(0.75), measured(0.80, 0.70, 0.90), U),
        (at_least(0.75, effect=0.05), measured(0.74, 0.71, 0.77), H),
        (at_least(0.75, effect=0.05), measured(0.73, 0.72, 0.74), H),
        (at_least(0.75, effect=0.05), measured(0.71, 0.68, 0.74), U),
        (at_least(0.75, effect=0.05), measured(0.69, 0.65, 0.73), V),
        (at_least(1.0, best=1.0), measured(1.0, 0.8, 1.0), H),
        (at_least(1.0), measured(1.0, 0.8, 1.0), U),
        (at_least(0.0), measured(-1.0), V),
        (at_least(0.0), measured(0.0), H),
        (at_least(0.0, effect=2.0), measured(-1.0), H),
        (at_most(0.1), measured(0.30, 0.15, 0.40), V),
        (at_most(0.1), measured(0.30, 0.05, 0.40), U),
        (at_most(0.1, best=0.0), measured(0.0, 0.0, 0.30), H),
        (Constraint("mean", "x", 1.0, 2.0), measured(1.5, 1.1, 1.9), H),
        (Constraint("mean", "x", 1.0, 2.0), measured(1.5, 0.9, 1.9), U),
        (Constraint("mean", "x", 1.0, 2.0), measured(2.5, 2.1, 2.9), V),
        (Constraint("mean", "x", 1.0, 2.0), measured(0.5, 0.1, 0.9), V),
    ],
    ids=[
        "the whole interval is below",
        "the value is below, but the interval is not",
        "the whole interval is above",
        "the interval sticks out",
        "it sticks out by less than matters",
        "surely below, and surely by less than matters",
        "surely below, but perhaps by less than matters",
        "surely below, and by more than matters",
        "the best there is holds with any interval",
        "without a best, the interval decides",
        "exact and outside",
        "exact and on the bound",
        "exact, outside, by less than matters",
        "the whole interval is above the high bound",
        "chance could explain it",
        "no distance at all",
        "between both bounds",
        "sticks out below",
        "above both",
        "below both",
    ],
)
def test_confident_asks_the_whole_interval(constraint: Constraint, measurement: Measurement, verdict: Verdict) -> None:
    assert judge(constraint, measurement, Mode.CONFIDENT).verdict is verdict


@pytest.mark.parametrize("mode", list(Mode))
def test_no_value_is_unknown_and_says_why(mode: Mode) -> None:
    judgement = judge(at_least(0.7), Measurement("auc", None, None, "only one class"), mode)
    assert judgement.verdict is U
    assert judgement.reason == "auc has no value: only one class"


@pytest.mark.parametrize(
    ("constraint", "measurement", "mode", "confidence", "rows", "reason"),
    [
        (
            Constraint("completeness", "age", low=1.0),
            measured(0.968, 0.9512, 0.981, "completeness"),
            Mode.CONFIDENT,
            0.95,
            None,
            "completeness 0.968 (0.951 to 0.981 at 95 %) is below 1",
        ),
        (
            at_least(0.75),
            measured(0.71, 0.60, 0.82),
            Mode.CONFIDENT,
            0.95,
            40,
            "not enough evidence: auc 0.71 (0.6 to 0.82 at 95 %) against at least 0.75; about 270 more rows would tell",
        ),
        (
            at_least(0.75),
            measured(0.75, 0.60, 0.82),
            Mode.CONFIDENT,
            None,
            40,
            "not enough evidence: auc 0.75 (0.6 to 0.82) against at least 0.75; "
            "too close to the bound for any number of rows to tell",
        ),
        (at_most(0.1), measured(0.05), Mode.POINT, None, None, "ks 0.05 holds against at most 0.1"),
        (at_most(0.1), measured(0.3, 0.2, 0.4), Mode.POINT, None, None, "ks 0.3 is above 0.1"),
        (
            Constraint("completeness", "age", low=1.0),
            measured(0.99996, metric="completeness"),
            Mode.POINT,
            None,
            None,
            "completeness 0.99996 is below 1",
        ),
        (
            at_least(0.75, effect=0.05),
            measured(0.74, 0.71, 0.77),
            Mode.CONFIDENT,
            None,
            None,
            "auc 0.74 (0.71 to 0.77) holds against at least 0.75, by less than the 0.05 worth acting on",
        ),
        (
            Constraint("mean", "x", 1.0, 2.0),
            measured(1.5, metric="mean"),
            Mode.CONFIDENT,
            None,
            None,
            "mean 1.5 holds against 1 to 2",
        ),
    ],
    ids=["below", "more rows", "too close", "holds", "above", "enough figures", "less than matters", "range"],
)
def test_the_reason_can_be_read(
    constraint: Constraint,
    measurement: Measurement,
    mode: Mode,
    confidence: float | None,
    rows: int | None,
    reason: str,
) -> None:
    assert judge(constraint, measurement, mode, confidence=confidence, rows=rows).reason == reason


def test_the_rows_asked_for_would_tell() -> None:
    constraint = at_least(0.9, metric="recall")
    judgement = judge(constraint, Measurement("recall", None, wilson(0.85, 20, 0.95)), Mode.CONFIDENT, rows=20)
    assert judgement.verdict is U
    more = int(judgement.reason.split("about ")[1].split(" ")[0])
    again = Measurement("recall", None, wilson(0.85, round(20 + 1.2 * more), 0.95))
    assert judge(constraint, again, Mode.CONFIDENT).verdict is V


def test_a_strict_budget_does_not_make_a_healthy_window_unknown() -> None:
    constraint = at_least(0.9, effect=0.03, metric="accuracy")
    measurement = Measurement("accuracy", None, wilson(0.9, 600, 0.9999))
    assert judge(constraint, measurement, Mode.CONFIDENT).verdict is U
    assert judge(constraint, measurement, Mode.CONFIDENT, confidence=0.9999).verdict is H


def test_one_value_that_the_baseline_never_saw_is_no_evidence() -> None:
    constraint = at_least(1.0, effect=0.02, best=1.0, metric="domain_share")
    for unseen, rows, verdict in ((1, 30, U), (6, 30, V), (2, 1000, H), (40, 1000, V)):
        measurement = Measurement("domain_share", None, binomial(1 - unseen / rows, rows, 0.9999))
        assert judge(constraint, measurement, Mode.CONFIDENT, confidence=0.9999).verdict is verdict


def test_a_share_near_its_best_holds_as_at_95_percent_whatever_the_budget() -> None:
    constraint = at_least(1.0, effect=0.02, best=1.0, metric="domain_share")
    for rows in (150, 400, 800):
        at_95 = judge(constraint, Measurement("domain_share", None, binomial(1 - 1 / rows, rows, 0.95)), Mode.CONFIDENT)
        strict = Measurement("domain_share", None, binomial(1 - 1 / rows, rows, 0.999))
        assert judge(constraint, strict, Mode.CONFIDENT, confidence=0.999).verdict is at_95.verdict


def test_an_interval_without_end_is_unknown_and_says_that_rows_will_not_help() -> None:
    reason = judge(at_most(0.1), measured(0.05, 0.0, 1e308), Mode.CONFIDENT, rows=1).reason
    assert reason.endswith("not even 900 times the rows would tell")


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [([H, H], H), ([H, U], U), ([V, U, H], V), ([U], U), ([], U)],
    ids=["all hold", "one is unknown", "one is violated", "nothing is known", "nothing was asked"],
)
def test_the_worst_constraint_speaks_for_the_window(verdicts: list[Verdict], whole: Verdict) -> None:
    judgements = [Judgement(at_most(0.1), Measurement("ks", None, exactly(0.0)), v, "") for v in verdicts]
    assert overall(judgements) is whole


def test_the_budget_is_shared_by_the_tests() -> None:
    assert per_test_confidence(0.05, 50) == pytest.approx(0.999)
    assert per_test_confidence(0.05, 0) == 0.95


@pytest.mark.parametrize("budget", [0.0, 1.0, -0.1, 5.0])
def test_a_budget_that_is_no_probability_is_refused(budget: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        per_test_confidence(budget, 3)
