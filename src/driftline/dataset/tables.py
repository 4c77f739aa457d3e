"""From scratch to a table: when the whole source has been seen, its columns get their types and go to Parquet."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.dataset.dataset import Decoded, Intake, Progress, Table
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.duck import borrowed
from driftline.dataset.failed import weight_of
from driftline.dataset.spelled import Scratch, numbers, type_of
from driftline.errors import InputError
from driftline.schema import LABEL, ORDINAL, PREDICTION, PROBABILITY, RESERVED, SCORE

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
    with RowWriter(work.into / ROWS, work.scratch, layout) as writer:
        for batch in work.scratch.batches():
            writer.add(batch)
    return accounted(work, layout, replace(counts, answer_weight=writer.answer_weight), work.scratch.rows)


def accounted(work: Work, layout: Layout, counts: Intake, rows: int) -> Decoded:
    """The table that was written, and the account of it; `counts` lacks rows and dead letters."""
    intake = replace(
        counts,
        records=counts.records + work.dead.lines,
        rows=rows,
        dead=work.dead.count,
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


def unreserved(names: Iterable[str], where: str) -> None:
    """Raises InputError when one of the names of the data's own columns is a name that Driftline gives."""
    for name in names:
        if name in RESERVED:
            raise InputError(f"{where} has a column {name!r}, a name that Driftline reserves; rename it")


class RowWriter:
    """Writes rows to Parquet in groups of one size, as columns of the types that scratch tells.

    A column with few different values gets a dictionary, which makes it small; any other one is written as it is,
    which is far quicker, and compressed only where that halves it.
    """

    def __init__(self, path: Path, scratch: Scratch, layout: Layout) -> None:
        unreserved(layout.columns, "the data")
        self.schema, self._sources = schema_of(scratch, layout)
        self._path = path
        self._size = min(_GROUP, max(4096, _CELLS // max(1, len(self.schema))))
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._writer: Any = None
        self.answer_weight = 0
        """Requests that the records of the rows stand for, in fixed point."""

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows, in columns as they are named in scratch; text is cast where another type is wanted."""
        self._waiting.append(_typed(batch, self._sources, self.schema))
        self.answer_weight += _answers(batch)
        self._rows += batch.num_rows
        while self._rows >= self._size:
            table = pa.Table.from_batches(self._waiting, self.schema)
            self._write(table.slice(0, self._size))
            self._rows -= self._size
            self._waiting = table.slice(self._size).to_batches() if self._rows else []

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            few, dense = _encodings(table.slice(0, 8192))
            compression = {name: "snappy" if name in few or name in dense else "none" for name in self.schema.names}
            # Of texts nobody asks for the least and the greatest, which take as long as the writing itself.
            told = [field.name for field in self.schema if field.type != pa.string()]
            self._writer = pq.ParquetWriter(
                self._path, self.schema, compression=compression, use_dictionary=few, write_statistics=told
            )
        if table.num_rows:
            self._writer.write_table(table, row_group_size=self._size)

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and (self._waiting or self._writer is None):
            self._write(pa.Table.from_batches(self._waiting, self.schema))
        if self._writer is not None:
            self._writer.close()


def _answers(batch: pa.RecordBatch) -> int:
    if ORDINAL not in batch.schema.names:
        return 0
    first = batch.column(ORDINAL).to_numpy() == 0
    if PROBABILITY not in batch.schema.names:
        return weight_of(np.ones(int(np.count_nonzero(first))))
    return weight_of(batch.column(PROBABILITY).fill_null(1.0).to_numpy()[first])


def schema_of(scratch: Scratch, layout: Layout) -> tuple[pa.Schema, dict[str, str]]:
    """The columns of the table, and the scratch columns that they come from."""
    sources = {**layout.columns, **layout.derived}
    types = {name: _type(scratch, name, source) for name, source in sources.items()}
    for name, kind in scratch.fixed.items():
        types[name], sources[name] = kind, name
    return pa.schema(list(types.items())), sources


def _encodings(sample: pa.Table) -> tuple[list[str], list[str]]:
    """The columns of few different values, and those that compression would halve."""
    few: list[str] = []
    dense: list[str] = []
    for name in sample.column_names:
        column = sample[name].combine_chunks()
        if pa.types.is_boolean(column.type) or pc.count_distinct(column).as_py() * 4 <= len(column):
            few.append(name)
            continue
        data = b"".join(bytes(buffer) for buffer in column.buffers()[1:] if buffer is not None)
        if len(pa.compress(data, "snappy", asbytes=True)) * 2 <= len(data):
            dense.append(name)
    return few, dense


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
    if array.type == wanted.type:
        return array
    return array.cast(wanted.type, safe=array.type != pa.int64())  # a whole number: to the nearest float64
