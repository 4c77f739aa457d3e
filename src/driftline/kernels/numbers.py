"""Keeping numbers: exact sums, buckets and registers of columns that come in batches.

Two accumulators give the same bits: the compiled one, where the package was built with a compiler, and the one in
NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from driftline.kernels import distinct, heavy, texts
from driftline.kernels.distinct import Registers
from driftline.kernels.in_numpy import Buffer, InNumPy, Kept, valid
from driftline.kernels.reference import Buckets, Ints, Keys, hash_keys

try:
    from driftline.kernels import _native
except ImportError:  # the package was built without a compiler
    _native = None  # type: ignore[assignment]
if getattr(_native, "FORM", 0) != 1:  # it was built from other sources
    _native = None  # type: ignore[assignment]

SORTS: Final = "bBhHiIqQfd"
"""The types of numbers that an accumulator takes in, as in the struct module."""


class Accumulator(Protocol):
    """Takes in numbers; for one thread."""

    def add(self, sort: str, numbers: Buffer, validity: Buffer | None, offset: int, length: int, /) -> None:
        """Take in `length` numbers of a column after the first `offset`; validity has one bit per number, if any."""
        ...

    def kept(self) -> Kept:
        """All that was kept."""
        ...


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
    """A 64-bit hash of each string `data[offsets[i]:offsets[i + 1]]`, as `texts.hash_strings` says."""
    if compiled():
        return np.frombuffer(_native.hash_strings(data, np.ascontiguousarray(offsets)), np.uint64)
    return texts.hash_strings(data, offsets)


def registers_of(hashes: Keys) -> Registers:
    """The registers of values with these hashes, as `distinct.registers_of` says."""
    if compiled():
        return np.frombuffer(_native.registers_of(np.ascontiguousarray(hashes)), np.uint8)
    return distinct.registers_of(hashes)


def spellings(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """How each string is spelled, as `texts.spellings` says."""
    if compiled():
        return np.frombuffer(_native.spellings(data, np.ascontiguousarray(offsets)), np.uint8)
    return texts.spellings(data, offsets)


class Sampled(NamedTuple):
    """What `sample_strings` saw of some texts."""

    kinds: tuple[int, int, int, int]
    """How many are spelled as a string, an integer, a fraction, a boolean."""
    rows: Ints
    """Those whose hash starts with enough zero bits."""
    numerals: Ints
    """Those that are spelled as a number."""


def sample_strings(
    offsets: tuple[str, Buffer, Buffer | None, int, int], level: int, data: Buffer, registers: bytearray, table: Ints
) -> Sampled:
    """Look at each text once: its spelling, and what goes into registers and table. Only for the compiled kernel.

    Args:
        offsets: their sort (i or q), buffer and validity, the first row and the number of rows, as in Arrow's arrays.
        level: from 1 on; the zero bits that the hash of a chosen text starts with.
        data: the bytes of the texts.
        registers: of all texts so far; changed.
        table: of all texts so far, as `heavy` has it; changed.
    """
    kinds, rows, numerals = _native.sample_strings(*offsets, level, data, registers, table)
    return Sampled(kinds, np.frombuffer(rows, np.int64), np.frombuffer(numerals, np.int64))


def table_of_counts(words: heavy.Words, counts: Ints) -> Ints:
    """The table of texts that are counted already, as `heavy.of_counts` says."""
    if not compiled():
        return heavy.of_counts(words, counts)
    table = heavy.empty()
    _native.add_counts(np.ascontiguousarray(words), np.ascontiguousarray(counts), table)
    return table


def count_codes(sort: str, codes: Buffer, validity: Buffer | None, offset: int, length: int, size: int) -> Ints:
    """How often each code from 0 to `size` stands in a column; shape (size,)."""
    if compiled():
        return np.frombuffer(_native.count_codes(sort, codes, validity, offset, length, size), np.int64)
    return np.bincount(valid(sort, codes, validity, offset, length), minlength=size).astype(np.int64)
