"""A constraint is an interval on a metric; judging a measurement gives holds, violated or unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor, log10, sqrt
from typing import Final

from driftline.errors import InputError
from driftline.metrics.interval import z
from driftline.metrics.metric import Estimate, Measurement


class Verdict(StrEnum):
    """What a constraint says of a window."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


class Mode(StrEnum):
    """How a constraint is judged: `point` compares the value, `confident` the whole interval."""

    POINT = "point"
    CONFIDENT = "confident"


@dataclass(frozen=True, slots=True)
class Constraint:
    """The metric of the column must lie in [low, high]; None is no bound."""

    metric: str
    column: str | None
    low: float | None = None
    high: float | None = None
    effect: float = 0.0
    """Smallest shortfall worth acting on, in the metric's unit; read in mode `confident` only."""
    best: float | None = None
    """The best value the metric can take: a window that shows it holds, however few rows it has."""
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """A constraint, what was measured, and the verdict with its reason in words."""

    constraint: Constraint
    measurement: Measurement
    verdict: Verdict
    reason: str


HOLDING_CONFIDENCE: Final = 0.95
"""How sure a window must be to hold: a false-alarm budget asks more of `violated`, but makes no window less healthy."""

_NEVER_SEEN: Final = 0.25
"""A baseline in which something never happened does not show that it never does: with a bound at the best value there
is, this part of the effect stands between the bound and the evidence."""

_HOPELESS: Final = 30.0  # times as wide as it may be: nobody waits for so many rows


def judge(
    constraint: Constraint,
    measurement: Measurement,
    mode: Mode,
    *,
    confidence: float | None = None,
    rows: int | None = None,
) -> Judgement:
    """Hold the measurement against the constraint.

    `point`: violated if the value lies outside [low, high], else holds.

    `confident`:
      - violated if the whole interval lies outside and the value is at least `effect` beyond the bound (where the
        bound is the best value there is, the interval must lie a quarter of the effect beyond it);
      - holds if the whole interval lies within `effect` of the allowed range, or the value is the best there is;
      - unknown in between: not enough evidence.

    A measurement without a value is unknown in both modes.

    Args:
        constraint, measurement, mode: what is held against what, and how.
        confidence: of the measurement's interval, if known. It is then named in the reason, and an interval wider than
            the one at 95 % is drawn in to that before the window is asked whether it holds.
        rows: how many rows the measurement rests on; the reason then says how many more would tell.
    """
    estimate = measurement.estimate
    if estimate is None:
        why = measurement.reason or "it was not measured"
        return Judgement(constraint, measurement, Verdict.UNKNOWN, f"{constraint.metric} has no value: {why}")
    if mode is Mode.POINT:
        beyond = _shortfall(constraint, estimate.value) > 0.0
        verdict = Verdict.VIOLATED if beyond else Verdict.HOLDS
    else:
        verdict = _confident(constraint, estimate, _drawn_in(constraint, estimate, confidence))
    reason = _words(constraint, estimate, verdict, mode, confidence)
    if verdict is Verdict.UNKNOWN:
        reason += _more_rows(constraint, estimate, _drawn_in(constraint, estimate, confidence), rows)
    return Judgement(constraint, measurement, verdict, reason)


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """What a window says as a whole: violated if one is; else unknown if one is, or none was judged; else holds."""
    verdicts = {judgement.verdict for judgement in judgements}
    if Verdict.VIOLATED in verdicts:
        return Verdict.VIOLATED
    return Verdict.HOLDS if verdicts == {Verdict.HOLDS} else Verdict.UNKNOWN


def per_test_confidence(budget: float, tests: int) -> float:
    """The confidence of each of so many tests, so that together they raise a false alarm with probability <= `budget`.

    >>> per_test_confidence(0.05, 100)
    0.9995
    """
    if not 0.0 < budget < 1.0:
        raise InputError(f"false-alarm budget {budget} is not between 0 and 1; it is a probability per window")
    return 1.0 - budget / max(1, tests)


def _shortfall(constraint: Constraint, value: float) -> float:
    """How far `value` lies beyond the bound that it breaks; 0 inside."""
    below = 0.0 if constraint.low is None else constraint.low - value
    above = 0.0 if constraint.high is None else value - constraint.high
    return max(0.0, below, above)


