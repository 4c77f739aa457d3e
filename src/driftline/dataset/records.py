"""Captured records, told apart: what each line holds, before its payloads are looked into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.dataset.bodies import CUT, read_bodies
from driftline.dataset.csvtext import csv_rows
from driftline.dataset.dataset import Captured
from driftline.dataset.decode_json import bury, read_documents
from driftline.dataset.duck import ask, parts
from driftline.dataset.failed import FAILED, Failed
from driftline.dataset.lines import ENDINGS, Lines, files_below
from driftline.dataset.manifests import pairs_of, read_pairs, told_apart
from driftline.dataset.tables import Work
from driftline.schema import ID, ORDINAL, PROBABILITY, TIME
from driftline.windows import Window

_PATHS: Final = [
    "$.captureData.endpointInput.data",
    "$.captureData.endpointInput.encoding",
    "$.captureData.endpointOutput.data",
    "$.captureData.endpointOutput.encoding",
    "$.captureData.batchTransformOutput.data",
    "$.captureData.batchTransformOutput.encoding",
    "$.eventMetadata.eventId",
    "$.eventMetadata.inferenceId",
    "$.eventMetadata.inferenceTime",
    "$.eventMetadata.inclusionProbability",
    "$.groundTruthData.data",
    "$.groundTruthData.encoding",
    "$.captureData.endpointInput.truncated",
    "$.captureData.endpointInput.observedContentType",
    "$.captureData.endpointOutput.truncated",
    "$.captureData.endpointOutput.observedContentType",
    "$.eventMetadata.statusCode",
]

_EXTRACT: Final = """
WITH valid AS (SELECT CASE WHEN json_valid(text) THEN text END AS doc FROM lines),
found AS (SELECT doc, json_type(doc) AS type, json_extract_string(doc, $paths) AS x FROM valid),
named AS (
    SELECT doc, type, x[1] AS input, CASE WHEN x[13] = 'true' THEN $cut ELSE upper(x[2]) END AS input_encoding,
        x[14] AS input_type, coalesce(x[3], x[5]) AS output,
        CASE WHEN x[3] IS NULL THEN upper(x[6]) WHEN x[15] = 'true' THEN $cut ELSE upper(x[4]) END AS output_encoding,
        x[16] AS output_type, x[7] AS event_id,
        coalesce(x[8], x[7]) AS id, try_cast(x[9] AS TIMESTAMPTZ) AS any_time, x[9] AS spelled_time,
        CASE WHEN isfinite(any_time) THEN any_time END AS time,
        try_cast(x[10] AS DOUBLE) AS probability, x[10] IS NOT NULL AS sampled,
        x[11] AS label, upper(x[12]) AS label_encoding, try_cast(x[17] AS BIGINT) AS status,
        coalesce(status >= $failed, false) AS failed
    FROM found)
SELECT * EXCLUDE (doc, type, any_time, spelled_time, sampled), CASE
    WHEN doc IS NULL THEN 'not valid JSON'
    WHEN type <> 'OBJECT' THEN 'not a JSON object'
    WHEN input IS NULL AND output IS NULL AND NOT failed
        THEN 'no captureData with the data of an endpointInput or endpointOutput'
    WHEN sampled AND NOT coalesce(probability > 0 AND probability <= 1, false)
        THEN 'eventMetadata.inclusionProbability is not a number in (0, 1]'
    WHEN time IS NULL AND spelled_time IS NOT NULL THEN 'eventMetadata.inferenceTime is not a time'
    WHEN time IS NULL AND $timed THEN 'no eventMetadata.inferenceTime'
    END AS reason
