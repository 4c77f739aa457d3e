"""Keeping numbers: exact sums, buckets and registers of columns that come in batches.

Two accumulators give the same bits: the compiled one, where the package was built with a compiler, and the one in
NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from driftline.kernels import distinct, reference
from driftline.kernels.distinct import Registers
from driftline.kernels.reference import Buckets, Floats, Ints, Keys, collapse, exact_sums, hash_keys, order_keys, union

try:
    from driftline.kernels import _native
except ImportError:  # the package was built without a compiler
    _native = None  # type: ignore[assignment]

SORTS: Final = "bBhHiIqQfd"
"""The types of numbers that an accumulator takes in, as in the struct module."""


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


class Accumulator(Protocol):
    """Takes in numbers; for one thread."""

    def add(self, sort: str, numbers: Buffer, validity: Buffer | None, offset: int, length: int, /) -> None:
        """Take in `length` numbers of a column after the first `offset`; validity has one bit per number, if any."""
        ...

    def kept(self) -> Kept:
        """All that was kept."""
        ...


Buffer: TypeAlias = object
"""Anything with Python's buffer protocol."""


class Compiled:
    """The compiled accumulator."""

    def __init__(self, limit: int) -> None:
        self._native = _native.Accumulator(limit)
        self.add = self._native.add

    def kept(self) -> Kept:
        """All that was kept."""
        others, zeros, nans, positive, negative, least, greatest, sums, buckets, registers = self._native.result()
        plus, minus, squares = (int.from_bytes(each, "little") for each in sums)
        shift, keys, counts = buckets
        return Kept(
            others=others,
            zeros=zeros,
            nans=nans,
            positive_infinities=positive,
            negative_infinities=negative,
            least=least,
            greatest=greatest,
            sum=plus - minus,
            squares=squares,
            buckets=Buckets(shift, np.frombuffer(keys, np.uint64), np.frombuffer(counts, np.int64), None),
            registers=None if registers is None else np.frombuffer(registers, np.uint8),
        )


