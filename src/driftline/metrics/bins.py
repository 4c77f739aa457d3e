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
from driftline.states.frequent import Counted, side_by_side
from driftline.states.histogram import HistogramState

Floats = npt.NDArray[np.float64]

SINGLE: Final = 2.0**-23
"""Numbers that are relatively as near as this may be one number in single precision."""
QUANTILE_BINS: Final = 10
"""Bins of numbers: tenths of the baseline, as is custom for the population stability index."""
CATEGORY_BINS: Final = 29
"""The most frequent values of the baseline that get a bin of their own, beside `the other ones` and `new ones`."""

ENOUGH_ROWS: Final = 50
"""How many rows of the baseline a value needs for a bin of its own, where there are more values than bins."""


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

    Two numbers that share a bucket of the coarser histogram are one place. So are, where not all are whole, a number
    of the window and the nearest of the baseline that single precision cannot tell apart: the same data written with
    fewer digits, or kept in float32, has not moved.

    Raises:
        Undefined: one side holds no number.
    """
    for which, column in (("window", current), ("baseline", baseline)):
        if not _weight(column.histogram, finite=finite):
            raise Undefined(f"the {which} has no number in this column")
    integral = all(column.kinds.fractional.n == 0 for column in (current, baseline))
    shift = max(current.histogram.shift, baseline.histogram.shift)
    sides = [_places(column.histogram.coarsen(shift), integral, finite) for column in (current, baseline)]
    ours = sides[0][0] if integral else _snapped(sides[0][0], sides[1][0])
    values = np.union1d(ours, sides[1][0])
    weights = np.zeros((2, len(values)))
    np.add.at(weights[0], np.searchsorted(values, ours), sides[0][1])
    weights[1, np.searchsorted(values, sides[1][0])] = sides[1][1]
    return values, _shares(weights[0], weights[1], current, baseline)


def _snapped(ours: Floats, theirs: Floats) -> Floats:
    """Each of ours, or the nearest of theirs where it is within the precision of a float32; both ascend."""
    after = np.minimum(np.searchsorted(theirs, ours), len(theirs) - 1)
    before = np.maximum(after - 1, 0)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        nearest = np.where(ours - theirs[before] < theirs[after] - ours, theirs[before], theirs[after])
        near = np.isfinite(ours) & (np.abs(nearest - ours) <= SINGLE * np.abs(ours))
    return np.where(near, nearest, ours)


def categories(current: ColumnState, baseline: ColumnState) -> Shares:
    """The shares of all values of both columns; beyond the limit of a state, those of a hash sample of the values.

    Raises:
        Undefined: one side has no value, or does not count its values one by one.
    """
    return _counted(current, baseline)[0]


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
        shares, seen = _counted(current, baseline)
        unseen = min(float(shares.q[seen == 1].sum()), float(shares.p[seen == 0].sum()))
        bins, shares = _category_bins(shares, seen), _with_rest(shares, unseen)
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
    if not finite and histogram.negative_infinity.n:
        places.insert(0, np.array([-np.inf]))
        heavy.insert(0, np.array([float(histogram.negative_infinity.w)]))
    if not finite and histogram.positive_infinity.n:
        places.append(np.array([np.inf]))
        heavy.append(np.array([float(histogram.positive_infinity.w)]))
    return np.concatenate(places), np.concatenate(heavy)


def _kept(current: ColumnState, baseline: ColumnState) -> tuple[Counted, Counted]:
    """The counted values of both, thinned to the same level, so that a value missing on one side is truly not there."""
    sides = []
    for which, column in (("window", current), ("baseline", baseline)):
        if column.kinds.present.n == 0:
            raise Undefined(f"the {which} has no value in this column")
        if column.values is None:
            raise Undefined(f"the {which} holds numbers in this column, whose values are not counted one by one")
        sides.append(column.values)
    level = max(side.level for side in sides)
    ours, theirs = (side.thinned(level) for side in sides)
    return ours, theirs


def _counted(current: ColumnState, baseline: ColumnState) -> tuple[Shares, npt.NDArray[np.int64]]:
    """The shares of all values, and the rows of each in the baseline."""
    ours, theirs = side_by_side(*_kept(current, baseline))
    totals = current.kinds.present.w, baseline.kinds.present.w
    shares = _shares(ours.heavy.astype(np.float64), theirs.heavy.astype(np.float64), current, baseline, totals)
    return shares, theirs.counts


def _category_bins(shares: Shares, seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bin of each value; then that of the values that no side keeps, and that of what the baseline did not see.

    The frequent ones among many are so partly by luck, and would look as if they had become rarer since. So where
    there are more values than bins, a value needs enough rows for luck to matter little.
    """
    other, new = CATEGORY_BINS, CATEGORY_BINS + 1
    bins = np.where(np.append(seen, [1, 0]) > 0, other, new)
    order = np.argsort(-shares.q, kind="stable")[:CATEGORY_BINS]
    enough = 1 if np.count_nonzero(seen) <= CATEGORY_BINS else ENOUGH_ROWS
    frequent = order[seen[order] >= enough]
    bins[frequent] = np.arange(len(frequent))
    return bins


def _with_rest(shares: Shares, unseen: float) -> Shares:
    """The shares with two more: of the values that no side keeps, and of what the baseline did not see.

    Good and Turing: the values that a sample has not seen have together about the share of those that it has seen once
    (Biometrika 40, 1953). New values are expected up to that share; else every window from a long tail would look new.
    """
    p, q = (np.append(side, max(0.0, 1.0 - float(side.sum()))) for side in (shares.p, shares.q))
    return Shares(np.append(p, 0.0), np.append(q * (1.0 - unseen), unseen), shares.n, shares.m)
