"""Predictions joined to their labels by DuckDB: memory is bounded, the rest spills to disk, the last label wins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.dataset import Coverage, Join, Table
from driftline.dataset.decode_parquet import opened
from driftline.dataset.duck import connect
from driftline.dataset.stamps import Stamp, stamp_of, unchanged
from driftline.engines.columns import Columns
from driftline.engines.duplicates import suspects
from driftline.engines.tasks import ROWS, Reader, check_rows, pieces
from driftline.errors import Corrupt, InputError, Unavailable
from driftline.objects.mirror import MIRROR
from driftline.objects.remote import fetched
from driftline.schema import ID, LABEL, ORDINAL, PROBABILITY
from driftline.states.state import Plan

_BATCH: Final = 1 << 17
_KEPT: Final = (ID, ORDINAL, LABEL)
_THERE: Final = "driftline.there"
_TROUBLE: Final = (duckdb.Error, pa.ArrowException, OSError)
_LABELS: Final = f"""
CREATE TEMP VIEW labels AS
SELECT "{ID}" AS id, "{ORDINAL}" AS ordinal, "{LABEL}" AS label,
    list_position($files, filename)::BIGINT * 1099511627776 + file_row_number AS place
FROM read_parquet($files, filename = true, file_row_number = true, union_by_name = true) WHERE "{ID}" IS NOT NULL"""  # noqa: S608  constants

_SUPERSEDED: Final = """
CREATE TEMP TABLE superseded AS SELECT place FROM (
    SELECT place, row_number() OVER (PARTITION BY id, ordinal ORDER BY place DESC) AS nth FROM labels
    WHERE place IN (SELECT place FROM suspects))
WHERE nth > 1"""


@dataclass(slots=True)
class Joined:
    """A join that is running."""

    connection: duckdb.DuckDBPyConnection
    query: str
    sides: _Sides
    rows: int = 0
    """Joined rows so far."""
    unmatched: int = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The joined rows, in no particular order."""
        try:
            for batch in self.connection.sql(self.query).to_arrow_reader(_BATCH):
                there = batch.column(_THERE)
                matched = int(pc.sum(there).as_py() or 0)
                self.unmatched += batch.num_rows - matched
                self.rows += matched
                columns = batch.drop_columns([_THERE])
                if matched:
                    yield columns if matched == batch.num_rows else columns.filter(there)
        except _TROUBLE as why:
            raise self.sides.explained(why) from why
        self.sides.unchanged()

    def coverage(self) -> Coverage:
        """How the two sides met; asked for when all batches have been read."""
        query = "SELECT (SELECT count(*) FROM labels) - (SELECT count(*) FROM superseded)"
        labels = int(self.connection.sql(query).fetchall()[0][0])
        return Coverage(self.sides.join.predictions.rows, self.rows, labels, self.unmatched)


def streamed(plan: Plan, join: Join, folder: Path, memory_limit: str, threads: int) -> Joined:
    """Start the join for the columns of the plan."""
    sides = _Sides.of(plan, _here(join, folder))
    connection = _prepared(sides, folder, memory_limit, threads)
    connection.execute("SET preserve_insertion_order = false")
    chosen = "".join(f"{_quoted(column)}, " for column in sides.columns)
    # From the labels' side, so that one pass also tells which labels met no prediction.
    query = f"""
        SELECT {chosen}l.label AS "{LABEL}", p."{ID}" IS NOT NULL AS "{_THERE}"
        FROM (FROM labels WHERE place NOT IN (FROM superseded)) AS l
        LEFT JOIN read_parquet({_files(sides.join.predictions)}, union_by_name = true) AS p
        ON p."{ID}" = l.id AND p."{ORDINAL}" = l.ordinal"""  # noqa: S608
    return Joined(connection, query, sides)


