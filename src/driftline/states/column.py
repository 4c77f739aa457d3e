"""Everything that the monitors keep of one column: rows, spellings, moments, distribution and frequent values.

Each part says its own error; rows, spellings and moments are exact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.kernels import heavy
from driftline.kernels.distinct import SIZE, Registers, estimate
from driftline.kernels.numbers import (
    Accumulator,
    accumulator,
    compiled,
    count_codes,
    hash_strings,
    registers_of,
    sample_strings,
    united,
)
from driftline.kernels.reference import Buckets, Ints, exact_sums, hash_keys, order_keys
from driftline.states.counts import CountsState
from driftline.states.frequent import FrequentState, of_level
from driftline.states.heavy import HeavyState
from driftline.states.histogram import LIMIT, HistogramState
from driftline.states.moments import MomentsState
from driftline.states.packing import checked_registers, packed, unpacked
from driftline.states.reading import (
    Numbers,
    Spelled,
    Tally,
    Typed,
    codes,
    column_of,
    is_fractional,
    is_text,
    lying_strings,
    lying_texts,
    number_column,
    plain,
    read,
)
from driftline.states.rows import NO_ROWS, ONE, Count, RowsState, Weights, weights_of

_SORTS: Final = ("null", "integral", "fractional", "boolean", "other")
_ENTRIES: Final = 1 << 16  # texts of dictionaries that are held before they are put together
_PIECE: Final = 1 << 17  # numbers that are spelled out of counted texts at once


@dataclass(frozen=True, slots=True)
class ColumnState:
    """What was kept of one column."""

    rows: RowsState = field(default_factory=RowsState)
    kinds: CountsState = field(default_factory=CountsState)
    moments: MomentsState = field(default_factory=MomentsState)
    histogram: HistogramState = field(default_factory=HistogramState)
    values: FrequentState | None = None  # None: every batch so far had a typed column of numbers (or no values)
    registers: bytes | None = None  # of the finite numbers but zero; None iff every bucket of the histogram is a value

    @property
    def distinct_numbers(self) -> float:
        """How many different finite numbers there are; an estimate unless the histogram's shift is 0."""
        zero = float(self.histogram.zero.n > 0)
        buckets = len(self.histogram.keys)
        if self.registers is None:
            return buckets + zero
        return max(float(buckets), estimate(np.frombuffer(self.registers, np.uint8))) + zero

    def merge(self, other: ColumnState, /) -> ColumnState:
        """The rows of both."""
        values = self.values or other.values
        if self.values is not None and other.values is not None:
            values = self.values.merge(other.values)
        histogram = self.histogram.merge(other.histogram)
        return ColumnState(
            rows=self.rows.merge(other.rows),
            kinds=self.kinds.merge(other.kinds),
            moments=self.moments.merge(other.moments),
            histogram=histogram,
            values=values,
            registers=_bytes(united(histogram.shift, self._seen(), other._seen())),
        )

    def _seen(self) -> tuple[Buckets, Registers | None]:
        return self.histogram.buckets, None if self.registers is None else np.frombuffer(self.registers, np.uint8)

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        parts = (self.rows, self.kinds, self.moments, self.histogram)
        values = None if self.values is None else self.values.encode()
        return packed("column", (*(part.encode() for part in parts), values, self.registers))

    @classmethod
    def decode(cls, data: bytes) -> ColumnState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("column", data, tuple[bytes, bytes, bytes, bytes, bytes | None, bytes | None])
        rows, kinds, moments, packed_histogram, values, registers = fields
        histogram = HistogramState.decode(packed_histogram)
        return cls(
            rows=RowsState.decode(rows),
            kinds=CountsState.decode(kinds),
            moments=MomentsState.decode(moments),
            histogram=histogram,
            values=None if values is None else FrequentState.decode(values),
            registers=checked_registers(registers, histogram.shift > 0),
        )


