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
from driftline.engines.columns import Columns
from driftline.engines.duplicates import suspects
from driftline.engines.tasks import Stamp, stamp_of, unchanged
from driftline.errors import InputError, Unavailable
from driftline.objects.mirror import MIRROR
from driftline.objects.remote import fetched
from driftline.schema import ID, LABEL, ORDINAL, PROBABILITY
from driftline.states.state import Plan

_BATCH: Final = 1 << 17
_KEPT: Final = (ID, ORDINAL, LABEL)
_THERE: Final = "driftline.there"
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
    predictions: Table
    files: Mapping[Path, Stamp]
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
        except duckdb.Error as why:
            raise _explained(why) from why
        _unchanged(self.files)

    def coverage(self) -> Coverage:
        """How the two sides met; asked for when all batches have been read."""
        query = "SELECT (SELECT count(*) FROM labels) - (SELECT count(*) FROM superseded)"
        labels = int(self.connection.sql(query).fetchall()[0][0])
        return Coverage(self.predictions.rows, self.rows, labels, self.unmatched)


def streamed(plan: Plan, join: Join, folder: Path, memory_limit: str, threads: int) -> Joined:
    """Start the join for the columns of the plan."""
    join = _here(join, folder)
    columns, files = _columns(plan, join), _stamps(join)
    connection = _prepared(join, folder, memory_limit, threads)
    connection.execute("SET preserve_insertion_order = false")
    chosen = "".join(f"{_quoted(column)}, " for column in columns)
    # From the labels' side, so that one pass also tells which labels met no prediction.
    query = f"""
        SELECT {chosen}l.label AS "{LABEL}", p."{ID}" IS NOT NULL AS "{_THERE}"
        FROM (FROM labels WHERE place NOT IN (FROM superseded)) AS l
        LEFT JOIN read_parquet({_files(join.predictions)}, union_by_name = true) AS p
        ON p."{ID}" = l.id AND p."{ORDINAL}" = l.ordinal"""  # noqa: S608
    return Joined(connection, query, join.predictions, files)


def ordered(plan: Plan, join: Join, folder: Path, memory_limit: str, threads: int) -> Table:
    """The joined rows in the order of the predictions, as a table in `folder`."""
    join = _here(join, folder)
    columns, stamps = _columns(plan, join), _stamps(join)
    connection = _prepared(join, folder, memory_limit, threads)
    files = _files(join.predictions)
    path = folder / "joined.parquet"
    chosen = "".join(f"p.{_quoted(column)}, " for column in columns)
    query = f"""
        COPY (SELECT {chosen}l.label AS "{LABEL}"
        FROM read_parquet({files}, filename = true, file_row_number = true, union_by_name = true) AS p
        JOIN (FROM labels WHERE place NOT IN (FROM superseded)) AS l ON p."{ID}" = l.id AND p."{ORDINAL}" = l.ordinal
        ORDER BY list_position({files}, p.filename), p.file_row_number)
        TO {_text(str(path))} (FORMAT parquet, ROW_GROUP_SIZE {_BATCH})"""  # noqa: S608
    try:
        connection.execute(query)
    except duckdb.Error as why:
        raise _explained(why) from why
    finally:
        connection.close()
    _unchanged(stamps)
    with opened(path) as file:
        return Table((path,), columns, file.metadata.num_rows)


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
        Unavailable: a file vanished.
    """
    wanted = {column for summary in plan for column in summary.columns} - {LABEL}
    sides = (join.predictions, Columns({*wanted, ID, ORDINAL}, exact=True)), (join.labels, Columns(_KEPT, exact=True))
    for table, columns in sides:
        for path in table.files:
            with opened(path) as file:
                columns.check(path, file.schema_arrow)
    if not join.predictions.files or not join.labels.files:
        raise InputError("there is no file of predictions, or none of labels; a join needs both")
    return sides[0][1].schema(), sides[1][1].schema()


def _columns(plan: Plan, join: Join) -> tuple[str, ...]:
    """What the plan reads of the predictions, and the probability where there is one."""
    wanted = {column for summary in plan for column in summary.columns} | {PROBABILITY}
    return tuple(column for column in schemas(plan, join)[0].names if column in wanted)


def _prepared(join: Join, folder: Path, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
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
    except duckdb.Error as why:
        raise _explained(why) from why
    return connection


def _stamps(join: Join) -> dict[Path, Stamp]:
    return {path: stamp_of(path) for path in (*join.predictions.paths, *join.labels.paths)}


def _unchanged(files: Mapping[Path, Stamp]) -> None:
    for path, stamp in files.items():
        unchanged(path, stamp)


def _explained(why: duckdb.Error) -> Exception:
    text = str(why)
    if isinstance(why, duckdb.IOException):
        return Unavailable(f"the join of predictions and labels cannot go on: {text}")
    if isinstance(why, duckdb.OutOfMemoryException):
        return Unavailable(f"the join of predictions and labels needs more memory: {text}; raise the memory limit")
    return InputError(f"predictions and labels cannot be joined: {text}")


def _files(table: Table) -> str:
    return "[" + ", ".join(_text(str(path)) for path in table.paths) + "]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