FROM named"""


@dataclass(slots=True)
class Records:
    """The records of the window in a scratch file, and what was learned on the way."""

    files: tuple[Path, ...]
    path: Path
    records: int = 0
    outside: int = 0
    duplicates: int = 0
    failed: Failed = field(default_factory=Failed)
    labelled: bool = False
    """Whether any record brings its ground truth along (the output of a merge job)."""
    widths: dict[str, Counter[int]] = field(default_factory=lambda: {"input": Counter(), "output": Counter()})
    """How often a CSV payload had so many columns."""
    superfluous: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows of the file whose event id was there before."""

    def width(self, side: str) -> int:
        """The number of columns that most CSV payloads have (the larger one of two equally frequent), 0 without CSV."""
        return majority(self.widths[side])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The records in order, each event once."""
        start = 0
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(1 << 16):
                end = start + batch.num_rows
                low, high = np.searchsorted(self.superfluous, [start, end])
                if high > low:
                    keep = np.ones(batch.num_rows, np.bool_)
                    keep[self.superfluous[low:high] - start] = False
                    batch = batch.filter(pa.array(keep))
                start = end
                yield batch


def majority(widths: Mapping[int, int]) -> int:
    """The width that most payloads have: the larger one of two equally frequent, 0 where there is none."""
    ranked = sorted(((n, width) for width, n in widths.items() if n), reverse=True)
    return ranked[0][1] if ranked else 0


def read_records(source: Captured, work: Work) -> Records:
    """Bring the records of the window into a scratch file, telling apart what is broken, outside or there twice.

    A record without an event id is never a duplicate; one without any id has no label either.
    """
    manifests, files = told_apart(files_below(source.paths, *ENDINGS["captured"]))
    pairs = pairs_of(manifests, work.dead)
    data = dict.fromkeys(path for pair in pairs for path in pair.files)
    records = Records((*files, *data, *manifests), work.folder / "records.parquet")
    writer: Any = None
    try:
        for lines in chain(read_documents(files, work), read_pairs(pairs, records.files, work)):
            records.records += len(lines)
            batch = told(lines, source, records, work)
            writer = writer or pq.ParquetWriter(records.path, batch.schema, compression="lz4", use_dictionary=False)
            if batch.num_rows:
                writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()
    if writer is not None:
        records.superfluous = _superfluous(records.path, work)
        records.duplicates = len(records.superfluous)
    return records


def told(lines: Lines, source: Captured, records: Records, work: Work) -> pa.RecordBatch:
    """What each line holds; of those that are broken, outside the window or errors only the account is kept."""
    whole = source.preprocess is not None
    table = parts(pa.table({"text": lines.text}))
    params = {"paths": _PATHS, "timed": source.window is not None, "cut": CUT, "failed": FAILED}
    found = ask(work.connection, _EXTRACT, params, lines=table).combine_chunks()
    reason = found["reason"].combine_chunks()
    good = reason.is_null().to_numpy(zero_copy_only=False)
    for at in np.flatnonzero(~good):
        bury(lines, int(at), reason[at].as_py(), records.files, work)
    if source.window is not None:
        inside = _inside(found["time"].combine_chunks(), source.window)
        records.outside += int(np.count_nonzero(good & ~inside))
        good &= inside
    failed = good & found["failed"].to_numpy()
    if failed.any():
        _count(found.filter(pa.array(failed)), records)
        good &= ~failed
    place = {"file": pa.array(lines.file), "line": pa.array(lines.line), "offset": pa.array(lines.offset)}
    found = found.drop_columns(["reason", "status", "failed"])
    if whole:
        found = found.append_column("text", lines.text)
    for name, array in place.items():
        found = found.append_column(name, array)
    found = found.set_column(
        found.schema.get_field_index("time"), "time", found["time"].cast(pa.timestamp("us", "UTC"))
    ).filter(pa.array(good))
    if not whole:
        found = _readable(found, source)
        _widths(found, records)
    records.labelled |= found["label"].null_count < found.num_rows
    return found.combine_chunks().to_batches()[0] if found.num_rows else pa.RecordBatch.from_pylist([], found.schema)


def _readable(found: pa.Table, source: Captured) -> pa.Table:
    """The records with what can be read of bodies that were kept as bytes."""
    for side in ("input", "output"):
        names = (side, f"{side}_encoding", f"{side}_type")
        data, encoding, content_type = (found[name].combine_chunks() for name in names)
        data, encoding = read_bodies(data, encoding, content_type, source.shapes.get(side))
        found = found.set_column(found.schema.get_field_index(side), side, data)
        found = found.set_column(found.schema.get_field_index(names[1]), names[1], encoding)
    return found.drop_columns(["input_type", "output_type"])


def _count(failed: pa.Table, records: Records) -> None:
    time = failed["time"].cast(pa.timestamp("us", "UTC")).drop_null()
    records.failed.add(
        failed["status"].to_numpy(), failed["probability"].fill_null(1.0).to_numpy(), time.cast(pa.int64()).to_numpy()
    )


def _inside(time: pa.Array, window: Window) -> npt.NDArray[np.bool_]:
    zone = pa.timestamp("us", "UTC")
    start, end = (pa.scalar(at, zone) for at in (window.start, window.end))
    time = time.cast(zone)
    inside = pc.and_(pc.greater_equal(time, start), pc.less(time, end))
    mask: npt.NDArray[np.bool_] = pc.fill_null(inside, False).to_numpy(zero_copy_only=False)
    return mask


def _widths(found: pa.Table, records: Records) -> None:
    """Count columns by the first line of each payload; one line that answers n lines with n fields has one."""
    first = {side: _first_line(found[side].combine_chunks()) for side in ("input", "output")}
    for side, (width, _) in first.items():
        encoding = pc.fill_null(pc.equal(found[f"{side}_encoding"], "CSV"), False).to_numpy(zero_copy_only=False)
        width = np.where(encoding, width, 0)
        if side == "output":
            several = first["input"][1]
            width = np.where((several > 1) & (first["output"][1] == 1) & (width == several), 1, width)
        values, counts = np.unique(width[width > 0], return_counts=True)
        records.widths[side].update(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _first_line(data: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Fields of the first line, and the number of lines, 0 where there is none (quoted line ends aside)."""
    data = pc.utf8_trim(pc.fill_null(data, ""), "\r\n")
    there = pc.binary_length(data).to_numpy(zero_copy_only=False) > 0
    lines = pc.count_substring(data, "\n").to_numpy(zero_copy_only=False).astype(np.int64) + 1
    if int(lines.max(initial=0)) > 1:
        data_first = pc.list_element(pc.split_pattern(data, "\n", max_splits=1), 0)
    else:
        data_first = data
    width = pc.count_substring(data_first, ",").to_numpy(zero_copy_only=False).astype(np.int64) + 1
    for at in np.flatnonzero(pc.match_substring(data, '"').to_numpy(zero_copy_only=False)):
        rows, _ = csv_rows(data.slice(int(at), 1))
        width[at], lines[at] = (rows.width[0], len(rows)) if len(rows) else (0, 0)
    return np.where(there, width, 0), np.where(there, lines, 0)


