"""Captured records to a table: by the compiled parser where it understands them, else step by step."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from driftline.dataset.captured_rows import Decoder, layout_of, needed_sides, sides_of
from driftline.dataset.compiled import SIDES
from driftline.dataset.dataset import Answers, Captured, Decoded, Intake, Progress
from driftline.dataset.decode_compiled import decode_compiled
from driftline.dataset.failed import errors_of
from driftline.dataset.preprocess import preprocessed
from driftline.dataset.records import Records, read_records
from driftline.dataset.tables import Layout, Work, derived, finish, working
from driftline.schema import ID, LABEL, ORDINAL, PREDICTION, SCORE, TIME


def decode_captured(
    source: Captured, into: Path, *, answers: Answers | None, label: str | None, progress: Progress | None
) -> Decoded:
    """Decode captured records; see `decode`.

    Input and output of a record must have as many rows, else the record is a dead letter; two forms that servers use
    are understood: one CSV line of n answers for n rows, and one flat JSON list of answers for a request of one row.
    A record that lacks a side (capture mode Input or Output) has no values in that side's columns. `groundTruthData`
    beside the payloads (the output of a merge job) becomes the label, in the order of the rows.
    """
    if (found := decode_compiled(source, into, answers=answers, progress=progress)) is not None:
        return found[0]
    with working(into, progress) as work:
        records = read_records(source, work)
        skipped = 0
        if source.preprocess is not None:
            if records.records:
                skipped = preprocessed(source.preprocess, records, work, label)
            layout = _scripted(work, answers)
        else:
            layout = _unscripted(source, work, records, answers, label)
        if not work.scratch.rows:
            _nothing(work)
        counts = Intake(
            files=len(records.files), records=records.records, outside=records.outside, duplicates=records.duplicates,
            skipped=skipped, **errors_of(records.failed),
        )  # fmt: skip
        return finish(work, layout, counts)


def _unscripted(source: Captured, work: Work, records: Records, answers: Answers | None, label: str | None) -> Layout:
    sides = sides_of(source, records.width("input"))
    widths = {side: records.width(side) for side in SIDES}
    decoder = Decoder(work, records, label, needed_sides(sides, answers), widths, source.shapes)
    if records.path.exists():
        for batch in records.batches():
            rows = decoder.rows(batch)
            work.scratch.add(rows.columns, rows.fixed, int(rows.times.sum()))
    return layout_of(source, sides, work.scratch.spellings, answers)


def _nothing(work: Work) -> None:
    """An empty window has the reserved columns, so that it joins like any other."""
    work.scratch.fixed |= {ID: pa.string(), ORDINAL: pa.int64(), TIME: pa.timestamp("us", "UTC")}


def _scripted(work: Work, answers: Answers | None) -> Layout:
    """A preprocess script names the columns itself; answers are columns of what it returns."""
    columns = {name: name for name in work.scratch.spellings if name != LABEL}
    wanted = {} if answers is None else {PREDICTION: answers.prediction, SCORE: answers.score}
    place = {**{str(i): name for i, name in enumerate(columns)}, **columns}
    labels = {LABEL: LABEL} if LABEL in work.scratch.spellings else {}
    return Layout(columns, derived(wanted, place, "what the preprocess script returns") | labels)
