"""Keeping numbers in NumPy, where the package was built without a compiler: the same bits as the compiled kernel.

While every bucket is one value, batches are sorted, so that equal numbers lie side by side. How wide buckets are is
remembered from batch to batch, for it never shrinks; once they are wider than a value, their rows are counted unsorted.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from driftline.kernels.distinct import SIZE, Registers, observe
from driftline.kernels.reference import (
    Buckets,
    Floats,
    Keys,
    coarsen,
    collapse,
    exact_sums,
    hash_keys,
    numbers_of,
    order_keys,
)

Buffer: TypeAlias = object
"""Anything with Python's buffer protocol."""

_MOST: Final = 1 << 17  # numbers that are sorted at once
_SPAN: Final = 1 << 16  # buckets of a batch, from its least to its greatest, that are counted without sorting
_HASHED: Final = 1 << 16  # keys that are hashed at once: threads contend for the interpreter at every call
_PENDING: Final = 16  # times the limit: buckets that wait until they are put together


class Kept(NamedTuple):
    """What an accumulator kept of its rows; equal for equal rows in any order and any split."""

    others: int
    """Finite numbers that are not zero."""
    zeros: int
    nans: int
    positive_infinities: int
    negative_infinities: int
    least: float
    """The least of the finite numbers that are not zero, as `greatest` is the greatest; 0.0 when there is none."""
    greatest: float
    sum: int
    """In units of 2^-1074."""
    squares: int
    """In units of 2^-2148."""
    buckets: Buckets
    registers: Registers | None
    """Of the numbers that are not zero; None while every bucket is one value."""