@dataclass(frozen=True, slots=True)
class Column:
    """Keep all of one column. Strings that are spelled as numbers count among its numbers, too."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def empty(self) -> ColumnState:
        """No rows."""
        return ColumnState()

    def of(self, batch: pa.RecordBatch, /) -> ColumnState:
        """What the rows of `batch` hold in this column."""
        folding = self.folding()
        folding.add(batch)
        return folding.state()

    def folding(self) -> ColumnFolding:
        """Keeps the numbers of many batches in one accumulator."""
        return ColumnFolding(self.column)

    def decode(self, data: bytes, /) -> ColumnState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return ColumnState.decode(data)


class ColumnFolding:
    """Takes in the batches of one column.

    Numbers go into an accumulator, and texts are counted by dictionary and put together now and then. That needs one
    weight for all rows of a batch; where weights differ, the batch has its own state.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._state = ColumnState()  # of all that is in neither accumulators nor counts
        self._accumulators: dict[int, Accumulator] = {}  # by the weight of the rows, as the counts are
        self._counts: dict[int, Counter[str]] = defaultdict(Counter)
        self._texts: _Texts | None = None
        self._many: dict[int, _Many] = {}  # by the weight of the rows

    def add(self, batch: pa.RecordBatch, /) -> None:
        """Take in the rows of `batch`."""
        weights = weights_of(batch)
        column = plain(column_of(batch, self._column))
        scale = _common(weights)
        if scale is None:
            self._state = self._state.merge(_of_batch(column, weights, RowsState.of_rows(batch.num_rows, weights)))
            return
        counts, kind, null = self._counts[scale], column.type, column.null_count
        counts["rows"] += len(column)
        counts["null"] += null
        if pa.types.is_dictionary(kind):
            self._count(column, scale)
        elif is_text(kind):
            level = 0 if self._state.values is None else self._state.values.level
            if level:
                self._sample(column, level, scale)
            else:
                encoded = column.dictionary_encode()
                self._count(encoded, scale)
                if len(encoded.dictionary) > LIMIT:
                    self._close_texts()  # from now on, most need not be looked at one by one
        elif pa.types.is_boolean(kind):
            counts["boolean"] += len(column) - null
            counts["true"] += column.true_count
        elif (numbers := number_column(column)) is not None:
            self._accumulate(numbers, scale)
            counts["fractional" if is_fractional(kind) else "integral"] += len(column) - null
        elif not pa.types.is_null(kind):
            counts["other"] += len(column) - null

    def state(self) -> ColumnState:
        """The state of all rows so far."""
        self._close_texts()
        for scale in list(self._many):
            self._close_many(scale)
        state = self._state
        for scale, counts in self._counts.items():
            kinds = CountsState(**{sort: Count(counts[sort], counts[sort] * scale) for sort in _SORTS if counts[sort]})
            rows = RowsState(counts["rows"], counts["rows"] * scale, counts["rows"] * scale**2)
            values = None
            if "boolean" in counts:
                values = _truths(counts["true"], counts["boolean"] - counts["true"], scale)
            state = state.merge(ColumnState(rows, kinds, values=values))
        for scale, accumulator_ in self._accumulators.items():
            kept = accumulator_.kept()
            histogram = HistogramState.of_kept(kept, scale)
            moments = MomentsState.of_kept(kept, scale)
            registers = _bytes(kept.registers)
            state = state.merge(ColumnState(moments=moments, histogram=histogram, registers=registers))
        return state

    def _accumulate(self, numbers: Typed, scale: int) -> None:
        if numbers.length:
            found = self._accumulators.get(scale)
            if found is None:
                found = self._accumulators[scale] = accumulator(LIMIT)
            found.add(*numbers)

    def _count(self, column: pa.DictionaryArray, scale: int) -> None:
        counts = count_codes(*codes(column), len(column.dictionary))
        if self._texts is not None and (self._texts.scale != scale or self._texts.full_for(column.dictionary)):
            self._close_texts()
        if self._texts is None:
            self._texts = _Texts(scale)
        self._texts.add(column.dictionary, counts)

    def _sample(self, texts: pa.Array, level: int, scale: int) -> None:
        """Take in texts of a column that has so many that only those of this level count one by one."""
        many = self._many.get(scale) or self._many.setdefault(scale, _Many(scale))
        numerals = many.add(texts, level)
        if len(numerals):
            values = Spelled.of(numerals).values
            self._accumulate(Typed("d", pa.py_buffer(values), None, 0, len(values)), scale)
        if many.entries > _ENTRIES:
            self._close_many(scale)

    def _close_many(self, scale: int) -> None:
        kinds, values = self._many.pop(scale).state()
        self._state = self._state.merge(ColumnState(kinds=kinds, values=values))

    def _close_texts(self) -> None:
        if self._texts is None:
            return
        tally, scale, self._texts = self._texts.tally(), self._texts.scale, None
        spelled = Spelled.of(tally.distinct)
        for values, count in _repeated(spelled.values, tally.counts[spelled.number]):
            self._accumulate(Typed("d", pa.py_buffer(values), None, 0, count), scale)
        kinds = spelled.kinds(NO_ROWS, tally)
        self._state = self._state.merge(ColumnState(kinds=kinds, values=FrequentState.of_tally(tally)))


@dataclass(slots=True)
class _Texts:
    """The rows of each text of some dictionaries, all of one weight."""

    scale: int
    entries: int = 0
    distinct: list[pa.Array] = field(default_factory=list)
    counts: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def full_for(self, distinct: pa.Array) -> bool:
        """Whether this dictionary should not be held as well; the last one again costs nothing."""
        return self.entries > _ENTRIES and not self.distinct[-1].equals(distinct)

    def add(self, distinct: pa.Array, counts: npt.NDArray[np.int64]) -> None:
        if self.distinct and self.distinct[-1].equals(distinct):
            self.counts[-1] = self.counts[-1] + counts
        else:
            self.distinct.append(distinct)
            self.counts.append(counts)
            self.entries += len(distinct)

    def tally(self) -> Tally:
        whole = pa.concat_arrays([each.cast(pa.large_string()) for each in self.distinct]).dictionary_encode()
        counts = np.zeros(len(whole.dictionary), np.int64)
        np.add.at(counts, whole.indices.to_numpy(zero_copy_only=False), np.concatenate(self.counts))
        return Tally(whole.dictionary, counts, counts * self.scale)


