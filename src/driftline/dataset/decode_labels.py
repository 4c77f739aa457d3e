"""Ground-truth records to a table of labels, in the order in which they were written: the last one wins in a join."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Decoded, Intake, Progress, Table
from driftline.dataset.decode_json import bury, read_documents
from driftline.dataset.duck import ask, parts
from driftline.dataset.lines import ENDINGS, Lines, files_below
from driftline.dataset.tables import DEAD, Work, working
from driftline.dataset.truths import truths
from driftline.schema import ID, LABEL, ORDINAL

LABELS: Final = "labels.parquet"
_SCHEMA: Final = pa.schema([(ID, pa.string()), (ORDINAL, pa.int64()), (LABEL, pa.string())])
_EXTRACT: Final = """
SELECT x[1] AS id, x[2] AS label, coalesce(upper(x[3]), 'CSV') AS label_encoding, CASE
    WHEN x IS NULL THEN 'not valid JSON'
    WHEN x[1] IS NULL THEN 'no eventMetadata.eventId'
    WHEN x[2] IS NULL THEN 'no groundTruthData.data'
    END AS reason
FROM (SELECT CASE WHEN json_valid(text) THEN json_extract_string(text,
    ['$.eventMetadata.eventId', '$.groundTruthData.data', '$.groundTruthData.encoding']) END AS x FROM lines)"""

# Only ids whose hash occurs twice can be there twice: the strings of all others are never compared.
_AGAIN: Final = """
WITH again AS (
    SELECT hash(id, ordinal) AS h FROM labels GROUP BY 1 HAVING count(*) > 1),
grouped AS (
    SELECT count(*) AS n, count(DISTINCT coalesce(try_cast(label AS DOUBLE)::VARCHAR, label)) AS different
    FROM labels WHERE hash(id, ordinal) IN (SELECT h FROM again) GROUP BY id, ordinal)
SELECT coalesce(sum(n - different), 0)::BIGINT AS duplicates, coalesce(sum(different - 1), 0)::BIGINT AS contradictions
FROM grouped"""


def decode_labels(
    paths: tuple[Path, ...], into: Path, *, path: str | None = None, progress: Progress | None = None
) -> Decoded:
    """Decode ground truth to `labels.parquet` in the folder `into`: id, ordinal within the request, label as spelled.

    All labels are kept, in the order of the files' paths and their lines. The account counts labels that repeat another
    one of the same request and row, and those that contradict another; `rows` counts labels, `records` records.

    Args:
        paths: files and folders of `*.jsonl` (or JSON arrays) in Model Monitor's format.
        path: where the label stands in JSON label data (JMESPath or JSONPath); default `label`.

    Raises:
        InputError: a path does not exist.
        Unavailable: a file vanished while it was read.
    """
    into.mkdir(parents=True, exist_ok=True)
    files = files_below(paths, *ENDINGS["jsonl"])
    target = into / LABELS
    records = rows = 0
    with working(into, progress) as work:
        with pq.ParquetWriter(target, _SCHEMA, compression="snappy") as writer:
            for lines in read_documents(files, work):
                records += len(lines)
                batch = _labels(lines, files, work, path)
                rows += batch.num_rows
                if batch.num_rows:
                    writer.write_batch(batch)
        duplicates, contradictions = _again((target,), work)
        intake = Intake(
            files=len(files), records=records + work.dead.lines, rows=rows, dead=work.dead.count, duplicates=duplicates,
            contradictions=contradictions, reasons=dict(work.dead.reasons),
        )  # fmt: skip
        letters = work.dead.path if work.dead.count else None
    return Decoded(Table((target,), (), rows), intake, letters)


def _labels(lines: Lines, files: tuple[Path, ...], work: Work, path: str | None) -> pa.RecordBatch:
    table = parts(pa.table({"text": lines.text}))
    found = ask(work.connection, _EXTRACT, lines=table).combine_chunks()
    reason = found["reason"].combine_chunks()
    for bad in np.flatnonzero(reason.is_valid().to_numpy(zero_copy_only=False)):
        bury(lines, int(bad), reason[bad].as_py(), files, work)
    kept = np.flatnonzero(reason.is_null().to_numpy(zero_copy_only=False))
    if not len(kept):
        return pa.RecordBatch.from_pylist([], _SCHEMA)
    batch = found.take(pa.array(kept)).combine_chunks().to_batches()[0]
    labels = truths(work.connection, batch, path)
    for at, why in sorted(labels.broken.items()):
        bury(lines, int(kept[at]), why, files, work)
    whole = ~np.isin(labels.parent, np.asarray(list(labels.broken), np.int64))
    parent: Any = labels.parent[whole]
    counts = np.bincount(parent, minlength=batch.num_rows)
    ordinal = np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)
    arrays = [
        batch.column("id").take(pa.array(parent)),
        pa.array(ordinal.astype(np.int64)),
        labels.labels.filter(pa.array(whole)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def joined_labels(parts: Sequence[Decoded], into: Path) -> Decoded:
    """Labels that were decoded part by part, as one: the rows stay where they are, the accounts become one."""
    into.mkdir(parents=True, exist_ok=True)
    paths = tuple(path for part in parts for path in part.table.paths)
    with working(into, None) as work:
        duplicates, contradictions = _again(paths, work)
    intakes, reasons = [part.intake for part in parts], Counter[str]()
    for intake in intakes:
        reasons.update(intake.reasons)
    whole = Intake(
        **{name: sum(getattr(i, name) for i in intakes) for name in ("files", "records", "rows", "dead")},
        duplicates=duplicates,
        contradictions=contradictions,
        reasons=dict(reasons),
    )
    letters = [part.dead_letters for part in parts if part.dead_letters is not None]
    if letters:
        with (into / DEAD).open("wb") as file:
            for letter in letters:
                with letter.open("rb") as part:
                    shutil.copyfileobj(part, file)
    return Decoded(Table(paths, (), whole.rows), whole, into / DEAD if letters else None)


def _again(paths: Sequence[Path], work: Work) -> tuple[int, int]:
    view = f'SELECT "{ID}" AS id, "{ORDINAL}" AS ordinal, "{LABEL}" AS label FROM read_parquet($paths)'  # noqa: S608  constants
    found = ask(
        work.connection,
        _AGAIN.replace("WITH again", f"WITH labels AS ({view}), again", 1),
        {"paths": [str(path) for path in paths]},
    )
    return found["duplicates"][0].as_py(), found["contradictions"][0].as_py()
