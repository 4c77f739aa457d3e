"""Two columns over the same places: every number, every category, or a few bins that the baseline sets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

from driftline.errors import Undefined
from driftline.metrics.interval import effective, sums
from driftline.states.column import ColumnState
from driftline.states.frequent import FrequentState
from driftline.states.histogram import HistogramState

Floats = npt.NDArray[np.float64]

QUANTILE_BINS: Final = 10
"""Bins of numbers: tenths of the baseline, as is custom for the population stability index."""
CATEGORY_BINS: Final = 29
"""The most frequent values of the baseline that get a bin of their own, beside `the other ones` and `new ones`."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a window (p) and of the baseline (q) in the same places, and the effective rows behind them."""

    p: Floats
    q: Floats
    n: float
    m: float

    @property
    def noise(self) -> float:
        """sqrt(1/n + 1/m): the scale on which two samples of these sizes differ by chance."""
        return sqrt(1 / self.n + 1 / self.m)

    @property
    def pooled(self) -> Floats:
        """The shares of both together: the best guess if nothing has moved."""
        pooled = (self.n * self.p + self.m * self.q) / (self.n + self.m)
        return np.asarray(pooled / pooled.sum())

    @property
    def seed(self) -> int:
        """Equal shares give equal draws."""
        digest = hashlib.blake2b(self.p.tobytes() + self.q.tobytes() + np.array([self.n, self.m]).tobytes())
        return int.from_bytes(digest.digest()[:8], "big")


def numbers(current: ColumnState, baseline: ColumnState, *, finite: bool = False) -> tuple[Floats, Shares]:
    """All numbers of both columns, ascending, and their shares. NaN is left out, infinities only if `finite`.

    Two numbers that share a bucket of the coarser histogram are one place.

    Raises:
        Undefined: one side holds no number.
    """
    for which, column in (("window", current), ("baseline", baseline)):
        if not _weight(column.histogram, finite=finite):
            raise Undefined(f"the {which} has no number in this column")
    integral = all(column.kinds.fractional.n == 0 for column in (current, baseline))
    shift = max(current.histogram.shift, baseline.histogram.shift)
    sides = [_places(column.histogram.coarsen(shift), integral, finite) for column in (current, baseline)]
    values = np.union1d(sides[0][0], sides[1][0])
    weights = np.zeros((2, len(values)))
    for row, (at, weight) in zip(weights, sides, strict=True):
        row[np.searchsorted(values, at)] = weight
    return values, _shares(weights[0], weights[1], current, baseline)


def categories(current: ColumnState, baseline: ColumnState) -> tuple[list[str], Shares]:
    """All values of both columns, and their shares; beyond the limit of a state, those of a hash sample of the values.

    Raises:
        Undefined: one side has no value, or does not count its values one by one.
    """
    ours, theirs = _kept(current, baseline)
    names = sorted(ours.values.keys() | theirs.values.keys())
    totals = current.kinds.present.w, baseline.kinds.present.w
    return names, _shares(_weights_of(ours, names), _weights_of(theirs, names), current, baseline, totals)


def few(current: ColumnState, baseline: ColumnState) -> Shares:
    """At most 10 bins of numbers, or 31 of categories. The baseline alone sets them, so windows can be compared.

    Raises:
        Undefined: as `numbers` and `categories`.
    """
    if baseline.kinds.kind.numeric:
        _, shares = numbers(current, baseline)
        middle = np.cumsum(shares.q) - shares.q / 2
        bins = np.minimum((middle * QUANTILE_BINS).astype(np.int64), QUANTILE_BINS - 1)
        _, bins = np.unique(bins, return_inverse=True)
    else:
        names, shares = categories(current, baseline)
        bins = _category_bins(names, shares)
        shares = _with_rest(shares)
    p, q = sums(bins, shares.p), sums(bins, shares.q)
    used = (p > 0) | (q > 0)
    return Shares(p[used], q[used], shares.n, shares.m)


def _shares(
    ours: Floats,
    theirs: Floats,
    current: ColumnState,
    baseline: ColumnState,
    totals: tuple[int, int] | None = None,
) -> Shares:
    w, v = totals or (int(ours.sum()), int(theirs.sum()))
    n = effective(w, current.rows.w, current.rows.w2)
    m = effective(v, baseline.rows.w, baseline.rows.w2)
    return Shares(ours / w, theirs / v, n, m)


def _weight(histogram: HistogramState, *, finite: bool) -> int:
    infinite = histogram.positive_infinity.w + histogram.negative_infinity.w
    return histogram.total.w + (0 if finite else infinite)


def _places(histogram: HistogramState, integral: bool, finite: bool) -> tuple[Floats, Floats]:
    values, _, weights = histogram.points(integral=integral)
    places, heavy = [values], [weights.astype(np.float64)]
    if not finite:
        for at, count in ((-np.inf, histogram.negative_infinity), (np.inf, histogram.positive_infinity)):
            if count.n:
                places.append(np.array([at]))
                heavy.append(np.array([float(count.w)]))
    return np.concatenate(places), np.concatenate(heavy)


def _kept(current: ColumnState, baseline: ColumnState) -> tuple[FrequentState, FrequentState]:
    """The counted values of both, thinned to the same level, so that a value missing on one side is truly not there."""
    sides = []
    for which, column in (("window", current), ("baseline", baseline)):
        if column.kinds.present.n == 0:
            raise Undefined(f"the {which} has no value in this column")
        if column.values is None:
            raise Undefined(f"the {which} holds numbers in this column, whose values are not counted one by one")
        sides.append(column.values)
    level = max(side.level for side in sides)
    ours, theirs = (side.merge(FrequentState(level=level, limit=side.limit)) for side in sides)
    return ours, theirs


def _weights_of(state: FrequentState, names: list[str]) -> Floats:
    weights = (state.values[name].w if name in state.values else 0 for name in names)
    return np.fromiter(weights, np.float64, len(names))


def _category_bins(names: list[str], shares: Shares) -> npt.NDArray[np.int64]:
    """The bin of each name and, last, of the values that no side keeps: these cannot be told from known ones."""
    other, new = CATEGORY_BINS, CATEGORY_BINS + 1
    order = np.argsort(-shares.q, kind="stable")[:CATEGORY_BINS]
    bins = np.full(len(names) + 1, other, np.int64)
    bins[:-1][shares.q == 0.0] = new
    frequent = order[shares.q[order] > 0.0]
    bins[frequent] = np.arange(len(frequent))
    return bins


def _with_rest(shares: Shares) -> Shares:
    p, q = (np.append(side, max(0.0, 1.0 - float(side.sum()))) for side in (shares.p, shares.q))
    return Shares(p, q, shares.n, shares.m)
