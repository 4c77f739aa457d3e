"""States of decoded hours, kept beside them: a day of 24 known hours is merged, not scanned again.

Merging gives the same bits as scanning all at once, so nobody sees whether an hour was remembered.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Final

import msgspec

from driftline.dataset.dataset import Dataset, Join, Progress, Table
from driftline.dataset.decode_parquet import opened
from driftline.dataset.stamps import stamp_of
from driftline.engines.engine import Engine, Folded
from driftline.errors import Corrupt
from driftline.states.state import Plan, States

LEAST_ROWS: Final = 1 << 14
"""Fewer rows are scanned as fast as their states are read."""


@dataclass(frozen=True, slots=True)
class RememberingEngine:
    """Folds by another engine, and keeps the states of files in `cache`, where files never change, beside them."""

    engine: Engine
    cache: Path
    least_rows: int = LEAST_ROWS

    def fold(self, plan: Plan, dataset: Dataset, progress: Progress | None = None) -> Folded:
        """The state of every summary of the plan over all rows of the dataset."""
        if (
            isinstance(dataset, Join)
            or dataset.objects
            or not all(path.is_relative_to(self.cache) for path in dataset.paths)
        ):
            return self.engine.fold(plan, dataset, progress)
        files = [_File.of(path, plan, self.least_rows) for path in dataset.paths]
        known = {file.path: states for file in files if (states := file.load(plan)) is not None}
        fresh = [file for file in files if file.path not in known]
        return Folded(reduce(States.merge, [*known.values(), *self._folded(plan, fresh, dataset, progress)]))

    def fold_blocks(self, plan: Plan, dataset: Dataset, blocks: int, progress: Progress | None = None) -> list[States]:
        """As the other engine does."""
        return self.engine.fold_blocks(plan, dataset, blocks, progress)

    def fold_spans(
        self, plan: Plan, table: Table, spans: Sequence[tuple[int, int]], progress: Progress | None = None
    ) -> list[States]:
        """As the other engine does."""
        return self.engine.fold_spans(plan, table, spans, progress)

    def _folded(self, plan: Plan, files: Sequence[_File], dataset: Table, progress: Progress | None) -> list[States]:
        """The states of the files, folded in one reading; those that are worth it are kept."""
        if not files:
            return []
        runs = [list(run) for _, run in groupby(files, key=lambda file: file.kept)]
        ends = list(accumulate((sum(file.rows for file in run) for run in runs), initial=0))
        table = replace(dataset, paths=tuple(file.path for file in files), rows=ends[-1])
        found = self.engine.fold_spans(plan, table, list(pairwise(ends)), progress)
        for run, states in zip(runs, found, strict=True):
            run[0].save(states)
        return found


@dataclass(frozen=True, slots=True)
class _File:
    """One file of the cache."""

    path: Path
    rows: int
    kept: Path | None
    """Where its states are; None: they are not worth keeping."""

    @classmethod
    def of(cls, path: Path, plan: Plan, least_rows: int) -> _File:
        with opened(path) as file:
            rows = file.metadata.num_rows
        if rows < least_rows:
            return cls(path, rows, None)
        told = repr((path.name, stamp_of(path), sorted(map(repr, plan))))
        return cls(path, rows, path.parent / f"states-{hashlib.sha256(told.encode()).hexdigest()[:32]}.bin")

    def load(self, plan: Plan) -> States | None:
        """The states that were kept; None where there are none that can be read."""
        if self.kept is None:
            return None
        try:
            packed = msgspec.msgpack.decode(self.kept.read_bytes(), type=dict[str, bytes])
            return States({summary: summary.decode(packed[repr(summary)]) for summary in plan})
        except (OSError, msgspec.MsgspecError, KeyError, Corrupt):
            return None

    def save(self, states: States) -> None:
        """Keep the states; without them (a full disk, say) the file is scanned again."""
        if self.kept is None:
            return
        data = msgspec.msgpack.encode({repr(summary): state.encode() for summary, state in states.items()})
        partial = self.kept.with_name(f".{self.kept.name}-{uuid.uuid4().hex[:8]}")
        with suppress(OSError):
            partial.write_bytes(data)
            os.replace(partial, self.kept)  # noqa: PTH105  what is there is replaced
