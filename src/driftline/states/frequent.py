"""Counts per distinct value: exact while there are few, then a sample of the values with exact counts.

Up to `limit` distinct values every value is kept. Beyond that a value is kept iff its 64-bit hash starts with at least
`level` zero bits, with the least level at which at most `limit` values remain. Samples nest, so the state depends on
the rows alone and never on their split or order, and the counts of the values kept are exact. `distinct` is exact at
level 0; above it, HyperLogLog registers of all values estimate it with a relative standard error of 0.8%, and a table
of all rows (`driftline.states.heavy`) tells the most frequent values, in the sample or not, with a stated error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.errors import Corrupt
from driftline.kernels.distinct import Registers, estimate
from driftline.kernels.heavy import Words, words_of
from driftline.kernels.numbers import hash_strings, registers_of
from driftline.states.heavy import ERROR, FAINTEST, LEAST, HeavyState
from driftline.states.packing import PackedArray, checked_registers, pack_array, packed, unpack_array, unpacked
from driftline.states.reading import Tally, lying_strings
from driftline.states.rows import Count

LIMIT: Final = 4096


class Counted(Mapping[str, Count]):
    """The rows of each of some distinct texts; kept in columns, and made into objects only when one is asked for."""

    def __init__(self, tally: Tally) -> None:
        self.tally: Final = tally

    @classmethod
    def of(cls, counts: Mapping[str, Count]) -> Self:
        """The same counts in columns."""
        n, w = ([getattr(count, name) for count in counts.values()] for name in ("n", "w"))
        return cls(Tally(pa.array(counts, pa.large_string()), np.array(n, np.int64), np.array(w, np.int64)))

    @cached_property
    def _counts(self) -> dict[str, Count]:
        pairs = zip(self.tally.counts.tolist(), self.tally.heavy.tolist(), strict=True)
        return {value: Count(*pair) for value, pair in zip(self.tally.distinct.to_pylist(), pairs, strict=True)}

    def __getitem__(self, value: str, /) -> Count:
        return self._counts[value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self.tally.distinct)


NO_VALUES: Final = Counted.of({})


@dataclass(frozen=True, slots=True)
class Frequent:
    """A value that many rows have."""

    value: str
    """The text, or how it begins."""
    whole: bool
    """Whether `value` is all of it."""
    count: int
    """Its rows, not weighted: never too few."""
    error: float
    """By how many rows the count is too high at most, with probability 95%; 0: the count is exact."""


@dataclass(frozen=True, slots=True)
class FrequentState:
    """The distinct values of a column and the rows of each."""

    level: int = 0  # zero bits that the hash of a kept value starts with; 0: every value is kept
    values: Counted = field(default_factory=lambda: NO_VALUES)
    limit: int = LIMIT
    registers: bytes | None = None  # of all values; None iff every value is kept
    heavy: HeavyState | None = None  # of all rows; None iff every value is kept

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

    def frequent(self, share: float = LEAST) -> list[Frequent]:
        """The values that have at least this share of the rows with a value, the most frequent first.

        All of them, and exactly, where the state is `exact`; otherwise as `driftline.states.heavy` says: below its
        `LEAST` many are missed.
        """
        tally = self.values.tally
        if self.heavy is None:
            rows, found = int(tally.counts.sum()), []
        else:
            kept, rows = _those_of_many_rows(tally, self.heavy.rows), self.heavy.rows
            known = (_words(kept.distinct), kept.counts)
            found = [
                Frequent(
                    each.prefix if each.text is None else each.text, each.text is not None, each.count, ERROR * rows
                )
                for each in self.heavy.found(share, *known)
            ]
        enough = _of_those(tally, tally.counts >= max(1, share * rows))
        counts = zip(enough.distinct.to_pylist(), enough.counts.tolist(), strict=True)
        found += [Frequent(value, True, n, 0.0) for value, n in counts]
        return sorted(found, key=lambda each: (-each.count, each.value))

    def thinned(self, level: int) -> Counted:
        """Of the values kept, those of this level or a higher one."""
        return Counted(_kept(self.values.tally, level if self.level < level else 0))

    def merge(self, other: FrequentState, /) -> FrequentState:
        """The values of both."""
        if self.limit != other.limit:
            raise ValueError(f"states of different limits do not merge: {self.limit} and {other.limit}")
        level = max(self.level, other.level)
        tally = _together(*(_kept(side.values.tally, level if side.level < level else 0) for side in (self, other)))
        if len(tally.distinct) > self.limit:
            level = _least_level(_hashes(tally.distinct), self.limit)
            tally = _kept(tally, level)
        if level == 0:
            return FrequentState(level, Counted(tally), self.limit)
        registers = np.maximum(self._seen(), other._seen()).tobytes()
        return FrequentState(level, Counted(tally), self.limit, registers, self._table().merge(other._table()))

    def _seen(self) -> Registers:
        """The registers of all values."""
        if self.registers is not None:
            return np.frombuffer(self.registers, np.uint8)
        return registers_of(_hashes(self.values.tally.distinct))

    def _table(self) -> HeavyState:
        """The table of all rows."""
        return self.heavy or _table_of(self.values.tally)

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        tally = self.values.tally
        order = pc.array_sort_indices(tally.distinct)  # by bytes in UTF-8, which is by code points
        at = order.to_numpy()
        values, arrays = tally.distinct.take(order).to_pylist(), (tally.counts[at], tally.heavy[at])
        heavy = None if self.heavy is None else self.heavy.packed
        return packed("frequent", (self.level, self.limit, values, *map(pack_array, arrays), self.registers, heavy))

    @classmethod
    def decode(cls, data: bytes) -> FrequentState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        level, limit, values, counts, weights, registers, heavy = unpacked(
            "frequent", data, tuple[int, int, list[str], PackedArray, PackedArray, bytes | None, PackedArray | None]
        )
        n, w = (unpack_array(each).astype(np.int64) for each in (counts, weights))
        if not len(n) == len(w) == len(values):
            raise Corrupt(f"{len(values)} values with {len(n)} counts and {len(w)} weights")
        if (heavy is None) != (level == 0):
            raise Corrupt(f"{'no' if heavy is None else 'a'} table of frequent values beside a sample of level {level}")
        table = None if heavy is None else HeavyState(heavy).checked()
        counted = Counted(Tally(pa.array(values, pa.large_string()), n, w))
        return cls(level, counted, limit, checked_registers(registers, level > 0), table)

    @classmethod
    def of_sample(
        cls, tally: Tally, level: int, registers: bytes, heavy: HeavyState, limit: int = LIMIT
    ) -> FrequentState:
        """The state of many texts of which only those of `level` (at least 1) were counted."""
        level, kept = _sampled(tally, level, limit)
        return cls(level, Counted(kept), limit, registers, heavy)

    @classmethod
    def of_tally(cls, tally: Tally, limit: int = LIMIT) -> FrequentState:
        """The state of rows that were counted; a text may have none."""
        used = _of_those(tally, tally.counts > 0)
        level, kept = _sampled(used, 0, limit)
        if level == 0:
            return cls(level, Counted(kept), limit)
        return cls(level, Counted(kept), limit, registers_of(_hashes(used.distinct)).tobytes(), _table_of(used))


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


def _sampled(tally: Tally, level: int, limit: int) -> tuple[int, Tally]:
    """The least level from `level` on at which at most `limit` of the texts are kept, and those."""
    if len(tally.distinct) > limit:
        level = max(level, _least_level(_hashes(tally.distinct), limit))
    return level, _of_those(tally, of_level(_hashes(tally.distinct), level))


def _words(values: pa.Array) -> Words:
    data, offsets = lying_strings(values)
    return words_of(data, offsets, hash_strings(data, offsets))


def _table_of(tally: Tally) -> HeavyState:
    return HeavyState.of_counts(_words(tally.distinct), tally.counts)


def side_by_side(ours: Counted, theirs: Counted) -> tuple[Tally, Tally]:
    """The values of either in both, in the order of their code points: no rows where one has not seen a value."""
    sides = ours.tally, theirs.tally
    texts = pa.concat_arrays([side.distinct.cast(pa.large_string()) for side in sides]).dictionary_encode()
    order = pc.array_sort_indices(texts.dictionary).to_numpy()
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    distinct, places = texts.dictionary.take(pa.array(order)), places[texts.indices.to_numpy()]
    found = []
    for side, at in zip(sides, np.split(places, [len(ours)]), strict=True):
        counts, heavy = np.zeros((2, len(distinct)), np.int64)
        counts[at], heavy[at] = side.counts, side.heavy
        found.append(Tally(distinct, counts, heavy))
    return found[0], found[1]


def _those_of_many_rows(tally: Tally, rows: int) -> Tally:
    """The texts that stand out among so many rows, if there are any."""
    return _of_those(tally, tally.counts >= max(1, FAINTEST * rows))


def _kept(tally: Tally, level: int) -> Tally:
    return _of_those(tally, of_level(_hashes(tally.distinct), level)) if level else tally


def _of_those(tally: Tally, chosen: npt.NDArray[np.bool_]) -> Tally:
    distinct = tally.distinct.filter(pa.array(chosen)).cast(pa.large_string())
    return Tally(distinct, tally.counts[chosen], tally.heavy[chosen])


def _together(one: Tally, other: Tally) -> Tally:
    if not len(one.distinct) or not len(other.distinct):
        return one if len(one.distinct) else other
    texts = pa.concat_arrays([one.distinct, other.distinct]).dictionary_encode()
    at = texts.indices.to_numpy()
    counts, heavy = np.zeros((2, len(texts.dictionary)), np.int64)
    np.add.at(counts, at, np.concatenate([one.counts, other.counts]))
    np.add.at(heavy, at, np.concatenate([one.heavy, other.heavy]))
    return Tally(texts.dictionary, counts, heavy)
