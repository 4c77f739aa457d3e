"""The table that frequent texts are read out of, in NumPy; the same bits as the compiled kernel.

A table is one array of counters, and taking in a text only ever adds to some of them: tables of parts of the rows add
up to the table of all rows, whatever the parts and their order. It has two halves.

Cells: each row of `BUCKETS` cells sends every text to one of them. A cell counts its rows, and of each bit of a text's
key the rows where it is set. Where one text makes up most of a cell, the majority of every bit is its key. A key is the
text's first 16 bytes, filled with zeros, and the lower 32 bits of its hash.

A Count-Min sketch (Cormode and Muthukrishnan, 2005): each of its rows sends every text to one of `WIDTH` counters.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from driftline.kernels.reference import BASE, Ints, Keys, mixed
from driftline.kernels.texts import Bytes, prefixes

ROWS: Final = 2
BUCKETS: Final = 128
PREFIX: Final = 16
BITS: Final = 8 * PREFIX + 32
"""Bits of a key."""
DEPTH: Final = 3
WIDTH: Final = 1024
CELLS: Final = ROWS * BUCKETS * (1 + BITS)
SIZE: Final = CELLS + DEPTH * WIDTH
"""Counters of a table: per cell its rows and then its bits, by row and bucket; the Count-Min sketch at last."""

TOGETHER: Final = 1 << 16
"""Texts that are taken in at once."""

Words: TypeAlias = npt.NDArray[np.uint64]
"""Keys: two little-endian words of the text, and the lower bits of the hash; shape (3, n)."""

_MANY_TOGETHER: Final = 1 << 11  # texts with their counts that are taken in at once
_FEW_DIGITS: Final = 4  # of counts that are taken in digit by digit
_GROUP: Final = 15  # words whose bits are added in four planes
_GROUPS: Final = 255 // _GROUP  # groups whose sums fit into one byte for each bit
_LANES: Final = np.uint64(0x0101010101010101)  # the first bit of every byte


def empty() -> Ints:
    """The table of no rows."""
    return np.zeros(SIZE, np.int64)


def cells(table: Ints) -> Ints:
    """The cells of a table: rows, then bits; shape (ROWS, BUCKETS, 1 + BITS)."""
    return table[:CELLS].reshape(ROWS, BUCKETS, 1 + BITS)


def sketch(table: Ints) -> Ints:
    """The Count-Min sketch of a table; shape (DEPTH, WIDTH)."""
    return table[CELLS:].reshape(DEPTH, WIDTH)


def words_of(data: Bytes, offsets: Ints, hashes: Keys) -> Words:
    """The keys of the texts `data[offsets[i]:offsets[i + 1]]`, which have these hashes."""
    words = np.empty((3, len(hashes)), np.uint64)
    prefixes(data, offsets, words[:2])
    np.bitwise_and(hashes, np.uint64(0xFFFFFFFF), out=words[2])
    return words


def places(hashes: Keys) -> tuple[Ints, Ints]:
    """Where texts of these hashes go (only the lower 32 bits matter): buckets (ROWS, n), counters (DEPTH, n)."""
    buckets, counters = np.empty((ROWS, len(hashes)), np.int64), np.empty((DEPTH, len(hashes)), np.int64)
    for start in range(0, len(hashes), TOGETHER):
        own = slice(start, start + TOGETHER)
        spread = mixed((hashes[own] & np.uint64(0xFFFFFFFF)) + np.uint64(BASE))
        for row in range(ROWS):
            buckets[row, own] = (spread >> np.uint64(57 - 7 * row)) & np.uint64(BUCKETS - 1)
        for row in range(DEPTH):
            counters[row, own] = (spread >> np.uint64(10 * row)) & np.uint64(WIDTH - 1)
    return buckets, counters


def take_in(table: Ints, words: Words) -> None:
    """Add one row of each text with these keys to the table; many at once cost least."""
    for start in range(0, words.shape[1], TOGETHER):
        some = np.ascontiguousarray(words[:, start : start + TOGETHER])
        buckets, counters = places(some[2])
        _count_bits(cells(table), some, buckets)
        for own, where in zip(sketch(table), counters, strict=True):
            own += np.bincount(where, minlength=WIDTH)


def of_counts(words: Words, counts: Ints) -> Ints:
    """The table of texts that are counted already: row by row, it would be the same."""
    table = empty()
    few = counts < 1 << _FEW_DIGITS
    for digit in range(_FEW_DIGITS):
        part = empty()
        take_in(part, words[:, few & ((counts >> digit) & 1 == 1)])
        table += part << digit
    words, counts = words[:, ~few], counts[~few]
    for start in range(0, len(counts), _MANY_TOGETHER):
        some, weights = words[:, start : start + _MANY_TOGETHER], counts[start : start + _MANY_TOGETHER]
        add_weighted(cells(table), some, weights)
        for own, where in zip(sketch(table), places(some[2])[1], strict=True):
            np.add.at(own, where, weights)
    return table


def add_weighted(into: Ints, words: Words, weights: Ints) -> None:
    """Add texts of these keys to cells, each so often; shape (ROWS, BUCKETS, 1 + BITS)."""
    counts = np.concatenate([np.ones((1, len(weights)), np.int64), bits_of(words).T]) * weights
    for own, where in zip(into, places(words[2])[0], strict=True):
        order = np.argsort(where, kind="stable")
        used, first = np.unique(where[order], return_index=True)
        if len(used):
            own[used] += np.add.reduceat(counts[:, order], first, axis=1).T


def bits_of(words: Words) -> Bytes:
    """The bits of keys; shape (n, BITS)."""
    data = np.ascontiguousarray(words.T).view(np.uint8).reshape(words.shape[1], 8 * len(words))
    return np.unpackbits(data[:, : BITS // 8], axis=1, bitorder="little")


def _count_bits(own: Ints, words: Words, buckets: Ints) -> None:
    """Add the keys to the cells, shape (ROWS, BUCKETS, 1 + BITS).

    The keys are ordered by cell and lie in groups, the last of each cell filled with zeros. The words of a group are
    added as by hardware adders, all bits at once; then the few sums of a cell are, a byte for each bit.
    """
    padded = np.concatenate((words, np.zeros((len(words), 1), np.uint64)), axis=1)
    for line, where in zip(own, buckets, strict=True):
        counts = np.bincount(where, minlength=BUCKETS)
        groups = -(-counts // _GROUP)
        firsts = np.cumsum(groups) - groups
        rows = np.full(_GROUP * int(groups.sum()), words.shape[1])
        further = _GROUP * firsts - (np.cumsum(counts) - counts)  # by so much the keys of each cell move
        rows[np.repeat(further, counts) + np.arange(words.shape[1])] = np.argsort(where.astype(np.uint8), kind="stable")
        each = np.ascontiguousarray(rows.reshape(-1, _GROUP).T)
        planes = _added([padded.take(one, axis=1, mode="clip") for one in each])
        used = np.flatnonzero(groups)
        line[:, 0] += counts
        line[used, 1:] += _sums_of(planes, firsts[used], groups[used])[:, :BITS]


def _added(words: list[Words]) -> list[Words]:
    """The sums of words, bit by bit: their planes of bits, the lowest first."""
    planes = []
    while words:
        carries = []
        while len(words) > 1:
            a, b, c = words[:3]  # their number is one less than a power of two, and so is that of the carries
            either = a ^ b
            carries.append((a & b) | (either & c))
            words = [*words[3:], either ^ c]
        planes += words
        words = carries
    return planes


def _sums_of(planes: list[Words], firsts: Ints, groups: Ints) -> Ints:
    """The sums of each bit over so many groups from each first on; shape (cells, bits)."""
    steps = -(-groups // _GROUPS)
    begins = np.cumsum(steps) - steps
    starts = np.repeat(firsts - _GROUPS * begins, steps) + _GROUPS * np.arange(int(steps.sum()))
    found = np.empty((len(groups), len(planes[0]), 8, 8), np.int64)
    for bit in range(8):
        lanes = (planes[0] >> np.uint64(bit)) & _LANES
        for power, plane in enumerate(planes[1:], 1):
            lanes |= ((plane >> np.uint64(bit)) & _LANES) << np.uint64(power)
        parts = np.add.reduceat(lanes, starts, axis=1).view(np.uint8).reshape(len(lanes), -1, 8)
        found[..., bit] = np.add.reduceat(parts, begins, axis=1, dtype=np.int64).swapaxes(0, 1)
    return found.reshape(len(groups), -1)