@dataclass(slots=True)
class _Many:
    """Texts of which only a sample is kept one by one, all of one weight."""

    scale: int
    level: int = 0
    entries: int = 0
    kinds: CountsState = field(default_factory=CountsState)
    sampled: list[pa.Array] = field(default_factory=list)
    registers: bytearray = field(default_factory=lambda: bytearray(SIZE))
    table: Ints = field(default_factory=heavy.empty)
    waiting: list[heavy.Words] = field(default_factory=list)  # for the table; only without the compiled kernel

    def add(self, texts: pa.Array, level: int) -> pa.Array:
        """Take in the texts; gives those that are spelled as numbers."""
        chosen, numerals, counts = self._looked_at(texts, level)
        self.level = max(self.level, level)
        self.sampled.append(chosen)
        self.entries += len(chosen)
        sorts = zip(("string", "integral", "fractional", "boolean"), counts, strict=True)
        self.kinds = self.kinds.merge(CountsState(**{sort: Count(n, n * self.scale) for sort, n in sorts}))
        return numerals

    def _looked_at(self, texts: pa.Array, level: int) -> tuple[pa.Array, pa.Array, Sequence[int]]:
        if compiled():
            offsets, data = lying_texts(texts)
            found = sample_strings(offsets, level, data, self.registers, self.table)
            return texts.take(pa.array(found.rows)), texts.take(pa.array(found.numerals)), found.kinds
        texts = texts.drop_null()
        lying = lying_strings(texts)
        hashes, spelled = hash_strings(*lying), Spelled.of(texts)
        self.waiting.append(heavy.words_of(*lying, hashes))
        if sum(words.shape[1] for words in self.waiting) >= heavy.TOGETHER:
            self._take_in()
        self.registers[:] = np.maximum(np.frombuffer(self.registers, np.uint8), registers_of(hashes)).tobytes()
        return texts.filter(pa.array(of_level(hashes, level))), texts.filter(pa.array(spelled.number)), spelled.counts

    def _take_in(self) -> None:
        if self.waiting:
            heavy.take_in(self.table, self.waiting[0] if len(self.waiting) == 1 else np.hstack(self.waiting))
            self.waiting.clear()

    def state(self) -> tuple[CountsState, FrequentState]:
        """What was taken in. It merges with a state of its level as if that had been kept of all texts."""
        self._take_in()
        texts = pa.concat_arrays(self.sampled).dictionary_encode()
        counts = np.bincount(texts.indices.to_numpy(zero_copy_only=False), minlength=len(texts.dictionary))
        return self.kinds, FrequentState.of_sample(
            Tally(texts.dictionary, counts.astype(np.int64), counts * self.scale),
            self.level,
            bytes(self.registers),
            HeavyState.of_table(self.table),
        )


def _common(weights: Weights | None) -> int | None:
    """The weight that every row has; None when they differ."""
    if weights is None:
        return ONE
    return int(weights[0]) if len(weights) and (weights == weights[0]).all() else None


def _of_batch(column: pa.Array, weights: Weights | None, rows: RowsState) -> ColumnState:
    """The state of rows whose weights differ."""
    reading = read(column, weights)
    ordered = reading.numbers.ordered()
    finite = ordered.finite()
    histogram = HistogramState.of_ordered(ordered)
    registers = None
    if histogram.shift:
        numbers = finite.values
        registers = registers_of(hash_keys(order_keys(numbers[numbers < 0], numbers[numbers > 0])))
    values = None if reading.texts is None else FrequentState.of_tally(reading.texts.tally)
    return ColumnState(rows, reading.kinds, _moments(finite, histogram), histogram, values, _bytes(registers))


def _truths(true: int, false: int, scale: int) -> FrequentState:
    counts = np.array([false, true], np.int64)
    return FrequentState.of_tally(Tally(pa.array(["false", "true"]), counts, counts * scale))


def _repeated(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> Iterator[tuple[Any, int]]:
    """Each value as often as it was counted, in pieces of bounded size."""
    while counts.any():
        piece = np.minimum(counts, max(1, _PIECE // len(counts)))
        yield np.repeat(values, piece), int(piece.sum())
        counts = counts - piece


def _moments(finite: Numbers, histogram: HistogramState) -> MomentsState:
    if histogram.shift or len(finite.values) == 0:
        return MomentsState.of_finite(finite)
    # Every bucket is one value: the sums over the few buckets are the sums over the rows.
    s1, s2 = exact_sums(histogram.lower_edges(), histogram.row_weights())
    return MomentsState.of_sums(finite, s1, s2)


def _bytes(registers: Registers | None) -> bytes | None:
    return None if registers is None else registers.tobytes()
