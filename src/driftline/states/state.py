"""A state is a mergeable summary of rows: a commutative monoid with a codec.

The laws, checked for every summary in `tests/laws`: `empty` is neutral, `merge` is associative and commutative,
parts add up to the whole bit for bit whatever the split and the order, and `decode(encode(s)) == s`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, TypeAlias, TypeVar, cast

import pyarrow as pa


class State(Protocol):
    """What was kept of some rows."""

    def merge(self, other: Self, /) -> Self:
        """The state of the rows of both; neither side changes."""
        ...

    def encode(self) -> bytes:
        """The state as bytes; equal states give equal bytes."""
        ...


S = TypeVar("S", bound=State)
S_co = TypeVar("S_co", bound=State, covariant=True)


class Summary(Protocol[S_co]):
    """What to keep of a column or table: a frozen, hashable value, and the name of its state."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that `of` reads (`driftline.probability` is read beside them where it is there)."""
        ...

    def empty(self) -> S_co:
        """The state of no rows."""
        ...

    def of(self, batch: pa.RecordBatch, /) -> S_co:
        """The state of the rows of `batch`."""
        ...

    def decode(self, data: bytes, /) -> S_co:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        ...


AnySummary: TypeAlias = Summary[Any]
Plan: TypeAlias = frozenset[AnySummary]


class States(Mapping[AnySummary, Any]):
    """States by their summary; the type of `states[summary]` follows from the summary."""

    def __init__(self, states: Mapping[AnySummary, Any]) -> None:
        self._states = dict(states)

    def __getitem__(self, summary: Summary[S], /) -> S:
        return cast("S", self._states[summary])

    def __iter__(self) -> Iterator[AnySummary]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def merge(self, other: States, /) -> States:
        """The states of the rows of both; a summary that only one side has keeps its state."""
        merged = dict(self._states)
        for summary, state in other._states.items():
            merged[summary] = merged[summary].merge(state) if summary in merged else state
        return States(merged)
