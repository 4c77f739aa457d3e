"""A scan as tasks: each reads some columns of consecutive row groups, on whatever machine, and gives states.

Small row groups and small files are read together, wide tables in bundles of columns, so that a task is neither lost in
its own overhead nor larger than memory. A file is read only as it was when the tasks were made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import File, Table
from driftline.dataset.decode_parquet import damage, opened
from driftline.dataset.stamps import Stamp, stamp_of, unchanged
from driftline.engines.columns import Columns
from driftline.engines.foldings import Foldings
from driftline.errors import InputError, Unavailable
from driftline.kernels.numbers import compiled
from driftline.schema import PROBABILITY
from driftline.states.folding import Folding
from driftline.states.state import AnySummary, Plan

_SLICE: Final = 1 << 15
"""Rows of one batch: few enough that a column of them stays in a core's own cache."""
_SLICE_IN_NUMPY: Final = 1 << 17
"""Rows of one batch without the compiled kernel, where each costs hundreds of calls."""
ROWS: Final = 1 << 20
"""Rows of one task; a larger row group is still one task."""
VALUES: Final = 2 * ROWS
"""Values (rows times columns) of one task. A reader holds about a megabyte for each column that it reads."""
_LEAST: Final = ROWS
"""It has fewer where more tasks keep more workers busy, but not fewer than this."""
_BYTES: Final = 1 << 26
"""Small batches are put together until they hold so much."""
_FILES: Final = 512
"""A task reads no more files than this: opening them takes longer than reading their few rows."""

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive row groups of one file."""

    path: File
    stamp: Stamp
    groups: range
    rows: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """Some columns, and the summaries that read them."""

    columns: tuple[str, ...]
    summaries: tuple[AnySummary, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """Some columns of consecutive rows."""

    pieces: tuple[Piece, ...]
    start: int
    """Its first row, counted over all files."""
    bundle: Bundle

    @property
    def rows(self) -> int:
        """How many rows it reads."""
        return _rows(self.pieces)

    def fold(self, spans: Sequence[Span], reader: Reader, foldings: Foldings) -> None:
        """Take its rows into the foldings of the spans that they fall into.

        Raises:
            InputError: a column cannot be summarised.
            Corrupt: a file is damaged.
            Unavailable: a file vanished or changed.
        """
        met = [(i, span) for i, span in enumerate(spans) if span[0] < self.start + self.rows and self.start < span[1]]
        at = self.start
        with foldings.lent(self.bundle.summaries) as of_span:
            for path, batch in _together(self._batches(reader)):
                for span, part in _cut(batch, at, met):
                    for each in of_span(span):
                        _add(each, part, path)
                at += batch.num_rows

    def _batches(self, reader: Reader) -> Iterator[tuple[File, pa.RecordBatch]]:
        for piece in self.pieces:
            for batch in reader.batches(piece, self.bundle.columns):
                yield piece.path, batch


class Reader(threading.local):
    """Reads pieces; the file that a thread read last stays open, for the next task mostly reads the same one."""

    def __init__(self) -> None:
        self._last: tuple[File, Stamp, pq.ParquetFile, bool] | None = None

    def batches(self, piece: Piece, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the piece with these columns, and with the inclusion probability where the file has one.

        Raises:
            Corrupt: the file is damaged.
            Unavailable: it vanished, or changed since the piece was cut.
        """
        file, weighted = self._file(piece)
        wanted = list(dict.fromkeys([*columns, PROBABILITY] if weighted else columns))
        try:
            yield from file.iter_batches(_slice(), row_groups=list(piece.groups), columns=wanted, use_threads=False)
        except (pa.ArrowException, OSError) as why:
            unchanged(piece.path, piece.stamp)
            raise damage(piece.path, file, piece.groups, wanted, why) from why
        unchanged(piece.path, piece.stamp)

    def _file(self, piece: Piece) -> tuple[pq.ParquetFile, bool]:
        unchanged(piece.path, piece.stamp)
        if self._last is None or self._last[:2] != (piece.path, piece.stamp):
            if self._last is not None:
                self._last[2].close()
                self._last = None
            file = opened(piece.path)
            repeated = _repeated(file)
            if repeated:
                file.close()
                file = opened(piece.path, repeated)
            self._last = (piece.path, piece.stamp, file, PROBABILITY in file.schema_arrow.names)
        return self._last[2:]


def _repeated(file: pq.ParquetFile) -> list[str]:
    """The columns of strings that the file holds as codes: reading them so saves to write out every string.

    A string that is written out takes four bytes for its length alone: the first and last row group must take less.
    """
    metadata = file.metadata
    groups = [metadata.row_group(group) for group in {0, metadata.num_row_groups - 1} if metadata.num_row_groups]
    texts = {field.name for field in file.schema_arrow if pa.types.is_string(field.type)}
    found = []
    for at in range(metadata.num_columns):
        name = metadata.schema.column(at).path
        chunks = [group.column(at) for group in groups] if name in texts else []
        if chunks and all(each.total_uncompressed_size < 4 * each.num_values for each in chunks):
            found.append(name)
    return found


def tasks(plan: Plan, table: Table, workers: int, rows: int = ROWS, values: int = VALUES) -> Iterator[Task]:
    """The tasks that fold the plan over the table, each of about so many rows and values.

    They come in the order of the rows, but within a file bundle by bundle: whoever folds them can keep what a bundle's
    summaries have taken in from one to the next.

    Raises:
        InputError: a file lacks a column of the plan, or holds values of another kind there than the files before it.
        Unavailable: a file vanished, or the files hold other rows than the table says.
    """
    bundles = _Bundles(plan, table.rows, workers, values)
    start = 0
    runs = _runs(pieces(table, Columns(column for summary in plan for column in summary.columns), rows), rows)
    for _, of_file in groupby(runs, key=lambda run: run[0].path):
        same = list(of_file)
        starts = list(accumulate(map(_rows, same), initial=start))
        for bundle in bundles.of(max(map(_rows, same))):
            yield from (Task(run, at, bundle) for run, at in zip(same, starts, strict=False))
        start = starts[-1]
    check_rows(start, table)


