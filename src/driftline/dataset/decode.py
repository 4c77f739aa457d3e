"""A source is decoded once: whatever it is, what comes out is a typed Parquet table and an account of every record."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from driftline.dataset.dataset import Answers, Captured, Decoded, Files, Intake, Progress
from driftline.dataset.decode_captured import decode_captured
from driftline.dataset.decode_csv import read_csv
from driftline.dataset.decode_json import read_json
from driftline.dataset.decode_parquet import decode_parquet
from driftline.dataset.tables import Layout, derived, finish, working
from driftline.schema import LABEL, PREDICTION, SCORE


def decode(
    source: Files | Captured,
    into: Path,
    *,
    answers: Answers | None = None,
    label: str | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Decode `source` to Parquet in the folder `into`; memory does not grow with the rows.

    The table has the data's own columns, and reserved ones (`driftline.*`) where they exist: of captured records id,
    ordinal, time and (unless it is 1 everywhere) inclusion probability; with `answers` prediction and score; with
    `label` the ground truth in that column. Parquet files are copied only where `answers` or `label` ask for columns.
    Records that cannot be decoded are in `dead_letters.jsonl` with file, line and reason.

    Args:
        answers: for captured records places in the output: an index ("0") or a path ("predictions[0].score");
            for files names of columns.
        label: for files the name of a column; for captured ones with `groundTruthData` the path in it.

    Raises:
        InputError: there is nothing to read, or a named column is not there.
        Unavailable: a file vanished while it was read.
    """
    into.mkdir(parents=True, exist_ok=True)
    if isinstance(source, Captured):
        return decode_captured(source, into, answers=answers, label=label, progress=progress)
    wanted = {
        PREDICTION: answers.prediction if answers else None,
        SCORE: answers.score if answers else None,
        LABEL: label,
    }
    if source.format == "parquet":
        return decode_parquet(source, into, wanted, progress)
    with working(into, progress) as work:
        match source.format:
            case "csv":
                names, files, records = read_csv(source, work)
            case "jsonl":
                files, records = read_json(source, work)
                names = tuple(work.scratch.spellings)
            case _:
                assert_never(source.format)
        columns = {name: name for name in names}
        layout = Layout(columns, derived(wanted, columns, "the columns of the data"))
        return finish(work, layout, Intake(files=files, records=records))
