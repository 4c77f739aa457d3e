"""How many rows there were, and how many they stand for.

A captured row was kept with some inclusion probability p and stands for 1/p rows. Weights are fixed point, so that
their sums are exact integers in every order: a row weighs `ONE` when p is 1, and round(ONE / p) otherwise, which is
within 2^-17 of 1/p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.errors import InputError
from driftline.schema import PROBABILITY
from driftline.states.packing import pack_integer, packed, unpack_integer, unpacked

ONE: Final = 1 << 16
"""The weight of a row of inclusion probability 1."""
LEAST_PROBABILITY: Final = 1e-6
"""A smaller inclusion probability is refused: sums of weights must fit into 63 bits."""

Weights: TypeAlias = npt.NDArray[np.int64]
PackedCount: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of some sort: how many were seen, and their weight."""

    n: int = 0
    w: int = 0  # in units of 1 / ONE

    def __add__(self, other: Count) -> Count:
        return Count(self.n + other.n, self.w + other.w)

    @property
    def total(self) -> float:
        """How many rows they stand for."""
        return self.w / ONE


NO_ROWS: Final = Count()


def weights_of(batch: pa.RecordBatch) -> Weights | None:
    """The weight of each row, in units of 1 / ONE; None when every row has inclusion probability 1.

    Raises:
        InputError: a probability is null, NaN, or outside (0, 1].
    """
    at = batch.schema.get_field_index(PROBABILITY)
    if at < 0 or batch.num_rows == 0:
        return None
    column = batch.column(at)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise InputError(f"column {PROBABILITY!r} holds {column.type}, but inclusion probabilities are numbers")
    p = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    wrong = ~((p >= LEAST_PROBABILITY) & (p <= 1.0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        value = "null" if not column[row].is_valid else repr(float(p[row]))
        raise InputError(
            f"column {PROBABILITY!r}, row {row} of the batch: {value} is not an inclusion probability; "
            f"it must be at least {LEAST_PROBABILITY:g} and at most 1"
        )
    if (p == 1.0).all():
        return None
    return np.rint(ONE / p).astype(np.int64)


def count_of(n: int, weights: Weights | None, chosen: npt.NDArray[np.bool_] | None = None) -> Count:
    """The count of `n` rows: those of `weights` (None: all weigh ONE), or only the `chosen` among them."""
    if weights is None:
        return Count(n, n * ONE)
    return Count(n, int(weights.sum() if chosen is None else weights[chosen].sum()))


def square_sum(n: int, weights: Weights | None) -> int:
    """The sum of the squared weights of `n` rows, in units of 1 / ONE²."""
    if weights is None:
        return n * ONE * ONE
    if len(weights) and (weights == weights[0]).all():
        return n * int(weights[0]) ** 2
    distinct, counts = np.unique(weights, return_counts=True)
    return sum(w * w * c for w, c in zip(distinct.tolist(), counts.tolist(), strict=True))


def effective_size(w: int, w2: int) -> float:
    """Kish's effective number of rows, w² / w2; 0 for no rows."""
    return w * w / w2 if w2 else 0.0


@dataclass(frozen=True, slots=True)
class RowsState:
    """The rows of a table; exact."""

    n: int = 0
    w: int = 0  # in units of 1 / ONE
    w2: int = 0  # sum of the squared weights, in units of 1 / ONE²

    @property
    def total(self) -> float:
        """How many rows the table stands for."""
        return self.w / ONE

    @property
    def effective(self) -> float:
        """How many rows of equal weight would tell as much; 0 for no rows."""
        return effective_size(self.w, self.w2)

    def merge(self, other: RowsState, /) -> RowsState:
        """The rows of both."""
        return RowsState(self.n + other.n, self.w + other.w, self.w2 + other.w2)

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        return packed("rows", (self.n, self.w, pack_integer(self.w2)))

    @classmethod
    def decode(cls, data: bytes) -> RowsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        n, w, w2 = unpacked("rows", data, tuple[int, int, bytes])
        return cls(n, w, unpack_integer(w2))

    @classmethod
    def of_rows(cls, n: int, weights: Weights | None) -> RowsState:
        """The state of `n` rows with these weights."""
        return cls(n, count_of(n, weights).w, square_sum(n, weights))


@dataclass(frozen=True, slots=True)
class Rows:
    """Count the rows of a table."""

    @property
    def columns(self) -> tuple[str, ...]:
        """None: rows are counted without a look at their columns."""
        return ()

    def empty(self) -> RowsState:
        """No rows."""
        return RowsState()

    def of(self, batch: pa.RecordBatch, /) -> RowsState:
        """The rows of `batch`."""
        return RowsState.of_rows(batch.num_rows, weights_of(batch))

    def decode(self, data: bytes, /) -> RowsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return RowsState.decode(data)