def _confident(constraint: Constraint, estimate: Estimate, narrow: Estimate) -> Verdict:
    low, high, effect = constraint.low, constraint.high, constraint.effect
    slack_low, slack_high = (_NEVER_SEEN * effect if bound == constraint.best else 0.0 for bound in (low, high))
    outside = (low is not None and estimate.high < low - slack_low) or (
        high is not None and estimate.low > high + slack_high
    )
    if outside and _shortfall(constraint, estimate.value) >= effect:
        return Verdict.VIOLATED
    inside = (low is None or narrow.low >= low - effect) and (high is None or narrow.high <= high + effect)
    if inside or (constraint.best is not None and estimate.value == constraint.best):
        return Verdict.HOLDS
    return Verdict.UNKNOWN


def _drawn_in(constraint: Constraint, estimate: Estimate, confidence: float | None) -> Estimate:
    """About the interval at 95 %.

    An end of what can at best be 1, as shares can, is drawn in on the scale of the root of the distance from there: on
    it shares near the best vary as shares in the middle do.
    """
    if confidence is None or confidence <= HOLDING_CONFIDENCE:
        return estimate
    ratio = z(HOLDING_CONFIDENCE) / z(confidence)
    low = estimate.value - (estimate.value - estimate.low) * ratio
    if constraint.low is not None and constraint.best is not None and estimate.value <= constraint.best:
        near, far = sqrt(constraint.best - estimate.value), sqrt(constraint.best - estimate.low)
        low = constraint.best - (near + (far - near) * ratio) ** 2
    return Estimate(estimate.value, low, estimate.value + (estimate.high - estimate.value) * ratio)


def _words(constraint: Constraint, estimate: Estimate, verdict: Verdict, mode: Mode, confidence: float | None) -> str:
    value, bound = estimate.value, _nearest_bound(constraint, estimate.value)
    text = f"{constraint.metric} {_number(value, bound)}"
    if mode is Mode.CONFIDENT and not estimate.exact:
        at = "" if confidence is None else f" at {confidence * 100:.6g} %"
        text += f" ({_number(estimate.low, value)} to {_number(estimate.high, value)}{at})"
    if verdict is Verdict.UNKNOWN:
        return f"not enough evidence: {text} against {_allowed(constraint, value)}"
    if verdict is Verdict.HOLDS:
        beyond = _shortfall(constraint, value) > 0.0
        within = f", by less than the {_number(constraint.effect)} worth acting on" if beyond else ""
        return f"{text} holds against {_allowed(constraint, value)}{within}"
    side = "below" if constraint.low is not None and value < constraint.low else "above"
    return f"{text} is {side} {_number(bound, value)}"


def _allowed(constraint: Constraint, value: float) -> str:
    low, high = constraint.low, constraint.high
    if low is not None and high is not None:
        return f"{_number(low, value)} to {_number(high, value)}"
    if low is not None:
        return f"at least {_number(low, value)}"
    return "no bound" if high is None else f"at most {_number(high, value)}"


def _nearest_bound(constraint: Constraint, value: float) -> float:
    bounds = [bound for bound in (constraint.low, constraint.high) if bound is not None]
    return min(bounds, key=lambda bound: abs(bound - value), default=value)


def _number(value: float, other: float | None = None) -> str:
    """`value` with three figures, or as many as it takes to tell it from `other`."""
    if value == other or other is None:
        return f"{value:.4g}"
    for figures in range(3, 17):
        text = f"{value:.{figures}g}"
        if text != f"{other:.{figures}g}":
            return text
    return repr(value)


def _more_rows(constraint: Constraint, estimate: Estimate, narrow: Estimate, rows: int | None) -> str:
    """About how many more rows would tell: intervals shrink with the root of the rows."""
    if not rows:
        return ""
    bound = _nearest_bound(constraint, estimate.value)
    beyond = bound - estimate.value if bound == constraint.low else estimate.value - bound
    # To be violated, the interval has to leave the bound; to hold, the narrower one has to come within the effect.
    violating = beyond > 0.0 and beyond >= constraint.effect
    gap, reach = beyond, (estimate.high - estimate.low) / 2
    if not violating:
        gap = constraint.effect - beyond
        reach = narrow.value - narrow.low if bound == constraint.low else narrow.high - narrow.value
    if gap <= 0.0:
        return "; too close to the bound for any number of rows to tell"
    if reach / gap > _HOPELESS:  # squared, it might not fit into float64
        return f"; not even {_HOPELESS**2:g} times the rows would tell"
    more = rows * ((reach / gap) ** 2 - 1)
    return f"; about {_rounded_up(more)} more rows would tell" if more > 0 else ""


def _rounded_up(rows: float) -> int:
    """Two leading figures, rounded up: a guess should look like one."""
    unit = int(10 ** max(0, floor(log10(max(rows, 1.0))) - 1))
    return ceil(rows / unit) * unit
