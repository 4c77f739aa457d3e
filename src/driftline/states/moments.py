"""Mean, variance, least and greatest of the numbers of a column, without any rounding on the way.

The sums of the values and of their squares are integers, so merging is exact and the mean and the variance are equal
bit for bit whatever the split and the order of the rows. Only the last division rounds: the mean is the float64
nearest to the true mean of the float64 values, and so is the variance. NaN and infinities are left out (the histogram
counts them).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Final

import pyarrow as pa

from driftline.errors import Undefined
from driftline.kernels.in_numpy import Kept
from driftline.kernels.reference import UNIT, exact_sums
from driftline.states.packing import pack_integer, packed, unpack_integer, unpacked
from driftline.states.reading import Numbers, column_of, read
from driftline.states.rows import ONE, effective_size, square_sum, weights_of

_NONE: Final = "there is no row with a finite number"


@dataclass(frozen=True, slots=True)
class MomentsState:
    """The sums of the finite numbers of a column; exact."""

    n: int = 0
    w: int = 0  # in units of 1 / ONE
    w2: int = 0  # sum of the squared weights, in units of 1 / ONE²
    s1: int = 0  # sum of w x, in units of 2^-1074 / ONE
    s2: int = 0  # sum of w x², in units of 2^-2148 / ONE
    minimum: float | None = None
    maximum: float | None = None

    @property
    def mean(self) -> float:
        """The mean, correctly rounded. Raises Undefined when there is no number."""
        self._need()
        return self.s1 / (self.w << UNIT)

    @property
    def total(self) -> float:
        """The sum, correctly rounded. Raises Undefined beyond float64."""
        return _quotient(self.s1, ONE << UNIT, "sum")

    @property
    def variance(self) -> float:
        """The population variance, correctly rounded. Raises Undefined when there is no number."""
        self._need()
        return _quotient(self.s2 * self.w - self.s1 * self.s1, (self.w * self.w) << (2 * UNIT), "variance")

    @property
    def std(self) -> float:
        """The population standard deviation. Raises Undefined when there is no number."""
        return sqrt(self.variance)

    @property
    def effective(self) -> float:
        """How many rows of equal weight would tell as much; 0 for none."""
        return effective_size(self.w, self.w2)

    def _need(self) -> None:
        if self.n == 0:
            raise Undefined(_NONE)

    def merge(self, other: MomentsState, /) -> MomentsState:
        """The numbers of both."""
        return MomentsState(
            n=self.n + other.n,
            w=self.w + other.w,
            w2=self.w2 + other.w2,
            s1=self.s1 + other.s1,
            s2=self.s2 + other.s2,
            minimum=min((m for m in (self.minimum, other.minimum) if m is not None), default=None),
            maximum=max((m for m in (self.maximum, other.maximum) if m is not None), default=None),
        )

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        sums = tuple(pack_integer(number) for number in (self.w2, self.s1, self.s2))
        return packed("moments", (self.n, self.w, *sums, self.minimum, self.maximum))

    @classmethod
    def decode(cls, data: bytes) -> MomentsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("moments", data, tuple[int, int, bytes, bytes, bytes, float | None, float | None])
        n, w, w2, s1, s2, minimum, maximum = fields
        return cls(n, w, unpack_integer(w2), unpack_integer(s1), unpack_integer(s2), minimum, maximum)

    @classmethod
    def of_kept(cls, kept: Kept, scale: int = ONE) -> MomentsState:
        """The state of the finite numbers that an accumulator kept, each of them weighing `scale`."""
        n = kept.others + kept.zeros
        if n == 0:
            return cls()
        ends = [kept.least, kept.greatest] if kept.others else []
        ends += [0.0] if kept.zeros else []
        return cls(n, n * scale, n * scale**2, kept.sum * scale, kept.squares * scale, min(ends), max(ends))

    @classmethod
    def of_finite(cls, numbers: Numbers) -> MomentsState:
        """The state of finite numbers in ascending order."""
        if len(numbers.values) == 0:
            return cls()
        s1, s2 = exact_sums(numbers.values, numbers.weights)
        if numbers.weights is None:
            s1, s2 = s1 * numbers.scale, s2 * numbers.scale
        return cls.of_sums(numbers, s1, s2)

    @classmethod
    def of_sums(cls, numbers: Numbers, s1: int, s2: int) -> MomentsState:
        """The state of finite numbers in ascending order whose sums are known."""
        count = numbers.count
        w2 = count.n * numbers.scale**2 if numbers.weights is None else square_sum(count.n, numbers.weights)
        # Adding zero turns -0.0 into 0.0: which of the two came first must not be seen.
        first, last = float(numbers.values[0]) + 0.0, float(numbers.values[-1]) + 0.0
        return cls(count.n, count.w, w2, s1, s2, first, last)


def _quotient(numerator: int, denominator: int, what: str) -> float:
    try:
        return numerator / denominator
    except OverflowError:
        digits = len(str(int(Fraction(numerator, denominator))))
        raise Undefined(f"the {what} has {digits} digits and does not fit into float64") from None


@dataclass(frozen=True, slots=True)
class Moments:
    """Keep the moments of a column of numbers."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def empty(self) -> MomentsState:
        """No numbers."""
        return MomentsState()

    def of(self, batch: pa.RecordBatch, /) -> MomentsState:
        """The moments of the column's finite numbers."""
        numbers = read(column_of(batch, self.column), weights_of(batch)).numbers.ordered()
        return MomentsState.of_finite(numbers.finite())

    def decode(self, data: bytes, /) -> MomentsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return MomentsState.decode(data)
