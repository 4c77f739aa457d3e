"""How the values of a column are spelled, and the type that follows from it; exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from driftline.errors import Corrupt
from driftline.schema import Kind
from driftline.states.packing import packed, unpacked
from driftline.states.rows import NO_ROWS, Count, PackedCount

_SORTS: Final = 6


@dataclass(frozen=True, slots=True)
class CountsState:
    """Rows by the spelling of one column's value.

    A string is fractional, integral or boolean by Model Monitor's patterns (`-1.5e3`, `+ 12`, `true`), else a
    string: `.5`, `1.`, `NaN` and `inf` are strings. A typed column counts as its type: dates and times as integral,
    and what has no simple value (lists, structs, binary) as `other`.
    """

    null: Count = NO_ROWS
    integral: Count = NO_ROWS
    fractional: Count = NO_ROWS
    boolean: Count = NO_ROWS
    string: Count = NO_ROWS
    other: Count = NO_ROWS

    @property
    def present(self) -> Count:
        """The rows that have a value."""
        sorts = (self.integral, self.fractional, self.boolean, self.string, self.other)
        return Count(sum([count.n for count in sorts]), sum([count.w for count in sorts]))

    @property
    def rows(self) -> Count:
        """All rows."""
        return self.null + self.present

    @property
    def kind(self) -> Kind:
        """The column's type: one string, or booleans among numbers, makes it a column of strings.

        >>> CountsState(integral=Count(3, 3), fractional=Count(1, 1)).kind
        <Kind.FRACTIONAL: 'Fractional'>
        """
        if self.present.n == 0:
            return Kind.UNKNOWN
        if self.string.n or self.other.n or self.boolean.n:
            return Kind.STRING
        return Kind.FRACTIONAL if self.fractional.n else Kind.INTEGRAL

    def merge(self, other: CountsState, /) -> CountsState:
        """The rows of both."""
        return CountsState(
            null=self.null + other.null,
            integral=self.integral + other.integral,
            fractional=self.fractional + other.fractional,
            boolean=self.boolean + other.boolean,
            string=self.string + other.string,
            other=self.other + other.other,
        )

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        fields = (self.null, self.integral, self.fractional, self.boolean, self.string, self.other)
        return packed("counts", (tuple((count.n, count.w) for count in fields),))

    @classmethod
    def decode(cls, data: bytes) -> CountsState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        counts = [Count(*count) for count in unpacked("counts", data, tuple[list[PackedCount]])[0]]
        if len(counts) != _SORTS:
            raise Corrupt(f"{len(counts)} sorts of values where there should be {_SORTS}")
        return cls(*counts)