class InNumPy:
    """The accumulator in NumPy."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = kept_of(np.empty(0), limit)

    def add(self, sort: str, numbers: Buffer, validity: Buffer | None, offset: int, length: int) -> None:
        """Take in `length` numbers of a column after the first `offset`."""
        values = _valid(sort, numbers, validity, offset, length).astype(np.float64)
        self._kept = merged(self._kept, kept_of(values, self._limit), self._limit)

    def kept(self) -> Kept:
        """All that was kept."""
        return self._kept


def kept_of(values: Floats, limit: int) -> Kept:
    """What is kept of some numbers in any order."""
    values = np.sort(values)
    left = np.searchsorted(values, [-np.inf, 0.0, np.inf, np.nan], "left").tolist()
    right = np.searchsorted(values, [-np.inf, 0.0], "right").tolist()
    negative, positive = values[right[0] : left[1]], values[right[1] : left[2]]
    keys = order_keys(negative, positive)
    buckets = collapse(Buckets(0, keys, np.empty(0, np.int64), None), limit)
    registers = None
    if buckets.shift:
        first, second = exact_sums(np.concatenate((negative, positive)))
        registers = distinct.registers_of(hash_keys(keys))
    else:
        # Every bucket is one value: the sums over the few buckets are the sums over the rows.
        first, second = exact_sums(reference.numbers_of(buckets.keys), buckets.counts)
    finite = len(negative), len(positive)
    return Kept(
        others=sum(finite),
        zeros=right[1] - left[1],
        nans=len(values) - left[3],
        positive_infinities=left[3] - left[2],
        negative_infinities=right[0],
        least=float(negative[0]) if finite[0] else float(positive[0]) if finite[1] else 0.0,
        greatest=float(positive[-1]) if finite[1] else float(negative[-1]) if finite[0] else 0.0,
        sum=first,
        squares=second,
        buckets=buckets,
        registers=registers,
    )


def merged(a: Kept, b: Kept, limit: int) -> Kept:
    """What is kept of the rows of both."""
    some = a if a.others else b
    least, greatest, buckets, registers = some.least, some.greatest, some.buckets, some.registers
    if a.others and b.others:
        least, greatest = min(a.least, b.least), max(a.greatest, b.greatest)
        buckets = union(a.buckets, b.buckets, limit)
        registers = united(buckets.shift, (a.buckets, a.registers), (b.buckets, b.registers))
    return Kept(
        others=a.others + b.others,
        zeros=a.zeros + b.zeros,
        nans=a.nans + b.nans,
        positive_infinities=a.positive_infinities + b.positive_infinities,
        negative_infinities=a.negative_infinities + b.negative_infinities,
        least=least,
        greatest=greatest,
        sum=a.sum + b.sum,
        squares=a.squares + b.squares,
        buckets=buckets,
        registers=registers,
    )


def united(shift: int, *sides: tuple[Buckets, Registers | None]) -> Registers | None:
    """The registers of a union whose buckets have this shift; of a side without, its keys are its values."""
    if shift == 0:
        return None
    found = [
        registers_of(hash_keys(buckets.keys)) if seen is None else seen
        for buckets, seen in sides
        if seen is not None or len(buckets.keys)
    ]
    return found[0] if len(found) == 1 else np.maximum(*found)


_BEST: Final[Callable[[int], Accumulator]] = InNumPy if _native is None else Compiled
_chosen: Callable[[int], Accumulator] = _BEST


def accumulator(limit: int) -> Accumulator:
    """An accumulator of the fastest kernel there is."""
    return _chosen(limit)


def compiled() -> bool:
    """Whether the compiled kernel is in use."""
    return _chosen is not InNumPy


@contextmanager
def in_numpy() -> Iterator[None]:
    """Do without the compiled kernel, everywhere in this process: to compare the two."""
    global _chosen
    _chosen = InNumPy
    try:
        yield
    finally:
        _chosen = _BEST


def hash_strings(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Keys:
    """A 64-bit hash of each string `data[offsets[i]:offsets[i + 1]]`, as `reference.hash_strings` says."""
    if compiled():
        return np.frombuffer(_native.hash_strings(data, np.ascontiguousarray(offsets)), np.uint64)
    return reference.hash_strings(data, offsets)


def registers_of(hashes: Keys) -> Registers:
    """The registers of values with these hashes, as `distinct.registers_of` says."""
    if compiled():
        return np.frombuffer(_native.registers_of(np.ascontiguousarray(hashes)), np.uint8)
    return distinct.registers_of(hashes)


def spellings(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | None:
    """How each string is spelled: 0 string, 1 integral, 2 fractional, 3 boolean; None without the compiled kernel."""
    if not compiled():
        return None
    return np.frombuffer(_native.spellings(data, np.ascontiguousarray(offsets)), np.uint8)


def count_codes(sort: str, codes: Buffer, validity: Buffer | None, offset: int, length: int, size: int) -> Ints:
    """How often each code from 0 to `size` stands in a column; shape (size,)."""
    if compiled():
        return np.frombuffer(_native.count_codes(sort, codes, validity, offset, length, size), np.int64)
    return np.bincount(_valid(sort, codes, validity, offset, length), minlength=size).astype(np.int64)


def _valid(sort: str, numbers: Buffer, validity: Buffer | None, offset: int, length: int) -> npt.NDArray[Any]:
    """The numbers that are not null."""
    values: npt.NDArray[Any] = np.frombuffer(cast("bytes", numbers), np.dtype(sort))[offset : offset + length]
    if validity is None:
        return values
    bits = np.frombuffer(cast("bytes", validity), np.uint8)[offset // 8 : (offset + length + 7) // 8]
    there = np.unpackbits(bits, bitorder="little")[offset % 8 :][:length].astype(bool)
    return cast("npt.NDArray[Any]", values[there])
