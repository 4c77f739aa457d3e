"""The Spark engine: Spark schedules the tasks of a scan, executors run them, and the states come back encoded.

One way for a cluster, this machine and Spark Connect: tasks are numbers in a DataFrame, mapped in Arrow batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.dataset import Dataset, Join, Progress, Table
from driftline.dataset.duck import MEMORY_LIMIT
from driftline.engines import buckets, remote
from driftline.engines.engine import Folded
from driftline.engines.local import LocalEngine
from driftline.engines.session import explained, mapped, watched
from driftline.engines.tasks import ROWS, VALUES, Span, tasks
from driftline.states.state import Plan, States

_WORKERS: Final = 4
"""A small table is cut into a few tasks for so many cores; a large one is cut by its rows."""
_RUNS: Final = 2000
"""A table is cut into at most about so many parts by its rows."""
_SHARES: Final = 4
"""A core gets at least about so many Spark tasks, so that none is idle for long while the last ones run."""
_TOGETHER: Final = 8
"""A Spark task is at most so many tasks of a scan: what fails is done again from its start."""
_MERGERS: Final = 64
"""At most so many tasks merge parts."""


@dataclass(frozen=True, slots=True)
class SparkEngine:
    """Folds on Spark; the driver holds the states alone. The executors see the files under the same paths."""

    spark: Callable[[], Any]
    """Gives the session, classic or Connect."""
    scratch: Path
    memory_limit: str = MEMORY_LIMIT
    """What DuckDB may use on an executor to join one bucket, before it spills."""
    bucket_rows: int = 4 * ROWS
    """Rows of both sides of a join that one bucket holds."""
    fan_in: int = 16
    """So many parts of one state the driver merges itself; more are merged on the executors first."""

    def fold(self, plan: Plan, dataset: Dataset, progress: Progress | None = None) -> Folded:
        """The state of every summary of the plan over all rows; for a join also the coverage.

        Raises:
            InputError: a column of the plan is not there, or a file is not Parquet; or the executors lack Driftline.
            Corrupt: a file breaks off or is damaged.
            Unavailable: a file vanished, or Spark could not finish.
        """
        if isinstance(dataset, Join):
            return self._fold_join(plan, dataset, progress)
        return Folded(self.fold_spans(plan, dataset, [(0, dataset.rows)], progress)[0])

    def fold_blocks(self, plan: Plan, dataset: Dataset, blocks: int, progress: Progress | None = None) -> list[States]:
        """The states of consecutive, equal parts: `blocks` of them, fewer where there are fewer rows, at least one.

        Those of a join are made by the driver: their order is that of the predictions, which buckets do not keep.
        """
        if isinstance(dataset, Join):
            here = LocalEngine(memory_limit=self.memory_limit, scratch=self.scratch)
            return here.fold_blocks(plan, dataset, blocks, progress)
        count = max(1, min(blocks, dataset.rows))
        bounds = [dataset.rows * i // count for i in range(count + 1)]
        return self.fold_spans(plan, dataset, list(pairwise(bounds)), progress)

    def fold_spans(
        self, plan: Plan, table: Table, spans: Sequence[Span], progress: Progress | None = None
    ) -> list[States]:
        """The states of the rows of each span [start, end), in one reading; spans may overlap."""
        slots = remote.Slots(tuple(sorted(plan, key=repr)), tuple(spans))
        found = list(tasks(plan, table, _WORKERS, max(ROWS, table.rows // _RUNS), 2 * VALUES))
        if not found:
            return [States({summary: summary.empty() for summary in plan}) for _ in spans]
        together = self._together(len(found))
        shares, runs = -(-len(found) // together), len({task.start for task in found})
        frame = mapped(self._numbered(len(found), shares), remote.Scan.of(slots, found), remote.SCHEMA)
        parts = self._collected(
            frame, slots, min(runs, -(-runs // together) + 1), shares, _rows_of(progress, table.rows)
        )
        return self._states(slots, parts)

    def _fold_join(self, plan: Plan, join: Join, progress: Progress | None) -> Folded:
        slots = remote.Slots(tuple(sorted(plan, key=repr)), ((0, join.predictions.rows),))
        scatter = buckets.Scatter.of(plan, join, self.bucket_rows)
        gather = buckets.Gather(slots, scatter.schemas, self.memory_limit)
        cuts, count = max(1, len(scatter.cuts)), scatter.buckets
        dealt = mapped(self._numbered(cuts, cuts), scatter, buckets.SCHEMA).repartition(count, "bucket")
        frame = mapped(dealt.sortWithinPartitions("bucket", "side", "place"), gather, remote.SCHEMA)
        parts = self._collected(frame, slots, count, cuts + count, _rows_of(progress, join.predictions.rows))
        met = parts.filter(pc.equal(parts.column("slot"), remote.MET)).column("state").to_pylist()
        return Folded(self._states(slots, parts)[0], buckets.coverage_of(join.predictions.rows, met))

    def _together(self, tasks: int) -> int:
        """So many tasks of a scan run one after the other as one of Spark's, and share their states."""
        context = getattr(
            self.spark(), "_sc", None
        )  # Spark Connect has none, and does not tell how many cores there are
        cores = context.defaultParallelism if context is not None else tasks
        return max(1, min(_TOGETHER, tasks // (_SHARES * cores)))

    def _numbered(self, count: int, shares: int) -> Any:
        """The numbers of tasks, neighbours in one share."""
        return self.spark().range(0, count, 1, shares)

    def _collected(
        self, frame: Any, slots: remote.Slots, parts: int, tasks: int, progress: Callable[[float], None] | None
    ) -> pa.Table:
        """The parts of all slots, of which there are so many for each; many are merged on the executors."""
        if parts > self.fan_in:
            count = min(len(slots), _MERGERS)
            frame = mapped(frame.repartition(count, "slot"), remote.Merge(slots), remote.SCHEMA)
            tasks += count
        with explained(), watched(self.spark(), tasks, progress):
            found: pa.Table = frame.toArrow()
        failures = found.filter(found.column("error").is_valid()).sort_by("task")
        if failures.num_rows:
            raise remote.failure(failures.column("error")[0].as_py())
        return found

    def _states(self, slots: remote.Slots, parts: pa.Table) -> list[States]:
        states: dict[int, Any] = {}
        slots.merge_into(states, parts)
        width = len(slots.summaries)
        return [
            States(
                {
                    s: states[at] if (at := span * width + i) in states else s.empty()
                    for i, s in enumerate(slots.summaries)
                }
            )
            for span in range(len(slots.spans))
        ]


def _rows_of(progress: Progress | None, rows: int) -> Callable[[float], None] | None:
    return None if progress is None else lambda share: progress(int(rows * share), rows, "rows")
