"""An engine folds a dataset into states. It is the only one who executes; it knows no metric and no monitor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from driftline.dataset.dataset import Coverage, Dataset, Progress, Table
from driftline.states.state import Plan, States


@dataclass(frozen=True, slots=True)
class Folded:
    """The states of a dataset, and for a join how its two sides met."""

    states: States
    coverage: Coverage | None = None


class Engine(Protocol):
    """Moves batches past summaries; memory does not grow with the rows."""

    def fold(self, plan: Plan, dataset: Dataset, progress: Progress | None = None) -> Folded:
        """The state of every summary of the plan over all rows of the dataset."""
        ...

    def fold_blocks(self, plan: Plan, dataset: Dataset, blocks: int, progress: Progress | None = None) -> list[States]:
        """The states of `blocks` consecutive, equal parts of the dataset, in the order of its rows."""
        ...

    def fold_spans(
        self, plan: Plan, table: Table, spans: Sequence[tuple[int, int]], progress: Progress | None = None
    ) -> list[States]:
        """The states of the rows of each span [start, end) of the table, in one reading; spans may overlap."""
        ...
