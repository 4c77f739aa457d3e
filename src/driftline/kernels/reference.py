"""The inner loops of states in NumPy: exact sums, bit buckets and the hash of numbers; those of texts are in `texts`.

Nothing here rounds: a sum is an integer in units of 2^-1074, the smallest float64, so every order and every split of
the same rows gives the same integer. A compiled kernel may replace this module as long as it gives the same bits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from math import frexp, ldexp
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Keys: TypeAlias = npt.NDArray[np.uint64]

UNIT: Final = 1074
"""Sums are integers in units of 2^-1074, sums of squares in units of 2^-2148."""

_SIGN: Final = np.int64(-(2**63))
_LOG_BLOCK: Final = 15  # large enough that threads seldom contend for the interpreter, small enough for the cache
_BLOCK: Final = 1 << _LOG_BLOCK
_BAND: Final = 600  # exponents of one band; its numbers are scaled so that no product leaves the normal range
_TINY, _HUGE = 2.0**-400, 2.0**400
_PIECE: Final = 24  # bits of a weight that are multiplied at once
_BITS: Final = 20  # bits of a piece of a number
_ROW: Final = 1 << 13  # products of pieces that are summed at once: few enough that BLAS starts no threads of its own


# -- exact sums ------------------------------------------------------------------------------------------------------


def exact_sum(x: Floats, weights: Ints | None = None) -> int:
    """The sum of the finite numbers `x`, each times its weight (>= 0; without weights 1), in units of 2^-1074."""
    return exact_sums(x, weights, squares=False)[0]


def exact_square_sum(x: Floats, weights: Ints | None = None) -> int:
    """The sum of the squares of the finite numbers `x`, each times its weight, in units of 2^-2148."""
    return exact_sums(x, weights)[1]


def exact_sums(x: Floats, weights: Ints | None = None, *, squares: bool = True) -> tuple[int, int]:
    """Both sums at once: of `x` in units of 2^-1074, of its squares (0 unless `squares`) in units of 2^-2148."""
    first = second = 0
    for values, heavy, exponent in _bands(x, weights):
        s1 = s2 = 0
        for start in range(0, len(values), _BLOCK):
            block = values[start : start + _BLOCK]
            if heavy is not None:
                sums = _weighted_sums(block, heavy[start : start + _BLOCK], squares)
            else:
                sums = _sums(block) if squares else (_plain_sum(block), 0)
            s1 += sums[0]
            s2 += sums[1]
        first += _shifted(s1, exponent)
        second += _shifted(s2, 2 * exponent)
    return first, second


def _bands(x: Floats, weights: Ints | None) -> Iterator[tuple[Floats, Ints | None, int]]:
    """The non-zero numbers as `values * 2^exponent`, with `values` so near to 1 that no product over- or underflows."""
    size = np.abs(x)
    if len(x) and size.min() == 0.0:
        x, weights, size = x[size > 0], None if weights is None else weights[size > 0], size[size > 0]
    if len(x) == 0:
        return
    if size.min() >= _TINY and size.max() < _HUGE:
        yield x, weights, 0
        return
    bands = np.frexp(x)[1] // _BAND
    for band in np.unique(bands):
        exponent = int(band) * _BAND + _BAND // 2
        chosen = bands == band
        yield np.ldexp(x[chosen], -exponent), None if weights is None else weights[chosen], exponent


def _sums(x: Floats) -> tuple[int, int]:
    """Both sums of at most `_BLOCK` numbers.

    The numbers are cut at ever finer grids into pieces of so few bits that the products of pieces, and sums of `_ROW`
    products, are exact in float64.
    """
    top = max(float(x.max()), -float(x.min()))
    first = second = 0
    pieces: list[tuple[Floats, int]] = []
    exponent, rest = frexp(top)[1] - _BITS, x
    while True:
        anchor = ldexp(1.5, exponent + 52)
        piece = rest + anchor
        piece -= anchor  # the rest, rounded to a multiple of 2**exponent
        first += int(ldexp(float(piece.sum()), -exponent)) << (UNIT + exponent)
        second += _dot(piece, piece, 2 * exponent)
        for other, finer in pieces:
            second += 2 * _dot(piece, other, exponent + finer)
        rest = rest - piece if rest is x else np.subtract(rest, piece, out=rest)
        if not rest.any():
            return first, second
        pieces.append((piece, exponent))
        exponent -= _BITS + 1


def _dot(a: Floats, b: Floats, exponent: int) -> int:
    """The sum of the products of pieces, which are multiples of 2^exponent, in units of 2^-2148."""
    whole = len(a) // _ROW * _ROW
    sums = np.vecdot(a[:whole].reshape(-1, _ROW), b[:whole].reshape(-1, _ROW))
    last = ldexp(float(np.vecdot(a[whole:], b[whole:])), -exponent)
    return (int(np.ldexp(sums, -exponent).astype(np.int64).sum()) + int(last)) << (2 * UNIT + exponent)


def _weighted_sums(x: Floats, weights: Ints, squares: bool) -> tuple[int, int]:
    """Both sums of at most `_BLOCK` numbers, each times its weight."""
    first, second = _weighted_sum(x, weights), 0
    if squares:
        product, error = _square(x)
        second = (_weighted_sum(product, weights) + _weighted_sum(error, weights)) << UNIT
    return first, second


def _weighted_sum(x: Floats, weights: Ints) -> int:
    """The sum of at most `_BLOCK` numbers, each times its weight, in units of 2^-1074."""
    total = 0
    for low in range(0, int(weights.max()).bit_length(), _PIECE):
        piece = ((weights >> low) & ((1 << _PIECE) - 1)).astype(np.float64)
        product, error = _two_product(x, piece)
        total += (_plain_sum(product) + _plain_sum(error)) << low
    return total


def _plain_sum(x: Floats) -> int:
    """Cut the numbers at a grid so coarse that their sum is exact in float64; go on with what the cut left."""
    top = max(float(x.max()), -float(x.min()))
    if top == 0.0:
        return 0
    total, exponent = 0, frexp(top)[1]  # |x| <= 2**exponent
    while True:
        anchor = ldexp(1.5, exponent + _LOG_BLOCK)
        cut = x + anchor
        cut -= anchor  # x, rounded to a multiple of 2**(exponent + _LOG_BLOCK - 52)
        total += _integer(float(cut.sum()))
        x = np.subtract(x, cut, out=cut)
        if not x.any():
            return total
        exponent += _LOG_BLOCK - 53


def _two_product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The product and its rounding error: `product + error == a * b` exactly (Dekker, 1971)."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    error = a_high * b_high
    error -= product
    error += a_high * b_low
    error += a_low * b_high
    error += a_low * b_low
    return product, error


def _square(a: Floats) -> tuple[Floats, Floats]:
    """The square and its rounding error, as by `_two_product`."""
    product = a * a
    high, low = _halves(a)
    error = high * high
    error -= product
    high += high
    high *= low
    error += high
    low *= low
    error += low
    return product, error


def _halves(x: Floats) -> tuple[Floats, Floats]:
    """Two numbers of at most 26 bits that add up to `x`."""
    bits = x.view(np.int64) + (1 << 26)
    bits &= -(1 << 27)
    high = bits.view(np.float64)
    return high, x - high


def _integer(x: float) -> int:
    numerator, denominator = x.as_integer_ratio()
    return numerator << (UNIT - denominator.bit_length() + 1)


def _shifted(number: int, by: int) -> int:
    """`number * 2**by`; the sums of a band always end in enough zero bits for a negative `by`."""
    return number << by if by >= 0 else number >> -by


# -- bit buckets -----------------------------------------------------------------------------------------------------


class Buckets(NamedTuple):
    """Counts per bucket: the order keys with their low `shift` bits dropped, ascending and distinct."""

    shift: int
    keys: Keys
    counts: Ints
    weights: Ints | None


def order_keys(negative: Floats, positive: Floats) -> Keys:
    """The bits of the numbers, arranged so that their order as unsigned integers is the order of the numbers.

    >>> order_keys(np.array([-1.0]), np.array([1.0])).tolist() == [0x400FFFFFFFFFFFFF, 0xBFF0000000000000]
    True
    """
    keys = np.empty(len(negative) + len(positive), np.int64)
    np.invert(negative.view(np.int64), out=keys[: len(negative)])
    np.bitwise_xor(positive.view(np.int64), _SIGN, out=keys[len(negative) :])
    return keys.view(np.uint64)


def numbers_of(keys: Keys) -> Floats:
    """The numbers that `order_keys` made these keys of."""
    bits = keys.view(np.int64)
    return (bits ^ (~(bits >> 63) | _SIGN)).view(np.float64)


def collapse(buckets: Buckets, limit: int) -> Buckets:
    """The buckets of ascending (perhaps repeated) keys, with as few more bits dropped as leave at most `limit`.

    Two neighbours share a bucket once every bit in which they differ is dropped, so the least shift can be read off
    the exclusive ors of neighbours. Empty `counts` stand for one row per key.
    """
    keys = buckets.keys
    if len(keys) == 0:
        return buckets
    gaps = keys[1:] ^ keys[:-1]
    drop = bisect_left(range(64), True, key=lambda bits: bool(np.count_nonzero(gaps >= np.uint64(1 << bits)) < limit))
    return coarsen(buckets, buckets.shift + drop, gaps)


def coarsen(buckets: Buckets, shift: int, gaps: Keys | None = None) -> Buckets:
    """The same rows in the wider buckets of `shift`."""
    keys, counts, weights = buckets.keys, buckets.counts, buckets.weights
    drop = np.uint64(shift - buckets.shift)
    if gaps is None:
        gaps = keys[1:] ^ keys[:-1]
    if len(keys) == 0:
        return Buckets(shift, keys, counts, weights)
    starts = np.append(0, np.flatnonzero(gaps >= np.uint64(1 << (shift - buckets.shift))) + 1)
    sums = np.add.reduceat(counts, starts) if len(counts) else np.diff(starts, append=len(keys))
    heavy = None if weights is None else np.add.reduceat(weights, starts)
    return Buckets(shift, keys[starts] >> drop, sums, heavy)


def union(a: Buckets, b: Buckets, limit: int) -> Buckets:
    """The buckets of the rows of both; their weights must both be given, or both left out."""
    if len(a.keys) == 0 or len(b.keys) == 0:
        return a if len(a.keys) else b
    shift = max(a.shift, b.shift)
    left, right = a.keys >> np.uint64(shift - a.shift), b.keys >> np.uint64(shift - b.shift)
    keys = np.concatenate((left, right))
    order = np.argsort(keys, kind="stable")
    weights = None
    if a.weights is not None and b.weights is not None:
        weights = np.concatenate((a.weights, b.weights))[order]
    return collapse(Buckets(shift, keys[order], np.concatenate((a.counts, b.counts))[order], weights), limit)


# -- the hash of numbers ----------------------------------------------------------------------------------------------

BASE: Final = 0x9E3779B97F4A7C15


def hash_keys(keys: Keys) -> Keys:
    """A 64-bit hash of each order key."""
    return mixed(keys + np.uint64(BASE))


def mixed(hashes: Keys) -> Keys:
    """The finalizer of SplitMix64."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
