"""The inner loops over texts in NumPy: their hash, and how they are spelled; the same bits as the compiled kernel.

Texts lie one after the other in `data`; text i is `data[offsets[i]:offsets[i + 1]]`.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from driftline.kernels.reference import BASE, Ints, Keys, mixed

Bytes: TypeAlias = npt.NDArray[np.uint8]

_TOGETHER: Final = 1 << 16  # texts that are hashed at once
_SHORT: Final = 16  # words of a text that is hashed beside others, word by word
_MASKS: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # the first n bytes of a word


def hash_strings(data: Bytes, offsets: Ints) -> Keys:
    """A 64-bit hash of each text; the same in every process and version.

    A text is read as little-endian words of eight bytes, the last filled with zeros. Every word goes through the
    finalizer of SplitMix64; the results are the coefficients of a polynomial at a fixed odd place modulo 2^64, to
    which the length and the place are added; the finalizer once more.
    """
    lengths = np.diff(offsets)
    hashes = np.empty(len(lengths), np.uint64)
    for start in range(0, len(lengths), _TOGETHER):
        own = lengths[start : start + _TOGETHER]
        begins = offsets[start : start + len(own)]
        hashes[start : start + len(own)] = _polynomials(data[begins[0] : begins[-1] + own[-1]], begins - begins[0], own)
    hashes += lengths.view(np.uint64)
    hashes += np.uint64(BASE)
    return mixed(hashes)


def prefixes(data: Bytes, offsets: Ints, found: npt.NDArray[np.uint64]) -> None:
    """Put the first little-endian words of each text, filled with zeros, into `found`, of shape (words, n)."""
    for start in range(0, found.shape[1], _TOGETHER):
        at = offsets[start : start + _TOGETHER + 1]
        own, begins, lengths = data[at[0] : at[-1]], at[:-1] - at[0], np.diff(at)
        anywhere = _words(np.append(own, np.zeros(8, np.uint8)))
        for place, words in enumerate(found[:, start : start + _TOGETHER]):
            words[:] = _word(anywhere, np.minimum(begins + 8 * place, len(own)), np.maximum(lengths - 8 * place, 0))


def _polynomials(data: Bytes, begins: Ints, lengths: Ints) -> Keys:
    anywhere = _words(data)
    powers = _powers(_SHORT)
    found = np.zeros(len(lengths), np.uint64)
    for place in range(min(_SHORT, (int(lengths.max()) + 7) // 8)):
        rest = lengths - 8 * place
        least = int(rest.min())
        rows: Ints | slice = np.flatnonzero(rest > 0) if least <= 0 else slice(None)
        words = _word(anywhere, begins[rows] + 8 * place, rest[rows])
        found[rows] += mixed(words ^ np.uint64(BASE)) * powers[place]
    for row in np.flatnonzero(lengths > 8 * _SHORT).tolist():
        text = data[begins[row] : begins[row] + lengths[row]]
        words = np.append(text, np.zeros(-len(text) % 8, np.uint8)).view("<u8")
        found[row] = np.sum(mixed(words ^ np.uint64(BASE)) * _powers(len(words)))
    return found


def _word(anywhere: Keys, at: Ints, rest: Ints) -> Keys:
    """The words at these places in ascending order, filled with zeros where less than eight bytes are left."""
    least, step = int(rest.min()), int(at[-1] - at[0]) // max(1, len(at) - 1)
    if (
        step and least == int(rest.max()) and (np.diff(at) == step).all()
    ):  # texts of one length: no need to look each up
        words = anywhere[at[0] : at[-1] + 1 : step]
        return words if least >= 8 else words & _MASKS[least]
    words = anywhere[at]
    return words if least >= 8 else words & _MASKS[np.minimum(rest, 8)]


def _words(data: Bytes) -> Keys:
    """The eight bytes from each byte on; those behind the end are zeros."""
    padded = np.append(data, np.zeros(8, np.uint8))
    words: Keys = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    return words


def _powers(count: int) -> Keys:
    powers: Keys = np.full(count, BASE, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)


# -- how texts are spelled --------------------------------------------------------------------------------------------

_PATTERNS: Final = {
    1: re.compile(rb"[-+]? ?[0-9]+"),
    2: re.compile(rb"[-+]? ?[0-9]+(\.[0-9]+)?([Ee][-+]?[0-9]+)?"),
    3: re.compile(rb"true|false"),
}
"""What is integral, fractional and boolean; the first one that fits."""
_STEPS: Final = 64  # bytes of a text that are read beside those of others
_STRING: Final = 18  # the state of what is none of these


def _automaton() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The next state by 256 * state + byte, and what a text is that ends in a state; the patterns as an automaton."""
    digits, e, signs = b"0123456789", b"eE", b"-+"
    arrows: dict[int, dict[bytes, int]] = {
        0: {signs: 1, b" ": 2, digits: 3, b"t": 9, b"f": 12},
        1: {b" ": 2, digits: 3},
        2: {digits: 3},
        3: {digits: 3, b".": 4, e: 6},
        4: {digits: 5},
        5: {digits: 5, e: 6},
        6: {signs: 7, digits: 8},
        7: {digits: 8},
        8: {digits: 8},
        **{state: {byte: state + 1} for state, byte in zip((9, 10), (b"r", b"u"), strict=True)},
        11: {b"e": 16},
        **{state: {byte: state + 1} for state, byte in zip((12, 13, 14), (b"a", b"l", b"s"), strict=True)},
        15: {b"e": 16},
    }
    follows = np.full((_STRING + 1, 256), _STRING, np.uint8)
    for state, own in arrows.items():
        for some, after in own.items():
            follows[state, list(some)] = after
    kinds = np.zeros(_STRING + 1, np.uint8)
    kinds[[3, 5, 8, 16]] = 1, 2, 2, 3
    return follows.ravel(), kinds


_FOLLOWS, _KINDS = _automaton()


def spellings(data: Bytes, offsets: Ints) -> Bytes:
    """How each text is spelled: 0 string, 1 integral, 2 fractional, 3 boolean."""
    parts = [_spelled(data, offsets[at : at + _TOGETHER + 1]) for at in range(0, len(offsets) - 1, _TOGETHER)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint8)


def _spelled(data: Bytes, offsets: Ints) -> Bytes:
    found = np.zeros(len(offsets) - 1, np.uint8)
    rows = np.flatnonzero(offsets[1:] > offsets[:-1])
    states = np.zeros(len(rows), np.uint8)
    at, ends = offsets[rows], offsets[rows + 1]
    for _ in range(_STEPS):
        if len(rows) == 0:
            return found
        states = _FOLLOWS.take((states.astype(np.int64) << 8) | data.take(at, mode="clip"), mode="clip")
        at = at + 1
        over = at >= ends
        if over.any():
            ended = np.flatnonzero(at == ends)
            found[rows[ended]] = _KINDS[states[ended]]
        left = np.flatnonzero((states != _STRING) & ~over)
        if len(left) < 0.7 * len(rows):  # the others may go on: what is a string stays one
            rows, at, ends, states = rows[left], at[left], ends[left], states[left]
    for row in rows[(states != _STRING) & (at < ends)].tolist():
        text = data[offsets[row] : offsets[row + 1]].tobytes()
        found[row] = next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(text)), 0)
    return found
