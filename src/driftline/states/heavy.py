"""Frequent texts of a column that has too many to count: a table that texts and their counts are read out of.

The table (`driftline.kernels.heavy`) is linear in the rows: tables add up, so a state depends on the rows alone, never
on their split or order, as no summary that keeps and drops candidates does. It counts rows; it does not weigh them.

What is read out of it:

- A count is never too low, and with probability 95% too high by at most `ERROR` (0.27%) of all rows.
- A text that has at least `LEAST` (2%) of all rows is found unless both of its cells hold others that outnumber it and
  are not themselves found: very likely, but no promise. In our tests all were found of Zipf-like columns, and at least
  99.7% where up to 48 texts share a column equally.
- A text of at most 16 bytes comes back whole, checked by 32 bits of its hash. Of a longer one the table knows the first
  16 bytes and these 32 bits: enough to tell texts apart and to count, not to spell the rest.

The method is combinatorial group testing: Cormode and Muthukrishnan, "What's hot and what's not", 2003; texts that were
found are taken out of their cells, so that others show, as an invertible Bloom lookup table does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import e
from typing import Final

import numpy as np

from driftline.errors import Corrupt
from driftline.kernels import heavy
from driftline.kernels.heavy import BITS, PREFIX, WIDTH, Words
from driftline.kernels.numbers import hash_strings, table_of_counts
from driftline.kernels.reference import Ints
from driftline.states.packing import PackedArray, pack_array, unpack_array

LEAST: Final = 0.02
"""The share of all rows from which on a text is found, very likely."""
ERROR: Final = e / WIDTH
"""By how much of all rows a count is too high at most, with probability 1 - e^-3."""

FAINTEST: Final = LEAST / 8
"""Texts of so large a share are taken out of their cells, to show others."""
_ROUNDS: Final = 64


@dataclass(frozen=True, slots=True)
class Heavy:
    """A text that was read out of a table."""

    key: tuple[int, int, int]
    """What the table knows of it."""
    text: str | None
    """None: longer than what the table knows."""
    count: int
    """Its rows; never too few."""

    @property
    def prefix(self) -> str:
        """How the text begins, as far as the table knows."""
        return _prefix(self.key).decode("utf-8", "ignore")


@dataclass(frozen=True, slots=True)
class HeavyState:
    """The table of some texts: small in memory, so it lies packed."""

    packed: PackedArray

    @classmethod
    def of_table(cls, table: Ints) -> HeavyState:
        """The state of a table that the kernel filled."""
        return cls(pack_array(table))

    @classmethod
    def of_counts(cls, words: Words, counts: Ints) -> HeavyState:
        """The state of texts that are counted already."""
        return cls.of_table(table_of_counts(words, counts))

    @property
    def table(self) -> Ints:
        """The counters."""
        return unpack_array(self.packed).astype(np.int64)

    def merge(self, other: HeavyState, /) -> HeavyState:
        """The rows of both."""
        return HeavyState.of_table(self.table + other.table)

    def checked(self) -> HeavyState:
        """The same state. Raises Corrupt when no rows give such counters."""
        table = self.table
        if len(table) != heavy.SIZE:
            raise Corrupt(f"a table of {len(table)} counters where {heavy.SIZE} are")
        cells, sketch = heavy.cells(table), heavy.sketch(table)
        rows = {*cells[:, :, 0].sum(axis=1).tolist(), *sketch.sum(axis=1).tolist()}
        if len(rows) > 1 or (cells[:, :, 1:] > cells[:, :, :1]).any() or int(table.min()) < 0:
            raise Corrupt("a table of frequent texts whose counters contradict each other")
        return self

    @property
    def rows(self) -> int:
        """How many rows it has seen."""
        return int(heavy.sketch(self.table)[0].sum())

    def found(self, share: float, words: Words, counts: Ints) -> list[Heavy]:
        """The texts that have at least this share of all rows, the most frequent first.

        Args:
            share: 0..1; below `LEAST` many are missed.
            words, counts: keys of texts whose counts are known: they are not among the answers, but help to find them.
        """
        reader = _Reader(self.table)
        reader.take_out(words, counts)
        return reader.read(min(share, FAINTEST), share)


class _Reader:
    """Reads texts out of a table, and takes them out of its cells."""

    def __init__(self, table: Ints) -> None:
        self.whole, self.sketch = heavy.cells(table), heavy.sketch(table)
        self.rest = self.whole.copy()
        self.rows = int(self.sketch[0].sum())
        self.seen: set[tuple[int, ...]] = set()

    def read(self, faintest: float, share: float) -> list[Heavy]:
        """The texts of at least `share`; those of at least `faintest` are taken out as they are found."""
        found: list[Heavy] = []
        for _ in range(_ROUNDS):
            words = self._candidates(faintest)
            counts = self._counts(words)
            # The most frequent ones first: what they leave behind hides the others.
            enough = np.flatnonzero(counts >= max(1, faintest * self.rows, counts.max(initial=0) // 4))
            if not len(enough):
                break
            words, counts = words[:, enough], counts[enough]
            self.take_out(words, counts)
            keys = [(int(a), int(b), int(c)) for a, b, c in words.T]
            found += [Heavy(key, text, int(n)) for key, text, n in zip(keys, _texts(keys), counts, strict=True)]
        chosen = [each for each in found if each.count >= share * self.rows]
        return sorted(chosen, key=lambda each: (-each.count, each.key))

    def take_out(self, words: Words, counts: Ints) -> None:
        """Take texts of these keys out of their cells."""
        self.seen.update(map(tuple, words.T.tolist()))
        heavy.add_weighted(self.rest, words, -counts)

    def _candidates(self, faintest: float) -> Words:
        """Keys that make up most of a cell, if any does; those that belong there."""
        full = self.rest[:, :, 0] >= max(1, faintest * self.rows)
        rows, buckets = np.nonzero(full)
        cells = self.rest[full]
        bits = np.packbits(2 * cells[:, 1:] > cells[:, :1], axis=1, bitorder="little")
        words = np.zeros((len(cells), 24), np.uint8)
        words[:, : BITS // 8] = bits
        keys = np.ascontiguousarray(words.view("<u8").T)
        belongs = heavy.places(keys[2])[0][rows, np.arange(len(rows))] == buckets
        fresh = sorted(set(map(tuple, keys[:, belongs].T.tolist())) - self.seen)
        return np.array(fresh, np.uint64).reshape(-1, 3).T

    def _counts(self, words: Words) -> Ints:
        """As many rows as texts of these keys have at most."""
        buckets, counters = heavy.places(words[2])
        least: Ints = self.sketch[np.arange(len(counters))[:, None], counters].min(axis=0)
        bits = heavy.bits_of(words)
        for own, where in zip(self.whole, buckets, strict=True):
            cells = own[where]
            alike = np.where(bits == 1, cells[:, 1:], cells[:, :1] - cells[:, 1:])
            least = np.minimum(least, alike.min(axis=1, initial=np.iinfo(np.int64).max))
        return least


def _prefix(key: tuple[int, int, int]) -> bytes:
    return b"".join(word.to_bytes(8, "little") for word in key[:2])


def _texts(keys: Iterable[tuple[int, int, int]]) -> list[str | None]:
    return [_text(key) for key in keys]


def _text(key: tuple[int, int, int]) -> str | None:
    """The text of at most 16 bytes whose key this is."""
    prefix = _prefix(key)
    least = len(prefix.rstrip(b"\0"))
    # Zeros at the end may be its own.
    data = np.frombuffer(prefix, np.uint8)
    for length in range(least, PREFIX + 1):
        (hashed,) = hash_strings(data, np.array([0, length], np.int64)).tolist()
        if hashed & 0xFFFFFFFF == key[2]:
            try:
                return prefix[:length].decode()
            except UnicodeDecodeError:
                return None
    return None
