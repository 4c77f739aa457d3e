"""Captured records to rows: payloads paired, columns named by position, each record accounted for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.compiled import PREFIX
from driftline.dataset.dataset import Answers, Captured, Side
from driftline.dataset.jsontext import column_among
from driftline.dataset.payloads import SideRows, side_rows, spread
from driftline.dataset.records import Records, reserved
from driftline.dataset.spelled import Cells
from driftline.dataset.tables import Layout, Work, derived
from driftline.dataset.truths import truths
from driftline.schema import LABEL, PREDICTION, SCORE, Shape

_LONG_ID: Final = 64
"""Bytes; a longer id …"""
_MOST_IDS: Final = 16 << 20
"""… that stands in each row of its record becomes no more than this: one line must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a batch of records."""

    columns: Mapping[str, Cells]
    fixed: Mapping[str, pa.Array]
    times: npt.NDArray[np.int64]
    """So many rows each record has."""


def sides_of(source: Captured, input_width: int) -> tuple[Side, ...]:
    """Which payloads become columns."""
    if source.sides is not None:
        return source.sides
    if source.names is not None and input_width == len(source.names):
        return ("input",)
    return ("output", "input")


def needed_sides(sides: tuple[Side, ...], answers: Answers | None) -> tuple[Side, ...]:
    """Which payloads must be decoded: for answers both, since a row of the output goes with one of the input."""
    answered = answers is not None and (answers.prediction is not None or answers.score is not None)
    return ("output", "input") if answered else sides


@dataclass(frozen=True, slots=True)
class Decoder:
    """Takes the payloads of records apart."""

    work: Work
    records: Records
    label: str | None
    needed: tuple[Side, ...]
    widths: Mapping[Side, int]
    """Columns that a CSV payload must have."""
    shapes: Mapping[Side, Shape]
    """What is declared of the payloads."""

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """The rows of the records; a record that has none, or others than it should, goes to the dead letters."""
        count = batch.num_rows
        sides: dict[Side, SideRows] = {}
        others: npt.NDArray[np.int64] | None = None
        for side in ("input", "output"):
            if side in self.needed:
                connection, width = self.work.connection, self.widths[side]
                data, encoding = batch.column(side), batch.column(f"{side}_encoding")
                sides[side] = side_rows(connection, data, encoding, width, others, self.shapes.get(side))
                others = sides[side].counts(count)
        dead = {at: f"{_where(side)}: {reason}" for side, rows in sides.items() for at, reason in rows.broken.items()}
        rows = self._paired({side: sides[side].counts(count) for side in sides}, dead, count)
        ids = pc.binary_length(batch.column("id")).fill_null(0).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero((ids > _LONG_ID) & (ids.astype(np.int64) * rows > _MOST_IDS)).tolist():
            dead.setdefault(at, f"an id of {ids[at]:,} bytes for {rows[at]:,} rows; give it a shorter one")
        labels = truths(self.work.connection, batch, self.label) if self.records.labelled else None
        if labels is not None:
            labels.check(rows, dead)
        keep = np.ones(count, np.bool_)
        for at, reason in dead.items():
            keep[at] = False
            bury_record(self.work, self.records, batch, at, reason)
        columns = {
            PREFIX[side] + name: cells for side in sides for name, cells in spread(sides[side], rows, keep).items()
        }
        times = np.where(keep, rows, 0)
        fixed = reserved(batch, times)
        if labels is not None:
            columns[LABEL] = labels.spread(times)
        return Rows(columns, fixed, times)

    def _paired(
        self, counts: Mapping[Side, npt.NDArray[np.int64]], dead: dict[int, str], count: int
    ) -> npt.NDArray[np.int64]:
        both = [counts[side] for side in counts]
        rows = np.maximum.reduce(both) if both else np.zeros(count, np.int64)
        for at in np.flatnonzero(rows == 0):
            dead.setdefault(int(at), "no rows in the payloads")
        if len(both) == 2:
            for at in np.flatnonzero((both[0] != both[1]) & (both[0] > 0) & (both[1] > 0)):
                dead.setdefault(int(at), "input and output have different numbers of rows")
        return rows


def _where(side: Side) -> str:
    return "endpointInput" if side == "input" else "endpointOutput"


def bury_record(work: Work, records: Records, batch: pa.RecordBatch, at: int, reason: str) -> None:
    """Send record `at` of the batch to the dead letters, with what its payloads hold."""
    payloads = [batch.column(side)[at].as_py() or "" for side in ("output", "input")]
    file = records.files[batch.column("file")[at].as_py()]
    line, offset = batch.column("line")[at].as_py(), batch.column("offset")[at].as_py()
    work.dead.add(file, line, reason, " <- ".join(p[:500] for p in payloads if p), offset)


def layout_of(source: Captured, sides: tuple[Side, ...], there: Collection[str], answers: Answers | None) -> Layout:
    """The order and the names of the columns: by position from `names`, surplus ones `_c{i}`; those of JSON by path."""
    found = {side: [n for n in there if n.startswith(PREFIX[side])] for side in PREFIX}
    order: tuple[Side, ...] = ("input", "output") if source.output_last else ("output", "input")
    chosen = [side for side in order if side in sides]
    columns: dict[str, str] = {}
    start = 0
    for place, side in enumerate(chosen):
        names = sorted(found[side], key=lambda n: (not _positional(n), int(n[2:]) if _positional(n) else 0))
        width = sum(map(_positional, names))
        if (
            place == 1
            and source.names is not None
            and len(source.names) > width
            and not _any_positional(found[chosen[0]])
        ):
            # Beside JSON of the other side, whose columns bring their names, these are the last ones of the baseline.
            start = len(source.names) - width
        for name in names:
            column = _named(start + int(name[2:]), source.names) if _positional(name) else name[2:]
            columns[column if column not in columns else f"{_where(side)}.{column}"] = name
        start += width
    outputs = {name[2:]: name for name in found["output"]}
    derived_columns = derived(_wanted(answers, outputs), outputs, "the output of the captured records")
    return Layout(columns, derived_columns | ({LABEL: LABEL} if LABEL in there else {}))


def _any_positional(names: list[str]) -> bool:
    return any(map(_positional, names))


def _positional(name: str) -> bool:
    return name[2:].isdecimal()


def _named(position: int, names: tuple[str, ...] | None) -> str:
    return names[position] if names is not None and position < len(names) else f"_c{position}"


def _wanted(answers: Answers | None, there: Collection[str]) -> dict[str, str | None]:
    if answers is None:
        return {}
    places = {PREDICTION: answers.prediction, SCORE: answers.score}
    return {reserved: None if place is None else column_among(place, there) for reserved, place in places.items()}