def check_rows(found: int, table: Table) -> None:
    """Raises Unavailable when the files hold other rows than the table says."""
    if found != table.rows:
        raise Unavailable(
            f"the files hold {found:,} rows, and held {table.rows:,} when they were counted: one "
            f"of them changed; run it again when nobody writes them"
        )


def _runs(found: Iterable[Piece], rows: int) -> Iterator[tuple[Piece, ...]]:
    """Consecutive pieces that are read together."""
    run: list[Piece] = []
    length = 0
    for piece in found:
        if run and (length + piece.rows > rows or len(run) == _FILES):
            yield tuple(run)
            run, length = [], 0
        run.append(piece)
        length += piece.rows
    if run:
        yield tuple(run)


def _rows(run: Iterable[Piece]) -> int:
    return sum(piece.rows for piece in run)


def pieces(table: Table, columns: Columns, rows: int) -> Iterator[Piece]:
    """The row groups in the order of the data, in as few pieces of at most so many rows as there can be."""
    for path in table.files:
        stamp = stamp_of(path)
        with opened(path) as file:
            metadata = file.metadata
            columns.check(path, file.schema_arrow)
        first = held = 0
        for group in range(metadata.num_row_groups):
            more = metadata.row_group(group).num_rows
            if held and held + more > rows:
                yield Piece(path, stamp, range(first, group), held)
                first, held = group, 0
            held += more
        if held:
            yield Piece(path, stamp, range(first, metadata.num_row_groups), held)


def _slice() -> int:
    return _SLICE if compiled() else _SLICE_IN_NUMPY


def _add(folded: Folding[Any], batch: pa.RecordBatch, path: File) -> None:
    try:
        folded.add(batch)
    except InputError as why:
        raise InputError(f"file {str(path)!r}: {why}") from why


def _together(batches: Iterator[tuple[File, pa.RecordBatch]]) -> Iterator[tuple[File, pa.RecordBatch]]:
    """Consecutive small batches of one schema as one, with the file of the first of them."""
    held: list[pa.RecordBatch] = []
    first: File = Path()
    rows, size, most = 0, 0, _slice()
    for path, batch in batches:
        alone = batch.num_rows >= most  # how many bytes it has takes long to find out
        more = 0 if alone else batch.nbytes
        full = alone or rows + batch.num_rows > most or size + more > _BYTES
        if held and (full or not held[0].schema.equals(batch.schema)):
            yield first, held[0] if len(held) == 1 else pa.concat_batches(held)
            held, rows, size = [], 0, 0
        if alone:
            yield path, batch
            continue
        first = first if held else path
        held.append(batch)
        rows += batch.num_rows
        size += more
    if held:
        yield first, held[0] if len(held) == 1 else pa.concat_batches(held)


def _cut(batch: pa.RecordBatch, at: int, spans: Sequence[tuple[int, Span]]) -> Iterator[tuple[int, pa.RecordBatch]]:
    for span, (start, end) in spans:
        first, last = max(start, at), min(end, at + batch.num_rows)
        if first < last:
            yield span, batch.slice(first - at, last - first)


class _Bundles:
    """A plan in bundles; summaries that share a column stay together, so that it is read once."""

    def __init__(self, plan: Plan, rows: int, workers: int, values: int) -> None:
        self._groups = _sharing(plan)
        self._columns = sum(len(columns) for columns, _ in self._groups)
        self._values = min(values, max(_LEAST, rows * self._columns // (4 * workers)))
        self._packed: dict[int, list[Bundle]] = {}

    def of(self, rows: int) -> list[Bundle]:
        """The bundles for tasks of so many rows."""
        count = -(-self._columns // max(1, self._values // rows))
        width = -(-self._columns // max(1, count))  # bundles of equal width
        if width not in self._packed:
            self._packed[width] = list(_packed(self._groups, width))
        return self._packed[width]


def _sharing(plan: Plan) -> list[tuple[set[str], list[AnySummary]]]:
    """The summaries grouped by shared columns; each group once, in a fixed order."""
    group_of: dict[str, tuple[set[str], list[AnySummary]]] = {}
    groups: dict[int, tuple[set[str], list[AnySummary]]] = {}
    for summary in sorted(plan, key=repr):
        touching = {id(group_of[c]): group_of[c] for c in summary.columns if c in group_of}
        columns, summaries = group = max(touching.values(), key=lambda g: len(g[0]), default=(set(), []))
        for other in touching.values():
            if other is not group:
                columns |= other[0]
                summaries += other[1]
                del groups[id(other)]
                group_of.update(dict.fromkeys(other[0], group))
        columns |= set(summary.columns)
        summaries.append(summary)
        group_of.update(dict.fromkeys(summary.columns, group))
        groups[id(group)] = group
    return list(groups.values())


def _packed(groups: Sequence[tuple[set[str], list[AnySummary]]], width: int) -> Iterator[Bundle]:
    columns: list[str] = []
    summaries: list[AnySummary] = []
    for more, also in groups:
        if summaries and len(columns) + len(more) > width:
            yield Bundle(tuple(columns), tuple(summaries))
            columns, summaries = [], []
        columns += sorted(more)
        summaries += also
    if summaries:
        yield Bundle(tuple(columns), tuple(summaries))