class InNumPy:
    """The accumulator in NumPy."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._others = self._zeros = self._nans = self._positive = self._negative = 0
        self._least = self._greatest = 0.0
        self._parts: list[Buckets] = []  # of one batch each, none wider than `_shift`
        self._waiting = 0  # buckets of all parts
        self._shift = 0
        # Of all rows, once buckets are wider than a value; before, they follow from the buckets.
        self._sum = self._squares = 0
        self._registers: Registers = np.zeros(SIZE, np.uint8)

    def add(self, sort: str, numbers: Buffer, validity: Buffer | None, offset: int, length: int) -> None:
        """Take in `length` numbers of a column after the first `offset`."""
        for start in range(offset, offset + length, _MOST):
            block = valid(sort, numbers, validity, start, min(_MOST, offset + length - start))
            if self._shift:
                self._take_in_unsorted(block.astype(np.float64, copy=False))
            else:
                self._take_in(_ascending(block))

    def kept(self) -> Kept:
        """All that was kept."""
        buckets = self._together()
        if buckets.shift == 0:
            self._sum, self._squares = exact_sums(numbers_of(buckets.keys), buckets.counts)
        return Kept(
            others=self._others,
            zeros=self._zeros,
            nans=self._nans,
            positive_infinities=self._positive,
            negative_infinities=self._negative,
            least=self._least,
            greatest=self._greatest,
            sum=self._sum,
            squares=self._squares,
            buckets=buckets,
            registers=self._registers if buckets.shift else None,
        )

    def _take_in(self, values: Floats) -> None:
        """Take in numbers in ascending order, NaN last."""
        left = np.searchsorted(values, [-np.inf, 0.0, np.inf, np.nan], "left").tolist()
        right = np.searchsorted(values, [-np.inf, 0.0], "right").tolist()
        self._zeros += right[1] - left[1]
        self._nans += len(values) - left[3]
        self._positive += left[3] - left[2]
        self._negative += right[0]
        negative, positive = values[right[0] : left[1]], values[right[1] : left[2]]
        keys = order_keys(negative, positive)
        if len(keys) == 0:
            return
        self._met(len(keys), *numbers_of(keys[[0, -1]]).tolist())
        part = collapse(coarsen(Buckets(0, keys, np.empty(0, np.int64), None), self._shift), self._limit)
        if part.shift:
            self._widen(part.shift)
            for numbers in (negative, positive):
                self._add_up(numbers)
            self._observe(keys)
        self._wait(part)

    def _take_in_unsorted(self, values: Floats) -> None:
        """Take in numbers in any order, where buckets are wider than a value."""
        if len(values) == 0:
            return
        least, greatest = float(values.min()), float(values.max())  # NaN where there is one
        if not -np.inf < least <= greatest < np.inf or (least <= 0.0 <= greatest and (values == 0.0).any()):
            size = np.abs(values)
            self._zeros += int(np.count_nonzero(size == 0.0))
            self._nans += int(np.count_nonzero(np.isnan(values)))
            self._positive += int(np.count_nonzero(values == np.inf))
            self._negative += int(np.count_nonzero(values == -np.inf))
            values = values[(size > 0.0) & (size < np.inf)]
            if len(values) == 0:
                return
            least, greatest = float(values.min()), float(values.max())
        self._met(len(values), least, greatest)
        self._add_up(values)
        none = values[:0]
        if least < 0.0 < greatest:
            for keys in (order_keys(values[values < 0.0], none), order_keys(none, values[values > 0.0])):
                self._count(keys)
        else:
            self._count(order_keys(values, none) if least < 0.0 else order_keys(none, values))

    def _count(self, keys: Keys) -> None:
        """Take in keys of one sign, in any order: those of the other sign are far away."""
        for start in range(0, len(keys), _HASHED):
            observe(self._registers, hash_keys(keys[start : start + _HASHED]))
        buckets = keys >> np.uint64(self._shift)
        least = buckets.min()
        if int(buckets.max() - least) < _SPAN:
            counts = np.bincount((buckets - least).view(np.int64))
            used = np.flatnonzero(counts)
            self._wait(Buckets(self._shift, used.view(np.uint64) + least, counts[used], None))
        else:
            buckets.sort()
            self._wait(coarsen(Buckets(self._shift, buckets, np.empty(0, np.int64), None), self._shift))

    def _met(self, count: int, least: float, greatest: float) -> None:
        """So many finite numbers that are not zero came, from `least` to `greatest`."""
        self._least = min(self._least, least) if self._others else least
        self._greatest = max(self._greatest, greatest) if self._others else greatest
        self._others += count

    def _add_up(self, numbers: Floats) -> None:
        first, second = exact_sums(numbers)
        self._sum += first
        self._squares += second

    def _wait(self, part: Buckets) -> None:
        """Keep the buckets of a batch until there are enough of them to put together."""
        self._parts.append(part)
        self._waiting += len(part.keys)
        if self._waiting > _PENDING * self._limit:
            self._together()

    def _widen(self, shift: int) -> None:
        if self._shift == 0:
            self._sum = self._squares = 0
            for part in self._parts:
                first, second = exact_sums(numbers_of(part.keys), part.counts)
                self._sum += first
                self._squares += second
                self._observe(part.keys)
        self._shift = max(shift, self._shift)

    def _observe(self, keys: Keys) -> None:
        """Take in the distinct values of ascending keys."""
        fresh = keys[1:] != keys[:-1]
        if 2 * np.count_nonzero(fresh) < len(keys):
            keys = keys[np.append(True, fresh)]
        for start in range(0, len(keys), _HASHED):
            observe(self._registers, hash_keys(keys[start : start + _HASHED]))

    def _together(self) -> Buckets:
        """The buckets of all parts, which become one part."""
        parts = self._parts or [Buckets(0, np.empty(0, np.uint64), np.empty(0, np.int64), None)]
        keys = np.concatenate([part.keys >> np.uint64(self._shift - part.shift) for part in parts])
        order = np.argsort(keys, kind="stable")
        counts = np.concatenate([part.counts for part in parts])[order]
        whole = collapse(Buckets(self._shift, keys[order], counts, None), self._limit)
        if whole.shift:
            self._widen(whole.shift)
        self._parts, self._waiting = [whole], len(whole.keys)
        return whole


def _ascending(block: npt.NDArray[Any]) -> Floats:
    """The numbers in ascending order, NaN last; integers that are near to each other are counted instead of sorted."""
    if block.dtype.kind in "iu" and len(block):
        least, greatest = int(block.min()), int(block.max())
        if greatest - least < _SPAN and max(abs(least), abs(greatest)) < 1 << 53:
            counts = np.bincount(block.astype(np.int64) - least)
            return np.repeat(np.arange(least, greatest + 1, dtype=np.float64), counts)
    ascending: Floats = block.astype(np.float64)
    ascending.sort()
    return ascending


def valid(sort: str, numbers: Buffer, validity: Buffer | None, offset: int, length: int) -> npt.NDArray[Any]:
    """The numbers that are not null."""
    values: npt.NDArray[Any] = np.frombuffer(cast("bytes", numbers), np.dtype(sort))[offset : offset + length]
    if validity is None:
        return values
    bits = np.frombuffer(cast("bytes", validity), np.uint8)[offset // 8 : (offset + length + 7) // 8]
    there = np.unpackbits(bits, bitorder="little")[offset % 8 :][:length].astype(bool)
    return cast("npt.NDArray[Any]", values[there])