_TWICE: Final = """
    SELECT row FROM (
        SELECT file_row_number AS row, row_number() OVER (PARTITION BY event_id ORDER BY file_row_number) AS nth
        FROM read_parquet($path, file_row_number = true)
        WHERE hash(event_id) IN (
            SELECT hash(event_id) FROM read_parquet($path) WHERE event_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1)
        AND event_id IS NOT NULL)
    WHERE nth > 1 ORDER BY row"""


def _superfluous(path: Path, work: Work) -> npt.NDArray[np.int64]:
    rows: npt.NDArray[np.int64] = ask(work.connection, _TWICE, {"path": str(path)})["row"].to_numpy()
    return rows


def reserved(batch: pa.RecordBatch, times: npt.NDArray[np.int64]) -> dict[str, pa.Array]:
    """The reserved columns of the rows, for records that have so many rows each; no probability where all are 1."""
    parent = np.repeat(np.arange(len(times)), times)
    ordinal = np.arange(len(parent)) - np.repeat(np.cumsum(times) - times, times)
    take = pa.array(parent)
    found = {
        ID: batch.column("id").take(take),
        ORDINAL: pa.array(ordinal.astype(np.int64)),
        TIME: batch.column("time").take(take),
    }
    probability = batch.column("probability").fill_null(1.0)
    if pc.any(pc.not_equal(probability.filter(pa.array(times > 0)), 1.0)).as_py():
        found[PROBABILITY] = probability.take(take)
    return found
