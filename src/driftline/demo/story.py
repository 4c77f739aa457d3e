"""What happened, day by day, as the catalog tells it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np

from driftline.catalog.catalog import Catalog
from driftline.catalog.ledger import Measured, Run, RunStatus
from driftline.constraints import Verdict
from driftline.demo.flights import COLUMNS, NEW_YORK, Flights
from driftline.demo.model import Model, auc
from driftline.errors import InputError
from driftline.metrics.metric import Estimate

INPUTS: Final = "flights-inputs"
QUALITY: Final = "flights-quality"
METRIC: Final = "auc"
DISTANCES: Final = ("ks", "linf")


@dataclass(frozen=True, slots=True)
class Day:
    """One daily window, as both monitors saw it."""

    day: date
    inputs: Verdict | None
    quality: Verdict | None
    """What is said of the AUC."""
    auc: Estimate | None
    distances: Mapping[str, float]
    """How far each input is from January and February, corrected for the size of the sample."""
    labelled: float | None
    revision: int


@dataclass(frozen=True, slots=True)
class Story:
    """All days, and the events that the chart marks."""

    days: tuple[Day, ...]
    bound: float
    """The AUC of the baseline."""
    firing: tuple[tuple[date, date | None], ...]
    """From the day whose window raised the alarm to the day that cleared it (None: it is still up)."""
    retrained: tuple[date, ...]
    """The first day that a new model answered."""
    unmended: Mapping[date, float]
    """What the AUC would have been, had the first model stayed."""


def days_of(catalog: Catalog, last: int = 1000) -> Iterator[Day]:
    """The latest revision of the last so many windows, in the order of time."""
    inputs = {run.window: run for run in _history(catalog, INPUTS, last)}
    for run in _history(catalog, QUALITY, last):
        looked = inputs.get(run.window)
        measured = _found(catalog, run)
        known = measured.get((METRIC, None))
        yield Day(
            day=day_of(run.window.start),
            inputs=None if looked is None else looked.verdict,
            quality=run.verdict if known is None else known.verdict,
            auc=None if known is None else known.measurement.estimate,
            distances={} if looked is None else _distances(_found(catalog, looked)),
            labelled=run.coverage,
            revision=run.revision,
        )


def day_of(at: datetime) -> date:
    """The local day of a time."""
    return at.astimezone(NEW_YORK).date()


def had_it_stayed(first: Model, flights: Flights, since: date) -> dict[date, float]:
    """The daily AUC of a model on the same flights, from a day on."""
    found = {}
    for day, some in flights.by_day():
        if day >= since and 0 < some.late.sum() < len(some):
            found[day] = auc(some.late, np.asarray(first.probabilities(some.facts)))
    return found


def mean_auc(days: Iterable[Day]) -> float | None:
    """The mean over the days that have one."""
    values = [day.auc.value for day in days if day.auc is not None]
    return sum(values) / len(values) if values else None


def _history(catalog: Catalog, monitor: str, last: int) -> list[Run]:
    return [run for run in catalog.ledger.history(monitor, last) if run.status is RunStatus.DONE]


def _found(catalog: Catalog, run: Run) -> dict[tuple[str, str | None], Measured]:
    return {(m.measurement.metric, m.measurement.column): m for m in catalog.ledger.measured(run.id)}


def _distances(found: Mapping[tuple[str, str | None], Measured]) -> dict[str, float]:
    distances: dict[str, float] = {}
    for metric in DISTANCES:
        for column in COLUMNS:
            measured = found.get((metric, column))
            if measured is not None and measured.measurement.value is not None:
                distances[column] = measured.measurement.value
    return distances


def require_days(days: Iterable[Day]) -> tuple[Day, ...]:
    """The days, if there are any. Raises InputError."""
    found = tuple(days)
    if not found:
        raise InputError("no window was looked at; did the worker run?")
    return found
