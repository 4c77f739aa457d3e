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

Words: TypeAlias = npt.NDArray[np.uint64]
"""Keys: two little-endian words of the text, and the lower bits of the hash; shape (3, n)."""

_TOGETHER: Final = 1 << 16  # texts that are taken in at once
_MANY_TOGETHER: Final = 1 << 11  # texts with their counts that are taken in at once
_FEW_DIGITS: Final = 4  # of counts that are taken in digit by digit
_LOG_STACK: Final = 6
_STACK: Final = 1 << _LOG_STACK  # keys of one cell whose bits are counted together


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
    spread = mixed((hashes & np.uint64(0xFFFFFFFF)) + np.uint64(BASE))
    buckets = [(spread >> np.uint64(57 - 7 * row)) & np.uint64(BUCKETS - 1) for row in range(ROWS)]
    counters = [(spread >> np.uint64(10 * row)) & np.uint64(WIDTH - 1) for row in range(DEPTH)]
    return np.array(buckets, np.int64), np.array(counters, np.int64)


def take_in(table: Ints, words: Words) -> None:
    """Add one row of each text with these keys to the table."""
    for start in range(0, words.shape[1], _TOGETHER):
        some = np.pad(words[:, start : start + _TOGETHER], ((0, 0), (0, 1)))
        buckets, counters = places(some[2, :-1])
        for own, where in zip(cells(table), buckets, strict=True):
            _count_bits(own, some, where)
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
    """Add the keys to the cells of one row, shape (BUCKETS, 1 + BITS).

    The keys of a cell are put on stacks, and the bits of a stack are added as a processor adds: all of them at once,
    in one word for each digit of the counts.
    """
    sizes = np.bincount(buckets, minlength=BUCKETS)
    own[:, 0] += sizes
    order = np.argsort(buckets.astype(np.uint8), kind="stable")
    stacks = -(-sizes // _STACK)
    first, count = np.cumsum(stacks) - stacks, int(stacks.sum())
    rank = np.arange(len(order)) + np.repeat(first * _STACK - (np.cumsum(sizes) - sizes), sizes)
    lying = np.full(count * _STACK, len(order))  # at first none: the last key is zero
    lying[(rank & (_STACK - 1)) * count + (rank >> _LOG_STACK)] = order
    stacked = words.take(lying, axis=1).reshape(len(words), _STACK, count)
    digits = np.stack([np.ascontiguousarray(digit.T) for digit in _added(stacked)]).view(np.uint8)[..., : BITS // 8]
    bits = np.unpackbits(digits, axis=-1, bitorder="little")
    counts = bits[0]
    for digit in range(1, len(bits)):
        counts += bits[digit] << np.uint8(digit)
    used = np.flatnonzero(stacks)
    if len(used):
        own[used, 1:] += np.add.reduceat(counts, first[used], axis=0, dtype=np.int64)


def _added(stacked: Words) -> list[Words]:
    """Of each bit the number of words along the second axis that have it, digit by digit, the lowest first."""
    digits = [stacked]
    while digits[0].shape[1] > 1:
        half = digits[0].shape[1] // 2
        summed: list[Words] = []
        carry: Words | None = None
        for digit in digits:
            one, other = digit[:, :half], digit[:, half:]
            either, both = one ^ other, one & other
            summed.append(either if carry is None else either ^ carry)
            carry = both if carry is None else both | (either & carry)
        digits = [*summed, *([] if carry is None else [carry])]
    return [digit[:, 0] for digit in digits]
