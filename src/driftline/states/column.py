"""Everything that the monitors keep of one column: rows, spellings, moments, distribution and frequent values.

Each part says its own error; rows, spellings and moments are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from driftline.kernels.distinct import Registers, estimate, registers_of
from driftline.kernels.numbers import Accumulator, accumulator, united
from driftline.kernels.reference import Buckets, exact_sums, hash_keys, order_keys
from driftline.states.counts import CountsState
from driftline.states.frequent import FrequentState
from driftline.states.histogram import LIMIT, HistogramState
from driftline.states.moments import MomentsState
from driftline.states.packing import checked_registers, packed, unpacked
from driftline.states.reading import Numbers, column_of, is_fractional, plain, read, typed
from driftline.states.rows import ONE, Count, RowsState, Weights, weights_of


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
    """Takes in the batches of one column."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._state = ColumnState()  # all but the numbers that the accumulators took in
        self._accumulators: dict[int, Accumulator] = {}  # by the weight that all rows of a batch had

    def add(self, batch: pa.RecordBatch, /) -> None:
        """Take in the rows of `batch`."""
        weights = weights_of(batch)
        scale = _common(weights)
        column = plain(column_of(batch, self._column))
        lying = typed(column)
        rows = RowsState.of_rows(batch.num_rows, weights)
        if lying is None or scale is None:
            reading = read(column, weights)
            values = None if reading.texts is None else FrequentState.of_texts(reading.texts)
            numbers = reading.numbers
            if len(numbers.values) and scale is not None:
                self._accumulator(scale).add("d", numbers.values, None, 0, len(numbers.values))
                numbers = Numbers(numbers.values[:0], None)
            part = _part(rows, reading.kinds, numbers, values)
        else:
            if len(column):
                self._accumulator(scale).add(*lying)
            null = column.null_count
            missing, present = (Count(n, n * scale) for n in (null, len(column) - null))
            sort = "fractional" if is_fractional(column.type) else "integral"
            part = ColumnState(rows, CountsState(null=missing, **{sort: present}))
        self._state = self._state.merge(part)

    def state(self) -> ColumnState:
        """The state of all rows so far."""
        state = self._state
        for scale, accumulator_ in self._accumulators.items():
            kept = accumulator_.kept()
            histogram = HistogramState.of_kept(kept, scale)
            moments = MomentsState.of_kept(kept, scale)
            registers = _bytes(kept.registers)
            state = state.merge(ColumnState(moments=moments, histogram=histogram, registers=registers))
        return state

    def _accumulator(self, scale: int) -> Accumulator:
        found = self._accumulators.get(scale)
        if found is None:
            found = self._accumulators[scale] = accumulator(LIMIT)
        return found


def _common(weights: Weights | None) -> int | None:
    """The weight that every row has; None when they differ."""
    if weights is None:
        return ONE
    return int(weights[0]) if len(weights) and (weights == weights[0]).all() else None


def _part(rows: RowsState, kinds: CountsState, numbers: Numbers, values: FrequentState | None) -> ColumnState:
    """The state of rows whose weights differ, or of numbers that no accumulator took in."""
    ordered = numbers.ordered()
    finite = ordered.finite()
    histogram = HistogramState.of_ordered(ordered)
    registers = None
    if histogram.shift:
        values_ = finite.values
        registers = registers_of(hash_keys(order_keys(values_[values_ < 0], values_[values_ > 0])))
    return ColumnState(rows, kinds, _moments(finite, histogram), histogram, values, _bytes(registers))


def _moments(finite: Numbers, histogram: HistogramState) -> MomentsState:
    if histogram.shift or len(finite.values) == 0:
        return MomentsState.of_finite(finite)
    # Every bucket is one value: the sums over the few buckets are the sums over the rows.
    s1, s2 = exact_sums(histogram.lower_edges(), histogram.row_weights())
    return MomentsState.of_sums(finite, s1, s2)


def _bytes(registers: Registers | None) -> bytes | None:
    return None if registers is None else registers.tobytes()
