"""Everything that the monitors keep of one column: rows, spellings, moments, distribution and frequent values.

Each part says its own error; rows, spellings and moments are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from driftline.kernels.reference import exact_sums
from driftline.states.counts import CountsState
from driftline.states.frequent import FrequentState
from driftline.states.histogram import HistogramState
from driftline.states.moments import MomentsState
from driftline.states.packing import packed, unpacked
from driftline.states.reading import Numbers, column_of, read
from driftline.states.rows import RowsState, weights_of


@dataclass(frozen=True, slots=True)
class ColumnState:
    """What was kept of one column."""

    rows: RowsState = field(default_factory=RowsState)
    kinds: CountsState = field(default_factory=CountsState)
    moments: MomentsState = field(default_factory=MomentsState)
    histogram: HistogramState = field(default_factory=HistogramState)
    values: FrequentState | None = None  # None: every batch so far had a typed column of numbers (or no values)

    def merge(self, other: ColumnState, /) -> ColumnState:
        """The rows of both."""
        values = self.values or other.values
        if self.values is not None and other.values is not None:
            values = self.values.merge(other.values)
        return ColumnState(
            rows=self.rows.merge(other.rows),
            kinds=self.kinds.merge(other.kinds),
            moments=self.moments.merge(other.moments),
            histogram=self.histogram.merge(other.histogram),
            values=values,
        )

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        parts = (self.rows, self.kinds, self.moments, self.histogram)
        values = None if self.values is None else self.values.encode()
        return packed("column", (*(part.encode() for part in parts), values))

    @classmethod
    def decode(cls, data: bytes) -> ColumnState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("column", data, tuple[bytes, bytes, bytes, bytes, bytes | None])
        rows, kinds, moments, histogram, values = fields
        return cls(
            rows=RowsState.decode(rows),
            kinds=CountsState.decode(kinds),
            moments=MomentsState.decode(moments),
            histogram=HistogramState.decode(histogram),
            values=None if values is None else FrequentState.decode(values),
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
        weights = weights_of(batch)
        reading = read(column_of(batch, self.column), weights)
        numbers = reading.numbers.ordered()
        histogram = HistogramState.of_ordered(numbers)
        return ColumnState(
            rows=RowsState.of_rows(batch.num_rows, weights),
            kinds=reading.kinds,
            moments=_moments(numbers.finite(), histogram),
            histogram=histogram,
            values=None if reading.texts is None else FrequentState.of_texts(reading.texts),
        )

    def decode(self, data: bytes, /) -> ColumnState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return ColumnState.decode(data)


def _moments(finite: Numbers, histogram: HistogramState) -> MomentsState:
    if histogram.shift or len(finite.values) == 0:
        return MomentsState.of_finite(finite)
    # Every bucket is one value: the sums over the few buckets are the sums over the rows.
    s1, s2 = exact_sums(histogram.lower_edges(), histogram.row_weights())
    return MomentsState.of_sums(finite, s1, s2)
