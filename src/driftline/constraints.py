"""A constraint is an interval on a metric; judging a measurement gives holds, violated or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from driftline.metrics.metric import Measurement


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


def judge(constraint: Constraint, measurement: Measurement, mode: Mode) -> Judgement:
    """Hold the measurement against the constraint.

    `point`: violated if the value lies outside [low, high]. `confident`: violated if the whole interval lies outside and
    the value is at least `effect` beyond the bound; holds if the whole interval lies within `effect` of the allowed
    range, or the value is the best there is; unknown in between (not enough evidence). A measurement without a value is unknown.
    """
    raise NotImplementedError
