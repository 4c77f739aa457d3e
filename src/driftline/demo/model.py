"""The delay model: a logistic regression over the timetable, small enough to be read, stored as plain JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from driftline.demo.flights import COLUMNS, Flight
from driftline.errors import Corrupt, InputError, NotFound

Term: TypeAlias = tuple[str, ...]
TERMS: Final[tuple[Term, ...]] = (
    ("hour",),
    ("arrival",),
    ("carrier",),
    ("origin",),
    ("destination",),
    ("origin", "hour"),
    ("origin", "carrier"),
    ("carrier", "hour"),
    ("origin", "destination"),
)
"""What has a weight: each value of these columns, and each pair of values. Neither month nor day is among them."""
FOLDS: Final = 5
_SEEN_AT_LEAST: Final = 20
"""A rarer value gets no weight of its own."""
_STRENGTH: Final = 0.05
"""Inverse of the ridge penalty: days differ so much that weights must be held back."""
FORMAT: Final = 1


class Trained(NamedTuple):
    """Where a model comes from."""

    first: str
    """First day of its training, YYYY-MM-DD."""
    last: str
    rows: int
    late_share: float
    auc: float
    """Out of sample: every day is answered by a model that has not seen it."""


@dataclass(frozen=True, slots=True)
class Model:
    """Weights by value; the answer is the logistic function of their sum."""

    version: str
    trained: Trained
    intercept: float
    weights: tuple[Mapping[str, float], ...]
    """One mapping per term, from the joined values to the weight; an unknown value weighs nothing."""

    def probability(self, flight: Flight) -> float:
        """The probability that the flight arrives more than 15 minutes late."""
        sum_ = self.intercept
        for weights, value in zip(self.weights, _values(flight), strict=True):
            sum_ += weights.get(value, 0.0)
        return 1 / (1 + math.exp(-sum_))

    def probabilities(self, flights: Iterable[Flight]) -> npt.NDArray[np.float64]:
        """The probability of each flight, in their order."""
        return np.fromiter(map(self.probability, flights), np.float64)


def train(
    facts: Sequence[Flight], late: npt.NDArray[np.int64], days: npt.NDArray[np.int64], version: str
) -> tuple[Model, npt.NDArray[np.float64]]:
    """A model of these flights, and for each of them the answer of a model that has not seen its day.

    Flights of one day share their weather: a split of flights, rather than days, would promise too much.

    Args:
        facts: what is known of each flight before it departs.
        late: the truth, 1 or 0.
        days: the day of each, counted from 1 January 1970.

    Raises:
        InputError: too few flights or days, or none (or all) of them late.
    """
    kinds = len(np.unique(late))
    if len(facts) < 1000 or kinds < 2 or len(np.unique(days)) < FOLDS:
        raise InputError(
            f"{len(facts)} flights of {len(np.unique(days))} days with {kinds} outcomes are too few to learn from; "
            f"give 1,000 flights of {FOLDS} days or more, late ones and others"
        )
    coded = _code(facts)
    held_out = np.empty(len(facts))
    for fold in range(FOLDS):
        out = days % FOLDS == fold
        if out.any():
            intercept, weights = _fit(coded, late, ~out)
            held_out[out] = _answers(coded, intercept, weights)[out]
    intercept, weights = _fit(coded, late, np.ones(len(facts), bool))
    first, last = (str(np.datetime64(int(day), "D")) for day in (days.min(), days.max()))
    trained = Trained(first, last, len(facts), round(float(late.mean()), 4), round(auc(late, held_out), 4))
    named = tuple(
        {value: round(float(w), 6) for value, w in zip(column.values, weight, strict=True) if w != 0.0}
        for column, weight in zip(coded, weights, strict=True)
    )
    return Model(version, trained, round(intercept, 6), named), held_out


def auc(late: npt.NDArray[np.int64], score: npt.NDArray[np.float64]) -> float:
    """The share of pairs of a late and a punctual flight in which the late one scores higher; ties are halves."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    positives = int(late.sum())
    pairs = positives * (len(late) - positives)
    if pairs == 0:
        raise InputError("an AUC needs late flights and others")
    return float((rank[place][late == 1].sum() - positives * (positives + 1) / 2) / pairs)


def save(model: Model, path: Path) -> None:
    """Write the model whole: a reader finds the one before or this one, never a part."""
    data = {
        "format": FORMAT,
        "version": model.version,
        "trained": model.trained._asdict(),
        "inputs": list(COLUMNS),
        "intercept": model.intercept,
        "weights": {"+".join(term): dict(weights) for term, weights in zip(TERMS, model.weights, strict=True)},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def load(path: Path) -> Model:
    """The model of a file.

    Raises:
        NotFound: there is no such file.
        Corrupt: it is not a model of this demo.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        weights = tuple(data["weights"]["+".join(term)] for term in TERMS)
        return Model(data["version"], Trained(**data["trained"]), data["intercept"], weights)
    except FileNotFoundError as why:
        raise NotFound(f"{path}: there is no model here; train one") from why
    except (ValueError, KeyError, TypeError) as why:
        raise Corrupt(f"{path} is not a model of the flights demo, format {FORMAT}: {why!r}") from why


def _values(flight: Flight) -> tuple[str, ...]:
    """The values of the terms, in their order."""
    hour, arrival, _, carrier, origin, destination = flight
    return (
        str(hour),
        str(arrival // 100),
        carrier,
        origin,
        destination,
        f"{origin} {hour}",
        f"{origin} {carrier}",
        f"{carrier} {hour}",
        f"{origin} {destination}",
    )


@dataclass(frozen=True, slots=True)
class _Coded:
    """One term over all flights: its distinct values, and the place of each flight's value among them."""

    values: list[str]
    place: npt.NDArray[np.int64]


def _code(facts: Iterable[Flight]) -> list[_Coded]:
    coded = []
    for column in zip(*map(_values, facts), strict=True):
        places: dict[str, int] = {}
        place = np.fromiter((places.setdefault(value, len(places)) for value in column), np.int64)
        coded.append(_Coded(list(places), place))
    return coded


def _fit(
    coded: Sequence[_Coded], late: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]
) -> tuple[float, list[npt.NDArray[np.float64]]]:
    """Intercept, and a weight for every value of every term (0 for the rare ones)."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression

    chosen = np.flatnonzero(rows)
    blocks: list[Any] = []
    kept: list[npt.NDArray[np.int64]] = []
    for column in coded:
        place = column.place[chosen]
        frequent = np.flatnonzero(np.bincount(place, minlength=len(column.values)) >= _SEEN_AT_LEAST)
        ones = csr_matrix((np.ones(len(place)), (np.arange(len(place)), place)), shape=(len(place), len(column.values)))
        blocks.append(ones[:, frequent])
        kept.append(frequent)
    fitted = LogisticRegression(C=_STRENGTH, max_iter=300).fit(hstack(blocks, format="csr"), late[chosen])
    parts = np.split(fitted.coef_[0], np.cumsum([len(frequent) for frequent in kept])[:-1])
    weights = []
    for column, frequent, part in zip(coded, kept, parts, strict=True):
        weight = np.zeros(len(column.values))
        weight[frequent] = part
        weights.append(weight)
    return float(fitted.intercept_[0]), weights


def _answers(
    coded: Sequence[_Coded], intercept: float, weights: Sequence[npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    total = np.full(len(coded[0].place), intercept)
    for column, weight in zip(coded, weights, strict=True):
        total += weight[column.place]
    answers: npt.NDArray[np.float64] = 1 / (1 + np.exp(-total))
    return answers
