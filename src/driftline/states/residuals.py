"""What a regression missed by: exact sums of the powers of labels and errors, enough for every metric's interval.

The error of a row is e = prediction - label, rounded to float64 once, and so is each product in `e4`, `e2y` and so
on; from there every sum is an exact integer and equal whatever the split and the order. A product beyond float64 counts
as the greatest float64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.kernels.reference import exact_sum
from driftline.states.moments import MomentsState
from driftline.states.packing import pack_integers, packed, unpack_integers, unpacked
from driftline.states.reading import Numbers, column_numbers, column_of
from driftline.states.rows import NO_ROWS, ONE, Count, PackedCount, count_of, effective_size, square_sum, weights_of

_SUMS: Final = ("e", "abs_e", "e2", "e4", "y2", "y3", "y4", "e2y", "e2y2")
_GREATEST: Final = float(np.finfo(np.float64).max)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ResidualsState:
    """Sums over the rows with label y and prediction; e is prediction - label. In units of 2^-1074 / ONE."""

    n: int = 0
    w: int = 0  # in units of 1 / ONE
    w2: int = 0  # sum of the squared weights, in units of 1 / ONE²
    missing: Count = NO_ROWS  # rows without a (finite) label or prediction
    e: int = 0
    abs_e: int = 0
    e2: int = 0
    e4: int = 0
    y2: int = 0  # of the rounded squares; the exact ones are in `y`
    y3: int = 0
    y4: int = 0
    e2y: int = 0
    e2y2: int = 0
    y: MomentsState = field(default_factory=MomentsState)  # of the labels

    @property
    def effective(self) -> float:
        """How many rows of equal weight would tell as much; 0 for none."""
        return effective_size(self.w, self.w2)

    def merge(self, other: ResidualsState, /) -> ResidualsState:
        """The rows of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return ResidualsState(
            n=self.n + other.n,
            w=self.w + other.w,
            w2=self.w2 + other.w2,
            missing=self.missing + other.missing,
            y=self.y.merge(other.y),
            **sums,
        )

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        sums = pack_integers(self.w2, *(getattr(self, name) for name in _SUMS))
        missing = (self.missing.n, self.missing.w)
        return packed("residuals", (self.n, self.w, missing, sums, self.y.encode()))

    @classmethod
    def decode(cls, data: bytes) -> ResidualsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("residuals", data, tuple[int, int, PackedCount, list[bytes], bytes])
        n, w, missing, packed_sums, y = fields
        w2, *sums = unpack_integers(packed_sums, 1 + len(_SUMS))
        by_name = dict(zip(_SUMS, sums, strict=True))
        return cls(n=n, w=w, w2=w2, missing=Count(*missing), y=MomentsState.decode(y), **by_name)


@dataclass(frozen=True, slots=True)
class Residuals:
    """Keep what the predictions of a regression missed by."""

    prediction: str
    label: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Prediction and label."""
        return (self.prediction, self.label)

    def empty(self) -> ResidualsState:
        """No rows."""
        return ResidualsState()

    def of(self, batch: pa.RecordBatch, /) -> ResidualsState:
        """The rows of `batch` that have both."""
        weights = weights_of(batch)
        prediction = column_numbers(column_of(batch, self.prediction), self.prediction)
        label = column_numbers(column_of(batch, self.label), self.label)
        both = np.isfinite(prediction) & np.isfinite(label)
        missing = count_of(batch.num_rows - int(both.sum()), weights, ~both)
        heavy = None if weights is None else weights[both]
        y = label[both]
        scale = ONE if heavy is None else 1
        sums = {name: scale * exact_sum(each, heavy) for name, each in _powers(prediction[both], y).items()}
        count = count_of(len(y), heavy)
        labels = MomentsState.of_finite(Numbers(y, heavy).ordered())
        return ResidualsState(n=count.n, w=count.w, w2=square_sum(count.n, heavy), missing=missing, y=labels, **sums)

    def decode(self, data: bytes, /) -> ResidualsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return ResidualsState.decode(data)


def _powers(prediction: Floats, y: Floats) -> dict[str, Floats]:
    """The values of `_SUMS`, row by row."""
    with np.errstate(over="ignore", under="ignore"):
        e = _bounded(prediction - y)
        e2, y2 = _bounded(e * e), _bounded(y * y)
        each = (e, np.abs(e), e2, e2 * e2, y2, y2 * y, y2 * y2, e2 * y, e2 * y2)
    return dict(zip(_SUMS, map(_bounded, each), strict=True))


def _bounded(x: Floats) -> Floats:
    return np.clip(x, -_GREATEST, _GREATEST)
