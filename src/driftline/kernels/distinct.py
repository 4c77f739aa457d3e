"""How many distinct values there are, from the greatest rank of their hashes in each of 2^14 registers (HyperLogLog).

Registers depend on the set of values alone, and those of a union are the greater of both, so they merge exactly. The
estimate is Ertl's (2017, arXiv:1702.01284, algorithm 6): without bias over the whole range, and with a relative
standard error of 1.04 / sqrt(2^14) = 0.8%.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

LOG_SIZE: Final = 14
SIZE: Final = 1 << LOG_SIZE
ERROR: Final = 1.04 / sqrt(SIZE)
"""The relative standard error of an estimate."""

_BITS: Final = 64 - LOG_SIZE  # a rank is at most one more
Registers: TypeAlias = npt.NDArray[np.uint8]
Hashes: TypeAlias = npt.NDArray[np.uint64]
_STARTS: Final = np.arange(SIZE, dtype=np.uint64) << np.uint64(_BITS)
_HIGHEST: Final = np.array([(1 << _BITS >> rank) - 1 for rank in range(_BITS + 1)] + [0], np.uint64)
"""The highest that the bits after the place may be, so that the rank is above this one (or, for the last, equal)."""


def registers_of(hashes: Hashes) -> Registers:
    """The registers of values with these 64-bit hashes."""
    registers: Registers = np.zeros(SIZE, np.uint8)
    for start in range(0, len(hashes), SIZE):
        observe(registers, hashes[start : start + SIZE])
    return registers


def observe(registers: Registers, hashes: Hashes) -> None:
    """Take in values with these hashes; after the first few rows, most of them cannot raise any register."""
    least = int(registers.min())
    if least:  # what cannot raise even the least of them is most of what comes
        hashes = hashes.take(np.flatnonzero(hashes << np.uint64(LOG_SIZE) <= _HIGHEST[least] << np.uint64(LOG_SIZE)))
    places = (hashes >> np.uint64(_BITS)).view(np.int64)
    raising = np.flatnonzero(hashes <= (_HIGHEST.take(registers) + _STARTS).take(places))
    few, at = hashes[raising], places[raising]
    # A float64 holds the 53 bits exactly, and its exponent says which is the first.
    rest = (few << np.uint64(LOG_SIZE)) | np.uint64(1 << (LOG_SIZE - 1))
    exponents = (rest >> np.uint64(11)).astype(np.float64).view(np.int64) >> 52
    np.maximum.at(registers, at, (1023 + 53 - exponents).astype(np.uint8))


def estimate(registers: Registers) -> float:
    """The number of distinct values."""
    counts = np.bincount(registers, minlength=_BITS + 2).tolist()
    z = SIZE * _tau(1 - counts[_BITS + 1] / SIZE)
    for count in reversed(counts[1 : _BITS + 1]):
        z = 0.5 * (z + count)
    z += SIZE * _sigma(counts[0] / SIZE)
    return SIZE * SIZE / (2 * log(2) * z)


def _sigma(x: float) -> float:
    if x == 1.0:
        return float("inf")
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x = sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
    return z / 3
