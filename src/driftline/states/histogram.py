"""The distribution of a column's numbers, in buckets of bits whose fineness depends on the data alone.

The 64 bits of a float64, arranged so that their order is that of the numbers, are its key; a bucket is a key without
its low `shift` bits, and `shift` is the least that leaves at most `limit` buckets in use. Buckets only nest, so the
state of the union is the same, bit for bit, whatever the split and the order of the rows.

Error: a bucket is exact (one value) at shift 0, which holds for up to `limit` distinct numbers; else its width
relative to its values is at most 2^(shift - 52). Ranks at the edges of buckets are exact everywhere: a distribution
function read at the edges is off by nothing, and between them by at most the share of one bucket. Zero (0.0 and -0.0),
NaN and the infinities are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.errors import Corrupt
from driftline.kernels.in_numpy import Kept
from driftline.kernels.reference import Buckets, coarsen, collapse, numbers_of, order_keys, union
from driftline.states.packing import PackedArray, pack_array, packed, unpack_array, unpacked
from driftline.states.reading import NO_NUMBERS, Numbers, column_of, read
from driftline.states.rows import NO_ROWS, ONE, Count, PackedCount, weights_of

LIMIT: Final = 4096
_GREATEST: Final = float(np.finfo(np.float64).max)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


def _nothing() -> Keys:
    return np.empty(0, np.uint64)


def _no_rows() -> Ints:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class HistogramState:
    """How many rows have their number in each bucket."""

    shift: int = 0
    keys: Keys = field(default_factory=_nothing)  # ascending
    counts: Ints = field(default_factory=_no_rows)  # rows per bucket
    weights: Ints | None = None  # their weights in units of 1 / ONE; None iff every row weighs ONE
    zero: Count = NO_ROWS
    nan: Count = NO_ROWS
    positive_infinity: Count = NO_ROWS
    negative_infinity: Count = NO_ROWS
    limit: int = LIMIT

    def lower_edges(self) -> Floats:
        """The least number of each bucket; zero is in none of them."""
        return _clipped(numbers_of(self.keys << np.uint64(self.shift)))

    def upper_edges(self) -> Floats:
        """The greatest number of each bucket, itself inside; equal to the lower edge where the bucket is exact."""
        low_bits = np.uint64((1 << self.shift) - 1)
        return _clipped(numbers_of((self.keys << np.uint64(self.shift)) | low_bits))

    def points(self, integral: bool = False) -> tuple[Floats, Ints, Ints]:
        """One value for each bucket, ascending, with its rows and their weights; zero is among them if there is one.

        Where a bucket holds more than one value, its middle stands for it, and of an `integral` column its edge
        nearest to zero, which is the only integer in the bucket unless the bucket is wider than 1.
        """
        lower, upper = self.lower_edges(), self.upper_edges()
        if self.shift == 0:
            values = lower
        elif integral:
            values = np.where(lower < 0, upper, lower)
        else:
            values = lower + (upper - lower) / 2
        counts, weights = self.counts, self.row_weights()
        if self.zero.n:
            at = int(np.count_nonzero(self.keys < np.uint64(1 << (63 - self.shift))))  # after the negative numbers
            # np.insert is much slower on histograms of few buckets.
            values = np.concatenate((values[:at], [0.0], values[at:]))
            counts = np.concatenate((counts[:at], [self.zero.n], counts[at:]))
            weights = np.concatenate((weights[:at], [self.zero.w], weights[at:]))
        return values, counts, weights

    def row_weights(self) -> Ints:
        """The weight of each bucket's rows, in units of 1 / ONE."""
        return self.counts * ONE if self.weights is None else self.weights

    @property
    def buckets(self) -> Buckets:
        """The buckets without their weights."""
        return self._buckets(None)

    @property
    def total(self) -> Count:
        """The finite numbers, zero among them."""
        return Count(int(self.counts.sum()), int(self.row_weights().sum())) + self.zero

    def coarsen(self, shift: int) -> HistogramState:
        """The same rows in the wider buckets of a greater shift."""
        if shift < self.shift:
            raise ValueError(f"buckets of shift {self.shift} cannot be split into those of {shift}")
        if shift == self.shift:
            return self
        return self._with(coarsen(self._buckets(self.weights), shift), self.weights is not None, HistogramState())

    def merge(self, other: HistogramState, /) -> HistogramState:
        """The numbers of both."""
        if self.limit != other.limit:
            raise ValueError(f"states of different limits do not merge: {self.limit} and {other.limit}")
        weighted = self.weights is not None or other.weights is not None
        left = self._buckets(self.row_weights() if weighted else None)
        right = other._buckets(other.row_weights() if weighted else None)
        return self._with(union(left, right, self.limit), weighted, other)

    def _buckets(self, weights: Ints | None) -> Buckets:
        return Buckets(self.shift, self.keys, self.counts, weights)

    def _with(self, buckets: Buckets, weighted: bool, other: HistogramState) -> HistogramState:
        return HistogramState(
            shift=buckets.shift,
            keys=buckets.keys,
            counts=buckets.counts,
            weights=buckets.weights if weighted else None,
            zero=self.zero + other.zero,
            nan=self.nan + other.nan,
            positive_infinity=self.positive_infinity + other.positive_infinity,
            negative_infinity=self.negative_infinity + other.negative_infinity,
            limit=self.limit,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HistogramState) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        apart = (self.zero, self.nan, self.positive_infinity, self.negative_infinity)
        # The first key and the steps between keys, so that most keys fit into two bytes.
        steps = np.diff(self.keys, prepend=np.zeros(1, np.uint64)) if len(self.keys) else self.keys
        weights = None if self.weights is None else pack_array(self.weights)
        counts = tuple((count.n, count.w) for count in apart)
        first = int(steps[0]) if len(steps) else 0
        return packed(
            "histogram",
            (self.shift, self.limit, first, pack_array(steps[1:]), pack_array(self.counts), weights, counts),
        )

    @classmethod
    def decode(cls, data: bytes) -> HistogramState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked(
            "histogram",
            data,
            tuple[int, int, int, PackedArray, PackedArray, PackedArray | None, list[PackedCount]],
        )
        shift, limit, first, steps, packed_counts, packed_weights, apart = fields
        counts = unpack_array(packed_counts).astype(np.int64)
        weights = None if packed_weights is None else unpack_array(packed_weights).astype(np.int64)
        keys = np.cumsum(np.append(np.uint64(first), unpack_array(steps)), dtype=np.uint64)[: max(1, len(counts))]
        keys = keys if len(counts) else _nothing()
        sizes = {len(keys), len(counts), len(counts if weights is None else weights)}
        if len(sizes) > 1 or len(apart) != 4 or not 0 <= shift < 64:
            raise Corrupt(f"a histogram with arrays of {sorted(sizes)} buckets at shift {shift}")
        zero, nan, positive, negative = (Count(*count) for count in apart)
        return cls(shift, keys, counts, weights, zero, nan, positive, negative, limit)

    @classmethod
    def of_kept(cls, kept: Kept, scale: int = ONE, limit: int = LIMIT) -> HistogramState:
        """The state of numbers that an accumulator kept, each of them weighing `scale`."""
        shift, keys, counts, _ = kept.buckets
        return cls(
            shift=shift,
            keys=keys,
            counts=counts,
            weights=None if scale == ONE or len(counts) == 0 else counts * scale,
            zero=Count(kept.zeros, kept.zeros * scale),
            nan=Count(kept.nans, kept.nans * scale),
            positive_infinity=Count(kept.positive_infinities, kept.positive_infinities * scale),
            negative_infinity=Count(kept.negative_infinities, kept.negative_infinities * scale),
            limit=limit,
        )

    @classmethod
    def of_ordered(cls, numbers: Numbers, limit: int = LIMIT) -> HistogramState:
        """The state of numbers in ascending order, NaN last."""
        values = numbers.values
        if len(values) == 0:
            return cls(limit=limit)
        left = np.searchsorted(values, [-np.inf, 0.0, np.inf, np.nan], "left").tolist()
        right = np.searchsorted(values, [-np.inf, 0.0], "right").tolist()
        negative = numbers.between(right[0], left[1])
        positive = numbers.between(right[1], left[2])
        buckets, weighted = _bucketed(negative, positive, limit)
        return cls(
            shift=buckets.shift,
            keys=buckets.keys,
            counts=buckets.counts,
            weights=buckets.weights if weighted else None,
            zero=numbers.between(left[1], right[1]).count,
            nan=numbers.between(left[3], len(values)).count,
            positive_infinity=numbers.between(left[2], left[3]).count,
            negative_infinity=numbers.between(0, right[0]).count,
            limit=limit,
        )