def ordered(plan: Plan, join: Join, folder: Path, memory_limit: str, threads: int) -> Table:
    """The joined rows in the order of the predictions, as a table in `folder`."""
    sides = _Sides.of(plan, _here(join, folder))
    connection = _prepared(sides, folder, memory_limit, threads)
    files = _files(sides.join.predictions)
    path = folder / "joined.parquet"
    chosen = "".join(f"p.{_quoted(column)}, " for column in sides.columns)
    query = f"""
        COPY (SELECT {chosen}l.label AS "{LABEL}"
        FROM read_parquet({files}, filename = true, file_row_number = true, union_by_name = true) AS p
        JOIN (FROM labels WHERE place NOT IN (FROM superseded)) AS l ON p."{ID}" = l.id AND p."{ORDINAL}" = l.ordinal
        ORDER BY list_position({files}, p.filename), p.file_row_number)
        TO {_text(str(path))} (FORMAT parquet, ROW_GROUP_SIZE {_BATCH})"""  # noqa: S608
    try:
        connection.execute(query)
    except _TROUBLE as why:
        raise sides.explained(why) from why
    finally:
        connection.close()
    sides.unchanged()
    with opened(path) as file:
        return Table((path,), sides.columns, file.metadata.num_rows)


def _here(join: Join, folder: Path) -> Join:
    """The join with files that DuckDB reads: objects in a bucket are copied to `folder`."""

    def side(table: Table) -> Table:
        if not table.objects:
            return table
        return replace(table, paths=tuple(fetched(table.objects, folder / MIRROR)), objects=())

    return Join(side(join.predictions), side(join.labels))


def schemas(plan: Plan, join: Join) -> tuple[pa.Schema, pa.Schema]:
    """What is read of the predictions and of the labels, as all their files hold it.

    Raises:
        InputError: a column is not there, or has another type in one file than in another.
        Unavailable: a file vanished, or holds other rows than when they were counted.
    """
    wanted = {column for summary in plan for column in summary.columns} - {LABEL}
    sides = (join.predictions, Columns({*wanted, ID, ORDINAL}, exact=True)), (join.labels, Columns(_KEPT, exact=True))
    for table, columns in sides:
        rows = 0
        for path in table.files:
            with opened(path) as file:
                columns.check(path, file.schema_arrow)
                rows += file.metadata.num_rows
        check_rows(rows, table)
    if not join.predictions.files or not join.labels.files:
        raise InputError("there is no file of predictions, or none of labels; a join needs both")
    return sides[0][1].schema(), sides[1][1].schema()


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is joined, as it was found."""

    join: Join
    columns: tuple[str, ...]
    """What the plan reads of the predictions, and the probability where there is one."""
    stamps: Mapping[Path, Stamp]

    @classmethod
    def of(cls, plan: Plan, join: Join) -> _Sides:
        """Raises what `schemas` raises."""
        stamps = {path: stamp_of(path) for path in (*join.predictions.paths, *join.labels.paths)}
        wanted = {column for summary in plan for column in summary.columns} | {PROBABILITY}
        return cls(join, tuple(name for name in schemas(plan, join)[0].names if name in wanted), stamps)

    def unchanged(self) -> None:
        """Raises Unavailable when a file is not what it was."""
        for path, stamp in self.stamps.items():
            unchanged(path, stamp)

    def explained(self, why: Exception) -> Exception:
        """The error to raise: DuckDB does not always tell which file is damaged, and never which column."""
        if isinstance(why, duckdb.OutOfMemoryException):
            return Unavailable(f"the join of predictions and labels needs more memory: {why}; raise the memory limit")
        try:
            self.unchanged()
            read = {ID, ORDINAL, *self.columns} - {PROBABILITY}  # which the reader adds where there is one
            for table, columns in ((self.join.predictions, sorted(read)), (self.join.labels, _KEPT)):
                reader = Reader()
                for piece in pieces(table, Columns(columns), ROWS):
                    for _ in reader.batches(piece, columns):
                        pass
        except (Corrupt, InputError, Unavailable) as found:
            return found
        if isinstance(why, (duckdb.IOException, OSError)):
            return Unavailable(f"the join of predictions and labels cannot go on: {why}")
        return InputError(f"predictions and labels cannot be joined: {why}")


def _prepared(sides: _Sides, folder: Path, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    join = sides.join
    connection = connect(folder, memory_limit=memory_limit, threads=threads)
    try:
        connection.execute(_LABELS.replace("$files", _files(join.labels)))
        places = suspects(connection, join.labels.rows)
        if len(places):
            connection.register("suspects", pa.table({"place": places}))
            connection.execute(_SUPERSEDED)
            connection.unregister("suspects")
        else:
            connection.execute("CREATE TEMP TABLE superseded (place BIGINT)")
    except _TROUBLE as why:
        raise sides.explained(why) from why
    return connection


def _files(table: Table) -> str:
    return "[" + ", ".join(_text(str(path)) for path in table.paths) + "]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
