"""What runs on Spark's executors: the tasks of a scan, and merging. It knows no Spark, only batches in and out.

Every row that comes out is a part: the encoded state of one summary over one span, or the error that ended a task.
"""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from driftline import __version__, errors
from driftline.engines.foldings import Foldings, Parts
from driftline.engines.tasks import Reader, Span, Task
from driftline.errors import DriftlineError, InputError
from driftline.states.state import AnySummary

SCHEMA: Final = "slot int, task int, error string, state binary"
_ARROW: Final = pa.schema([("slot", pa.int32()), ("task", pa.int32()), ("error", pa.string()), ("state", pa.binary())])
_FAILED: Final = -1
MET: Final = -2
"""The slot of what is no state but how the two sides of a join met."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose work it is: executors must run the same Python and Driftline."""

    python: str
    driftline: str

    @classmethod
    def here(cls) -> Origin:
        """That of this process."""
        return cls(".".join(platform.python_version_tuple()[:2]), __version__)

    def check(self) -> None:
        """Raises InputError when this process is another."""
        here = Origin.here()
        if here != self:
            raise InputError(
                f"the executors run Driftline {here.driftline} on Python {here.python}, the driver Driftline "
                f"{self.driftline} on Python {self.python}; install the same on both (and see PYSPARK_PYTHON)"
            )


@dataclass(frozen=True, slots=True)
class Slots:
    """The places of the states: every span has one for every summary."""

    summaries: tuple[AnySummary, ...]
    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.summaries) * len(self.spans)

    def encoded(self, found: Mapping[int, Parts]) -> Iterator[tuple[int, bytes]]:
        """States by span, as bytes by slot."""
        at = {summary: i for i, summary in enumerate(self.summaries)}
        for span, parts in found.items():
            for summary, state in parts.items():
                yield span * len(self.summaries) + at[summary], state.encode()

    def merge_into(self, states: dict[int, Any], found: pa.RecordBatch | pa.Table) -> None:
        """Merge the states among the parts into those of their slots."""
        for slot, data in zip(found.column("slot").to_pylist(), found.column("state"), strict=True):
            if slot >= 0:
                state = self.summaries[slot % len(self.summaries)].decode(data.as_py())
                states[slot] = states[slot].merge(state) if slot in states else state


@dataclass(frozen=True, slots=True)
class Scan:
    """Tasks by number, each pickled for itself: an executor unpacks only its own."""

    origin: Origin
    slots: Slots
    tasks: Sequence[bytes]

    @classmethod
    def of(cls, slots: Slots, tasks: Iterable[Task]) -> Scan:
        """The scan of these tasks."""
        return cls(Origin.here(), slots, [pickle.dumps(task) for task in tasks])

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The states of the rows of all tasks whose numbers come in, or the failures of some."""
        reader, foldings, number = Reader(), Foldings(), 0
        for number in numbers(batches):
            try:
                self.origin.check()
                task: Task = pickle.loads(self.tasks[number])  # noqa: S301  the driver's own
                task.fold(self.slots.spans, reader, foldings)
            except DriftlineError as why:
                yield failed(number, why)
        yield parts(number, list(self.slots.encoded(foldings.states())))


@dataclass(frozen=True, slots=True)
class Merge:
    """Merges the parts of equal slots; what is no state goes through."""

    slots: Slots

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """One part for each slot that comes in."""
        states: dict[int, Any] = {}
        for batch in batches:
            other = batch.filter(pc.less(batch.column("slot"), 0))
            if other.num_rows:
                yield other
            self.slots.merge_into(states, batch)
        for slot, state in states.items():
            yield parts(0, [(slot, state.encode())])


def numbers(batches: Iterable[pa.RecordBatch]) -> Iterator[int]:
    """The numbers in the first column."""
    for batch in batches:
        yield from batch.column(0).to_pylist()


def parts(number: int, found: Sequence[tuple[int, bytes]]) -> pa.RecordBatch:
    """The parts of task `number`."""
    slots, states = [slot for slot, _ in found], [state for _, state in found]
    return pa.record_batch([slots, [number] * len(found), [None] * len(found), states], schema=_ARROW)


def failed(number: int, why: DriftlineError) -> pa.RecordBatch:
    """The failure of task `number`, so that Spark does not try in vain again what is wrong with the input."""
    text = f"{type(why).__name__}: {why}"
    return pa.record_batch([[_FAILED], [number], [text], [None]], schema=_ARROW)


def failure(text: str) -> DriftlineError:
    """The error that a task ended with."""
    kind, _, message = text.partition(": ")
    found: DriftlineError = getattr(errors, kind)(message)
    return found


def scratch_of_executor() -> str | None:
    """Where Spark lets its executors write; None: the system's place."""
    return os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None
