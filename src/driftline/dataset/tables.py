"""From scratch to a table: when the whole source has been seen, its columns get their types and go to Parquet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Decoded, Intake, Progress, Table
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.duck import borrowed
from driftline.dataset.spelled import Scratch, numbers, type_of
from driftline.errors import InputError
from driftline.schema import LABEL, PREDICTION, PROBABILITY, RESERVED, SCORE

ROWS: Final = "rows.parquet"
DEAD: Final = "dead_letters.jsonl"
_GROUP: Final = 1 << 17
_CELLS: Final = 1 << 23


@dataclass(frozen=True, slots=True)
class Layout:
    """Which scratch columns become which columns of the table."""

    columns: Mapping[str, str]
    """The data's own columns, in order: name in the table to name in scratch."""
    derived: Mapping[str, str] = field(default_factory=dict)
    """Reserved columns that repeat a column of the data: prediction, score, label."""


@dataclass(slots=True)
class Work:
    """What one decoding works with; its scratch folder is gone afterwards."""

    into: Path
    dead: DeadLetters
    scratch: Scratch
    connection: duckdb.DuckDBPyConnection
    progress: Progress | None

    @property
    def folder(self) -> Path:
        """The scratch folder."""
        return self.scratch.folder.parent


@contextmanager
def working(into: Path, progress: Progress | None) -> Iterator[Work]:
    """A workplace inside of `into`."""
    folder = into / ".scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (into / DEAD).unlink(missing_ok=True)
    try:
        with DeadLetters(into / DEAD) as dead, borrowed(folder) as connection:
            yield Work(into, dead, Scratch(folder / "columns"), connection, progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish(work: Work, layout: Layout, counts: Intake) -> Decoded:
    """Write the table and account for it; `counts` lacks rows and dead letters."""
    _check(layout)
    rows = _write(work.scratch, layout, work.into / ROWS)
    intake = Intake(
        files=counts.files,
        records=counts.records + work.dead.lines,
        rows=rows,
        dead=work.dead.count,
        outside=counts.outside,
        duplicates=counts.duplicates,
        contradictions=counts.contradictions,
        skipped=counts.skipped,
        reasons=dict(work.dead.reasons),
    )
    table = Table((work.into / ROWS,), tuple(layout.columns), rows)
    return Decoded(table, intake, work.dead.path if work.dead.count else None)


def derived(answers: Mapping[str, str | None], there: Mapping[str, str], what: str) -> dict[str, str]:
    """The scratch columns of prediction, score and label by their names in `there`.

    Raises:
        InputError: one of them is not there, though there are columns.
    """
    found: dict[str, str] = {}
    for reserved, name in answers.items():
        if name is None:
            continue
        if name in there:
            found[reserved] = there[name]
        elif there:
            role = reserved.removeprefix("driftline.")
            raise InputError(f"there is no {role} at {name!r} in {what}; there are: {_some(there)}")
    return found


def _some(names: Mapping[str, str]) -> str:
    listed = ", ".join(repr(n) for n in list(names)[:20])
    return listed + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _check(layout: Layout) -> None:
    for name in layout.columns:
        if name in RESERVED:
            raise InputError(f"a column of the data is named {name!r}, a name that Driftline reserves; rename it")


def _write(scratch: Scratch, layout: Layout, path: Path) -> int:
    sources = {**layout.columns, **layout.derived}
    types = {name: _type(scratch, name, source) for name, source in sources.items()}
    for name, kind in scratch.fixed.items():
        types[name], sources[name] = kind, name
    schema = pa.schema(list(types.items()))
    size = min(_GROUP, max(4096, _CELLS // max(1, len(types))))
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in scratch.batches():
            waiting.append(_typed(batch, sources, schema))
            while (rows := sum(b.num_rows for b in waiting)) >= size:
                table = pa.Table.from_batches(waiting, schema)
                writer.write_table(table.slice(0, size), row_group_size=size)
                waiting = table.slice(size).to_batches() if rows > size else []
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=size)
    return scratch.rows


def _type(scratch: Scratch, name: str, source: str) -> pa.DataType:
    if source in scratch.fixed:
        return scratch.fixed[source]
    if name == SCORE:
        return pa.float64()
    spellings = scratch.spellings.get(source, frozenset())
    return type_of(spellings, lenient=name in (PREDICTION, LABEL))


def _typed(batch: pa.RecordBatch, sources: Mapping[str, str], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [_cast(batch, sources[f.name], f) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(batch: pa.RecordBatch, source: str, wanted: Any) -> pa.Array:
    # A batch from before the column first appeared lacks it.
    array = batch.column(source) if source in batch.schema.names else pa.nulls(batch.num_rows, wanted.type)
    if wanted.name == PROBABILITY:
        return array.fill_null(1.0)
    if wanted.name == SCORE and array.type == pa.string():
        return numbers(array)
    return array if array.type == wanted.type else array.cast(wanted.type)
