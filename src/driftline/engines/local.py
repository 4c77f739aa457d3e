"""The local engine: threads over the row groups of Parquet files, and DuckDB for joins."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from driftline.dataset.dataset import Dataset, Join, Progress, Table
from driftline.dataset.duck import MEMORY_LIMIT
from driftline.engines.engine import Folded
from driftline.engines.foldings import Foldings, Parts
from driftline.engines.joined import ordered, streamed
from driftline.engines.tasks import Reader, tasks
from driftline.states.state import Plan, States

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Folds on this machine; memory is bounded by batches, states and DuckDB's limit, not by the rows."""

    threads: int | None = None
    memory_limit: str = MEMORY_LIMIT
    """What DuckDB may use for a join, before it spills to `scratch`."""
    scratch: Path | None = None
    """Where temporary files go; None: the system's place for them."""

    def fold(self, plan: Plan, dataset: Dataset, progress: Progress | None = None) -> Folded:
        """The state of every summary of the plan over all rows; for a join also the coverage.

        Raises:
            InputError: a column of the plan is not there, or a file is not Parquet.
            Corrupt: a file breaks off or is damaged.
            Unavailable: a file vanished.
        """
        if isinstance(dataset, Join):
            return self._fold_join(plan, dataset, progress)
        return Folded(self.fold_blocks(plan, dataset, 1, progress)[0])

    def fold_blocks(self, plan: Plan, dataset: Dataset, blocks: int, progress: Progress | None = None) -> list[States]:
        """The states of consecutive, equal parts: `blocks` of them, fewer where there are fewer rows, at least one."""
        if isinstance(dataset, Join):
            with self._folder() as folder:
                table = ordered(plan, dataset, folder, self.memory_limit, self._workers)
                return self.fold_blocks(plan, table, blocks, progress)
        count = max(1, min(blocks, dataset.rows))
        bounds = [dataset.rows * i // count for i in range(count + 1)]
        return self.fold_spans(plan, dataset, list(pairwise(bounds)), progress)

    def fold_spans(
        self, plan: Plan, table: Table, spans: Sequence[tuple[int, int]], progress: Progress | None = None
    ) -> list[States]:
        """The states of the rows of each span [start, end), in one reading; spans may overlap."""
        reader, foldings = Reader(), Foldings()
        done = 0
        for task, _ in self._each(lambda task: task.fold(spans, reader, foldings), tasks(plan, table, self._workers)):
            done += task.rows * len(task.bundle.summaries)
            if progress is not None:
                progress(done // len(plan), table.rows, "rows")
        found = foldings.states()
        return [States({s: s.empty() for s in plan} | found.get(span, {})) for span in range(len(spans))]

    def _fold_join(self, plan: Plan, dataset: Join, progress: Progress | None) -> Folded:
        states: Parts = {s: s.empty() for s in plan}
        with self._folder() as folder:
            joined = streamed(plan, dataset, folder, self.memory_limit, self._workers)
            for batch, part in self._each(lambda batch: {s: s.of(batch) for s in plan}, joined.batches()):
                _merge(states, part)
                if progress is not None:
                    progress(joined.rows, dataset.predictions.rows, "rows")
                del batch
            return Folded(States(states), joined.coverage())

    @property
    def _workers(self) -> int:
        return self.threads or os.cpu_count() or 1

    def _each(self, run: Callable[[T], Any], items: Iterable[T]) -> Iterator[tuple[T, Any]]:
        """`run` of every item on the threads, in the order of the items; few are in flight at a time."""
        waiting: deque[tuple[T, Future[Any]]] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for item in items:
                    waiting.append((item, pool.submit(run, item)))
                    if len(waiting) > 2 * self._workers:
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self.scratch is not None:
            self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="driftline-", dir=self.scratch) as folder:
            yield Path(folder)


def _merge(states: Parts, part: Parts) -> None:
    for summary, state in part.items():
        states[summary] = states[summary].merge(state)
