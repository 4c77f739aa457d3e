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
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Dataset, Join, Progress, Table
from driftline.dataset.decode_parquet import opened
from driftline.dataset.duck import MEMORY_LIMIT
from driftline.engines.engine import Folded
from driftline.engines.joined import ordered, streamed
from driftline.errors import Corrupt, InputError
from driftline.schema import PROBABILITY
from driftline.states.folding import Folding, folding
from driftline.states.state import AnySummary, Plan, States

SLICE: Final = 1 << 17
"""Rows of one batch."""
_TOGETHER: Final = 8
"""Columns that one task reads: enough to be worth its opening of the file, few enough to bound its memory."""

T = TypeVar("T")
_States = dict[AnySummary, Any]


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
        states: list[_States] = [{s: s.empty() for s in plan} for _ in spans]
        tasks = list(_tasks(plan, table))
        rows = sum(task.rows for task in tasks)
        done = 0
        for task, parts in self._each(lambda task: task.run(spans), tasks):
            for span, part in parts.items():
                _merge(states[span], part)
            done += task.rows
            if progress is not None:
                progress(table.rows * done // max(1, rows), table.rows)
        return [States(part) for part in states]

    def _fold_join(self, plan: Plan, dataset: Join, progress: Progress | None) -> Folded:
        states: _States = {s: s.empty() for s in plan}
        with self._folder() as folder:
            joined = streamed(plan, dataset, folder, self.memory_limit, self._workers)
            for batch, part in self._each(lambda batch: {s: s.of(batch) for s in plan}, joined.batches()):
                _merge(states, part)
                if progress is not None:
                    progress(joined.rows, dataset.predictions.rows)
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


def _merge(states: _States, part: _States) -> None:
    for summary, state in part.items():
        states[summary] = states[summary].merge(state)


@dataclass(frozen=True, slots=True)
class _Task:
    """Some columns of one row group."""

    path: Path
    metadata: pq.FileMetaData
    group: int
    start: int
    """Its first row, counted over all files."""
    columns: tuple[str, ...]
    summaries: tuple[AnySummary, ...]

    @property
    def rows(self) -> int:
        count: int = self.metadata.row_group(self.group).num_rows
        return count

    def run(self, spans: Sequence[tuple[int, int]]) -> dict[int, _States]:
        """The states of the row group, by the spans its rows fall into."""
        found: dict[int, dict[AnySummary, Folding[Any]]] = {}
        at = self.start
        for batch in self._batches():
            for span, part in _cut(batch, at, spans):
                if span not in found:
                    found[span] = {summary: folding(summary) for summary in self.summaries}
                for each in found[span].values():
                    each.add(part)
            at += batch.num_rows
        return {span: {summary: each.state() for summary, each in parts.items()} for span, parts in found.items()}

    def _batches(self) -> Iterator[pa.RecordBatch]:
        with opened(self.path, self.metadata) as file:
            try:
                columns = list(self.columns)
                yield from file.iter_batches(SLICE, row_groups=[self.group], columns=columns, use_threads=False)
            except (pa.ArrowException, OSError) as why:
                raise Corrupt(
                    f"file {str(self.path)!r}, row group {self.group}: {_culprit(file, self)} cannot be read ({why}); "
                    f"write the file again"
                ) from why


def _culprit(file: pq.ParquetFile, task: _Task) -> str:
    for column in task.columns:
        try:
            for _ in file.iter_batches(SLICE, row_groups=[task.group], columns=[column], use_threads=False):
                pass
        except (pa.ArrowException, OSError):
            return f"column {column!r}"
    return "it"


def _cut(batch: pa.RecordBatch, at: int, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.RecordBatch]]:
    for span, (start, end) in enumerate(spans):
        first, last = max(start, at), min(end, at + batch.num_rows)
        if first < last:
            yield span, batch.slice(first - at, last - first)


def _tasks(plan: Plan, table: Table) -> Iterator[_Task]:
    start = 0
    bundles: list[tuple[tuple[str, ...], tuple[AnySummary, ...]]] | None = None
    for path in table.paths:
        with opened(path) as file:
            metadata, names = file.metadata, file.schema_arrow.names
        _check(plan, names, path)
        bundles = bundles if bundles is not None else _bundles(plan, PROBABILITY in names)
        for group in range(metadata.num_row_groups):
            for columns, summaries in bundles:
                yield _Task(path, metadata, group, start, columns, summaries)
            start += metadata.row_group(group).num_rows


def _check(plan: Plan, names: list[str], path: Path) -> None:
    there = set(names)
    for summary in plan:
        for column in summary.columns:
            if column not in there:
                some = ", ".join(repr(name) for name in names[:20])
                raise InputError(f"file {str(path)!r} has no column {column!r}; its columns are {some or 'none'}")


def _bundles(plan: Plan, weighted: bool) -> list[tuple[tuple[str, ...], tuple[AnySummary, ...]]]:
    """The plan in bundles of few columns; summaries that share a column stay together, so that it is read once."""
    together: list[tuple[set[str], list[AnySummary]]] = []
    for summary in sorted(plan, key=repr):
        columns = set(summary.columns)
        touching = [bundle for bundle in together if bundle[0] & columns]
        merged = (columns.union(*(b[0] for b in touching)), [s for b in touching for s in b[1]] + [summary])
        together = [bundle for bundle in together if not bundle[0] & columns] + [merged]
    packed: list[tuple[set[str], list[AnySummary]]] = []
    for columns, summaries in together:
        if packed and len(packed[-1][0]) + len(columns) <= _TOGETHER:
            packed[-1][0].update(columns)
            packed[-1][1].extend(summaries)
        else:
            packed.append((set(columns), list(summaries)))
    extra = {PROBABILITY} if weighted else set()
    return [(tuple(sorted(columns | extra)), tuple(summaries)) for columns, summaries in packed]
