"""Counts per distinct value: exact while there are few, then a sample of the values with exact counts.

Up to `limit` distinct values every value is kept. Beyond that a value is kept iff its 64-bit hash starts with at least
`level` zero bits, with the least level at which at most `limit` values remain. Samples nest, so the state depends on
the rows alone and never on their split or order, and the counts of the values kept are exact. `distinct` is exact at
level 0; above it, HyperLogLog registers of all values estimate it with a relative standard error of 0.8%.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.errors import Corrupt
from driftline.kernels.distinct import Registers, estimate
from driftline.kernels.numbers import hash_strings, registers_of
from driftline.states.packing import PackedArray, checked_registers, pack_array, packed, unpack_array, unpacked
from driftline.states.reading import Tally, lying_strings
from driftline.states.rows import Count

LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class FrequentState:
    """The distinct values of a column and the rows of each."""

    level: int = 0  # zero bits that the hash of a kept value starts with; 0: every value is kept
    values: dict[str, Count] = field(default_factory=dict)  # never changed after it was made
    limit: int = LIMIT
    registers: bytes | None = None  # of all values; None iff every value is kept

    @property
    def exact(self) -> bool:
        """Whether every value is there."""
        return self.level == 0

    @property
    def distinct(self) -> float:
        """The number of distinct values, estimated unless `exact`."""
        if self.registers is None:
            return float(len(self.values) << self.level)
        return max(float(len(self.values)), estimate(np.frombuffer(self.registers, np.uint8)))

    def merge(self, other: FrequentState, /) -> FrequentState:
        """The values of both."""
        if self.limit != other.limit:
            raise ValueError(f"states of different limits do not merge: {self.limit} and {other.limit}")
        level = max(self.level, other.level)
        values = _kept(self.values, level) if self.level < level else dict(self.values)
        for value, count in (_kept(other.values, level) if other.level < level else other.values).items():
            before = values.get(value)
            values[value] = count if before is None else before + count
        if len(values) > self.limit:
            level, values = _thinned(values, self.limit)
        registers = np.maximum(self._seen(), other._seen()).tobytes() if level else None
        return FrequentState(level, values, self.limit, registers)

    def _seen(self) -> Registers:
        """The registers of all values."""
        if self.registers is not None:
            return np.frombuffer(self.registers, np.uint8)
        return registers_of(_hashes(pa.array(list(self.values), pa.large_string())))

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        values = sorted(self.values)
        counts = np.array([self.values[value].n for value in values], np.int64)
        weights = np.array([self.values[value].w for value in values], np.int64)
        arrays = (pack_array(counts), pack_array(weights))
        return packed("frequent", (self.level, self.limit, values, *arrays, self.registers))

    @classmethod
    def decode(cls, data: bytes) -> FrequentState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("frequent", data, tuple[int, int, list[str], PackedArray, PackedArray, bytes | None])
        level, limit, values, counts, weights, registers = fields
        n, w = unpack_array(counts).tolist(), unpack_array(weights).tolist()
        if not len(n) == len(w) == len(values):
            raise Corrupt(f"{len(values)} values with {len(n)} counts and {len(w)} weights")
        counted = {value: Count(*pair) for value, *pair in zip(values, n, w, strict=True)}
        return cls(level, counted, limit, checked_registers(registers, level > 0))

    @classmethod
    def of_sample(cls, tally: Tally, level: int, registers: bytes, limit: int = LIMIT) -> FrequentState:
        """The state of many texts of which only those of `level` (at least 1) were counted."""
        kept = cls.of_tally(tally, limit)
        return cls(max(level, kept.level), kept.values, limit, registers)

    @classmethod
    def of_tally(cls, tally: Tally, limit: int = LIMIT) -> FrequentState:
        """The state of rows that were counted; a text may have none."""
        used = tally.counts > 0
        level, registers = 0, None
        if int(used.sum()) > limit:
            hashes = _hashes(tally.distinct)
            level, registers = _least_level(hashes[used], limit), registers_of(hashes[used]).tobytes()
            used &= of_level(hashes, level)
        distinct = tally.distinct.filter(pa.array(used)).to_pylist()
        pairs = zip(tally.counts[used].tolist(), tally.heavy[used].tolist(), strict=True)
        values = {value: Count(*pair) for value, pair in zip(distinct, pairs, strict=True)}
        return cls(level, values, limit, registers)


def of_level(hashes: npt.NDArray[np.uint64], level: int) -> npt.NDArray[np.bool_]:
    """Which of the hashes start with at least so many zero bits."""
    return hashes < np.uint64(1 << (64 - level)) if level else np.ones(len(hashes), bool)


def _hashes(values: pa.Array) -> npt.NDArray[np.uint64]:
    return hash_strings(*lying_strings(values))


def _least_level(hashes: npt.NDArray[np.uint64], limit: int) -> int:
    """The least level at which at most `limit` of the hashes are kept."""
    if len(hashes) <= limit:
        return 0
    first_left_out = int(np.partition(hashes, limit)[limit])
    return 65 - max(1, first_left_out).bit_length()


def _kept(values: dict[str, Count], level: int) -> dict[str, Count]:
    names = list(values)
    keep = of_level(_hashes(pa.array(names, pa.large_string())), level)
    return {name: values[name] for name in _chosen(names, keep)}


def _thinned(values: dict[str, Count], limit: int) -> tuple[int, dict[str, Count]]:
    names = list(values)
    hashes = _hashes(pa.array(names, pa.large_string()))
    level = _least_level(hashes, limit)
    return level, {name: values[name] for name in _chosen(names, of_level(hashes, level))}


def _chosen(names: list[str], keep: npt.NDArray[np.bool_]) -> Iterable[str]:
    return (names[i] for i in np.flatnonzero(keep).tolist())
