"""A metric is a pure function from states to an estimate: a number, and how sure we are of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec

from driftline.errors import Undefined

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; an exact number has `low == value == high`."""

    value: float
    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether there is no uncertainty at all."""
        return self.low == self.high


def exactly(value: float) -> Estimate:
    """An estimate without uncertainty."""
    return Estimate(value, value, value)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one column (None: of the whole table) in one segment (None: all rows)."""

    metric: str
    column: str | None
    estimate: Estimate | None
    reason: str | None = None
    """Why there is no estimate."""
    segment: str | None = None

    @property
    def value(self) -> float | None:
        """The number, or None where the metric is undefined."""
        return None if self.estimate is None else self.estimate.value


@dataclass(frozen=True)
class Metric(Generic[P]):
    """A metric's function and what a reader must know about it. Calling it gives an Estimate or raises Undefined."""

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    low: float | None
    high: float | None
    source: str
    function: Callable[P, Estimate]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Estimate:
        """The estimate; raises Undefined with the reason where there is none."""
        return self.function(*args, **kwargs)

    @property
    def summary(self) -> str:
        """The first line of the docstring: what users see."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


def metric(
    *,
    unit: str,
    better: Literal["higher", "lower", "neither"],
    source: str,
    low: float | None = None,
    high: float | None = None,
) -> Callable[[Callable[P, Estimate]], Metric[P]]:
    """Declare a metric: `low` and `high` bound the values it can take."""

    def declare(function: Callable[P, Estimate]) -> Metric[P]:
        return Metric(function.__name__, unit, better, low, high, source, function)

    return declare


def measure(metric: Metric[Any], column: str | None, *states: object, confidence: float) -> Measurement:
    """The metric's estimate, or the reason why it has none."""
    try:
        return Measurement(metric.name, column, metric(*states, confidence=confidence))
    except Undefined as why:
        return Measurement(metric.name, column, None, str(why))
