"""A join beyond one machine: both sides are cut into buckets by the hash of the id, and each is joined for itself.

Predictions and labels of one id meet in one bucket, in the order of the data, so that the same join as on one machine
(`joined`) gives the same rows: its states merge and its counts add up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Coverage, Join, Table
from driftline.dataset.duck import ask, connect
from driftline.engines.columns import Columns
from driftline.engines.joined import schemas, streamed
from driftline.engines.remote import MET, Origin, Slots, failed, failure, numbers, parts, scratch_of_executor
from driftline.engines.tasks import ROWS, Piece, Reader, pieces
from driftline.errors import DriftlineError, InputError
from driftline.schema import ID, LABEL, ORDINAL
from driftline.states.folding import folding
from driftline.states.state import Plan

SCHEMA: Final = "bucket int, side int, place bigint, task int, error string, data binary"
_ARROW: Final = pa.schema(
    [
        ("bucket", pa.int32()),
        ("side", pa.int32()),
        ("place", pa.int64()),
        ("task", pa.int32()),
        ("error", pa.string()),
        ("data", pa.binary()),
    ]
)
_SIDES: Final = ("predictions", "labels")


@dataclass(frozen=True, slots=True)
class Cut:
    """Some rows of one side."""

    side: int
    piece: Piece
    place: int
    """The first row's number, counted over all files of the side."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """Reads both sides and deals their rows out into buckets."""

    origin: Origin
    schemas: tuple[pa.Schema, pa.Schema]
    cuts: Sequence[Cut]
    buckets: int

    @classmethod
    def of(cls, plan: Plan, join: Join, bucket_rows: int) -> Scatter:
        """The reading of a join, for buckets of about so many rows. Raises InputError, Unavailable."""
        predictions, labels = schemas(plan, join)
        kept = pa.schema([field for field in labels if field.name in (ID, ORDINAL, LABEL)])
        for name in (ID, ORDINAL):
            one, other = predictions.field(name).type, kept.field(name).type
            if one != other and not pa.types.is_null(one) and not pa.types.is_null(other):
                if {one, other} <= {pa.string(), pa.large_string(), pa.string_view()}:
                    continue
                raise InputError(
                    f"column {name!r} is {one} in the predictions and {other} in the labels; write both with one type"
                )
        cuts: list[Cut] = []
        for side, table in enumerate((join.predictions, join.labels)):
            place = 0
            for piece in pieces(table, Columns((ID, ORDINAL)), ROWS):
                cuts.append(Cut(side, piece, place))
                place += piece.rows
        rows = join.predictions.rows + join.labels.rows
        return cls(Origin.here(), (predictions, kept), cuts, max(1, -(-rows // bucket_rows)))

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of the cuts whose numbers come in, by bucket."""
        reader = Reader()
        for number in numbers(batches):
            try:
                self.origin.check()
                yield from self._dealt(number, reader)
            except DriftlineError as why:
                ended = failed(number, why).column("error")
                yield pa.record_batch([[0], [0], [number], [number], ended, [b""]], schema=_ARROW)

    def _dealt(self, number: int, reader: Reader) -> Iterator[pa.RecordBatch]:
        cut = self.cuts[number]
        schema = self.schemas[cut.side]
        place = cut.place
        with tempfile.TemporaryDirectory(prefix="driftline-", dir=scratch_of_executor()) as scratch:
            connection = connect(Path(scratch), threads=1)
            query = f'SELECT (hash("{ID}"::VARCHAR) % {self.buckets})::BIGINT AS bucket FROM rows'  # noqa: S608
            for batch in reader.batches(cut.piece, schema.names):
                rows = shaped(batch, schema)
                bucket = ask(connection, query, rows=rows.select([ID])).column(0).to_numpy()
                order = np.argsort(bucket, kind="stable")
                ends = np.searchsorted(bucket[order], np.arange(self.buckets + 1))
                dealt = rows.take(pa.array(order))
                for i in np.flatnonzero(np.diff(ends)).tolist():
                    some = dealt.slice(ends[i], ends[i + 1] - ends[i])
                    fields = [[i], [cut.side], [place], [number], [None], [_written(some)]]
                    yield pa.record_batch(fields, schema=_ARROW)
                place += batch.num_rows
            connection.close()


@dataclass(frozen=True, slots=True)
class Gather:
    """Joins each bucket and folds the joined rows; a bucket's rows come together, by side and place."""

    slots: Slots
    schemas: tuple[pa.Schema, pa.Schema]
    memory_limit: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The states of the joined rows, and how the sides met."""
        found = {summary: folding(summary) for summary in self.slots.summaries}
        met = np.zeros(3, np.int64)
        for bucket, rows in groupby(_rows(batches), lambda row: row["bucket"]):
            try:
                with tempfile.TemporaryDirectory(prefix="driftline-", dir=scratch_of_executor()) as scratch:
                    met += self._joined(rows, found, Path(scratch))
            except DriftlineError as why:
                yield failed(bucket, why)
        states = {summary: each.state() for summary, each in found.items()}
        yield parts(0, [*self.slots.encoded({0: states}), (MET, met.tobytes())])

    def _joined(self, rows: Iterable[dict[str, Any]], found: Any, scratch: Path) -> tuple[int, int, int]:
        paths = tuple(scratch / f"{side}.parquet" for side in _SIDES)
        counts = [0, 0]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(pq.ParquetWriter(path, schema, compression="lz4"))
                for path, schema in zip(paths, self.schemas, strict=True)
            ]
            for row in rows:
                if row["error"] is not None:
                    raise failure(row["error"])
                table = pa.ipc.open_stream(row["data"]).read_all()
                writers[row["side"]].write_table(table)
                counts[row["side"]] += table.num_rows
        sides = [Table((path,), (), count) for path, count in zip(paths, counts, strict=True)]
        plan = frozenset(self.slots.summaries)
        joined = streamed(plan, Join(sides[0], sides[1]), scratch, self.memory_limit, threads=1)
        for batch in joined.batches():
            for each in found.values():
                each.add(batch)
        coverage = joined.coverage()
        joined.connection.close()
        return coverage.labelled, coverage.labels, coverage.unmatched_labels


def shaped(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """The batch with the columns of the schema; one that it lacks is null."""
    there = set(batch.schema.names)
    columns = [
        batch.column(field.name).cast(field.type) if field.name in there else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    for batch in batches:
        for i in range(batch.num_rows):
            yield {name: batch.column(name)[i].as_py() for name in _ARROW.names}


def _written(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    data: bytes = sink.getvalue().to_pybytes()
    return data


def coverage_of(predictions: int, parts_of_coverage: Iterable[bytes]) -> Coverage:
    """The counts of all buckets together."""
    labelled, labels, unmatched = sum(
        (np.frombuffer(part, np.int64) for part in parts_of_coverage), np.zeros(3, np.int64)
    ).tolist()
    return Coverage(predictions, labelled, labels, unmatched)