def _bucketed(negative: Numbers, positive: Numbers, limit: int) -> tuple[Buckets, bool]:
    """The buckets of both, and whether some row does not weigh ONE."""
    keys = order_keys(negative.values, positive.values)
    weights = None
    if negative.weights is not None and positive.weights is not None:
        weights = np.concatenate((negative.weights, positive.weights))
    buckets = collapse(Buckets(0, keys, _no_rows(), weights), limit)
    heavy = buckets.counts * positive.scale if buckets.weights is None else buckets.weights
    return buckets._replace(weights=heavy), not np.array_equal(heavy, buckets.counts * ONE)


def _clipped(edges: Floats) -> Floats:
    """Edges without NaN and infinities, which share the outermost buckets of a very coarse histogram."""
    finite = np.isfinite(edges)
    if not finite.all():
        edges = np.where(finite, edges, np.copysign(_GREATEST, edges))
    return edges + 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Keep the distribution of a column's numbers in at most `limit` buckets."""

    column: str
    limit: int = LIMIT

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def empty(self) -> HistogramState:
        """No numbers."""
        return HistogramState.of_ordered(NO_NUMBERS, self.limit)

    def of(self, batch: pa.RecordBatch, /) -> HistogramState:
        """The distribution of the column's numbers."""
        numbers = read(column_of(batch, self.column), weights_of(batch)).numbers
        return HistogramState.of_ordered(numbers.ordered(), self.limit)

    def decode(self, data: bytes, /) -> HistogramState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return HistogramState.decode(data)
