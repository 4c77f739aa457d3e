"""Decoded rows lie on the disk of who decoded them: executors elsewhere read them from the bucket while they work."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from driftline.dataset.dataset import Dataset, Join, Progress, Table
from driftline.engines.engine import Engine, Folded
from driftline.objects.remote import looked_at
from driftline.objects.store import ObjectStore
from driftline.states.state import Plan, States

CARRIED: Final = "carried"
"""Where the rows are meanwhile; what a killed process leaves there may be deleted at any time."""


@dataclass(frozen=True, slots=True)
class CarryingEngine:
    """Folds by another engine, whose executors see the bucket, but not this disk."""

    engine: Engine
    store: ObjectStore
    """One in a bucket."""

    def fold(self, plan: Plan, dataset: Dataset, progress: Progress | None = None) -> Folded:
        """The state of every summary of the plan over all rows of the dataset."""
        if isinstance(dataset, Join):
            with self._carried(dataset.predictions) as predictions, self._carried(dataset.labels) as labels:
                return self.engine.fold(plan, Join(predictions, labels), progress)
        with self._carried(dataset) as table:
            return self.engine.fold(plan, table, progress)

    def fold_blocks(self, plan: Plan, dataset: Dataset, blocks: int, progress: Progress | None = None) -> list[States]:
        """The states of consecutive, equal parts of the rows."""
        if isinstance(dataset, Join):
            return self.engine.fold_blocks(plan, dataset, blocks, progress)  # made by the driver, from its own disk
        with self._carried(dataset) as table:
            return self.engine.fold_blocks(plan, table, blocks, progress)

    def fold_spans(
        self, plan: Plan, table: Table, spans: Sequence[tuple[int, int]], progress: Progress | None = None
    ) -> list[States]:
        """The states of the rows of each span."""
        with self._carried(table) as there:
            return self.engine.fold_spans(plan, there, spans, progress)

    @contextmanager
    def _carried(self, table: Table) -> Iterator[Table]:
        """The table in the bucket, until the work is done."""
        if table.objects or not table.paths:
            yield table
            return
        prefix = f"{CARRIED}/{uuid.uuid4().hex}"
        keys = [f"{prefix}/{at}.parquet" for at in range(len(table.paths))]
        try:
            for key, path in zip(keys, table.paths, strict=True):
                self.store.put_file(key, path)
            objects = tuple(looked_at(self.store.location(key)) for key in keys)
            yield replace(table, paths=(), objects=objects)
        finally:
            for key in keys:
                self.store.delete(key)
