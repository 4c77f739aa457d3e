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

TOGETHER: Final = 1 << 17
"""Texts that are taken in at once."""

Words: TypeAlias = npt.NDArray[np.uint64]
"""Keys: two little-endian words of the text, and the lower bits of the hash; shape (3, n)."""

_BLOCK: Final = 1 << 14  # hashes that stay in the cache
_MANY_TOGETHER: Final = 1 << 11  # texts with their counts that are taken in at once
_FEW_DIGITS: Final = 4  # of counts that are taken in digit by digit
_BITS_OF_BYTES: Final = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(float)


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
    return np.vstack([prefixes(data, offsets), hashes & np.uint64(0xFFFFFFFF)])


def places(hashes: Keys) -> tuple[Ints, Ints]:
    """Where texts of these hashes go (only the lower 32 bits matter): buckets (ROWS, n), counters (DEPTH, n)."""
    buckets, counters = np.empty((ROWS, len(hashes)), np.int64), np.empty((DEPTH, len(hashes)), np.int64)
    for start in range(0, len(hashes), _BLOCK):
        own = slice(start, start + _BLOCK)
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
    """Add the keys to the cells, shape (ROWS, BUCKETS, 1 + BITS): count the bytes at each place, then their bits."""
    data = words.view(np.uint8).reshape(*words.shape, words.itemsize)
    lines = [(line, where << 8) for line, where in zip(own, buckets, strict=True)]
    for line, where in lines:
        line[:, 0] += np.bincount(where >> 8, minlength=BUCKETS)
    for place in range(BITS // 8):
        bytes_there = data[place // 8, :, place % 8].astype(np.int64)
        for line, where in lines:
            counts = np.bincount(where | bytes_there, minlength=BUCKETS << 8).reshape(BUCKETS, 256)
            line[:, 1 + 8 * place : 9 + 8 * place] += (counts.astype(np.float64) @ _BITS_OF_BYTES).astype(np.int64)
