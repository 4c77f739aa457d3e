"""The state of rows that come batch by batch; a summary may have a faster way than merging the states of batches."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from driftline.states.state import AnySummary, State, Summary

S = TypeVar("S", bound=State)
S_co = TypeVar("S_co", bound=State, covariant=True)


class Folding(Protocol[S_co]):
    """Takes in batches; for one thread."""

    def add(self, batch: pa.RecordBatch, /) -> None:
        """Take in the rows of `batch`."""
        ...

    def state(self) -> S_co:
        """The state of all rows so far: equal to the merged states of the batches, bit for bit. Asked once, at last."""
        ...


@runtime_checkable
class Foldable(Protocol):
    """A summary that has its own way to take in batches."""

    def folding(self) -> Folding[Any]:
        """A folding without rows."""
        ...


class Merging(Folding[S]):
    """Merges the states of the batches."""

    def __init__(self, summary: Summary[S]) -> None:
        self._summary = summary
        self._state = summary.empty()

    def add(self, batch: pa.RecordBatch, /) -> None:
        """Take in the rows of `batch`."""
        self._state = self._state.merge(self._summary.of(batch))

    def state(self) -> S:
        """The state of all rows so far."""
        return self._state


def folding(summary: AnySummary) -> Folding[Any]:
    """The fastest folding there is for a summary."""
    return summary.folding() if isinstance(summary, Foldable) else Merging(summary)
