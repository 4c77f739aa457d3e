"""JSON files to documents: lines, or one array per file; broken lines are dead letters."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.dataset import Files
from driftline.dataset.duck import ask, parts
from driftline.dataset.jsontext import TOO_DEEP, columns_of, too_deep
from driftline.dataset.lines import BROKEN_GZ, ENDINGS, LONGEST, Lines, files_below, read_lines
from driftline.dataset.stamps import stamp_of, unchanged
from driftline.dataset.tables import Work
from driftline.errors import InputError, Unavailable


def read_json(source: Files, work: Work) -> tuple[int, int]:
    """Bring the objects of the files into scratch, nested ones flattened; gives the numbers of files and records.

    Raises:
        InputError: there is no file, or all are empty.
    """
    files = files_below(source.paths, *ENDINGS["jsonl"])
    if not files:
        raise InputError(f"there is no .jsonl or .json file below {', '.join(map(str, source.paths))}")
    records = 0
    for lines in read_documents(files, work):
        records += len(lines)
        query = "SELECT CASE WHEN json_valid(text) THEN json_type(text) END AS type FROM documents"
        kinds = ask(work.connection, query, documents=parts(pa.table({"text": lines.text})))["type"].combine_chunks()
        good = pc.fill_null(pc.equal(kinds, "OBJECT"), False).to_numpy(zero_copy_only=False)
        deep = good & too_deep(lines.text)
        good &= ~deep
        for at in np.flatnonzero(~good):
            reason = "not valid JSON" if kinds[at].as_py() is None else TOO_DEEP if deep[at] else "not a JSON object"
            bury(lines, int(at), reason, files, work)
        documents = lines.text.filter(pa.array(good))
        if len(documents):
            work.scratch.add(columns_of(work.connection, documents), {}, len(documents))
    if not records and not work.dead.count:
        which = f"file {str(files[0])!r} is" if len(files) == 1 else f"all {len(files)} files are"
        raise InputError(f"{which} empty: there is no record")
    return len(files), records


def read_documents(files: tuple[Path, ...], work: Work) -> Iterator[Lines]:
    """The documents of JSON-lines files and of files of one array; `line` of an array's element is its number."""
    for array, group in groupby(enumerate(files), key=lambda file: is_array(file[1])):
        indexed = list(group)
        if array:
            for index, path in indexed:
                yield from _elements(index, path, work)
        else:
            first = indexed[0][0]
            for lines in read_lines(tuple(path for _, path in indexed), work.dead, progress=work.progress):
                yield not_blank(Lines(lines.file + np.int32(first), lines.line, lines.offset, lines.text))


def not_blank(lines: Lines) -> Lines:
    """Only the lines that hold more than white space."""
    text = pc.utf8_trim_whitespace(lines.text)
    return lines.where(pc.greater(pc.binary_length(text), 0).to_numpy(zero_copy_only=False))


def bury(lines: Lines, at: int, reason: str, files: tuple[Path, ...], work: Work) -> None:
    """Send a document to the dead letters."""
    work.dead.add(files[lines.file[at]], int(lines.line[at]), reason, lines.text[at].as_py(), int(lines.offset[at]))


def is_array(path: Path) -> bool:
    """Whether the file opens with "[" and closes with "]": one that breaks off is read as lines, each a dead letter."""
    try:
        packed = path.suffix.lower() == ".gz"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            if not file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
                return False
            if packed:
                return True
            file.seek(-min(64, path.stat().st_size), 2)
            return file.read(64).rstrip().endswith(b"]")
    except BROKEN_GZ:  # who reads it as lines says so
        return False
    except OSError as why:
        raise Unavailable(f"file {str(path)!r} cannot be read: {why.strerror or why}") from why


def _elements(index: int, path: Path, work: Work) -> Iterator[Lines]:
    number = 0
    stamp = stamp_of(path)
    query = (
        "SELECT json::VARCHAR AS text FROM read_json_objects($path, format = 'array', maximum_object_size = $longest)"
    )
    try:
        # A cursor of its own: the connection answers other questions while the elements come in.
        with work.connection.cursor() as own:
            reader = own.sql(query, params={"path": str(path), "longest": LONGEST}).to_arrow_reader(16384)
            for batch in reader:
                count = batch.num_rows
                line = np.arange(number + 1, number + count + 1, dtype=np.int64)
                text = cast("pa.Array", batch.column(0))
                yield Lines(np.full(count, index, np.int32), line, np.zeros(count, np.int64), text)
                number += count
    except (duckdb.Error, pa.ArrowException) as why:
        unchanged(path, stamp)
        work.dead.unread(path, number + 1, "the JSON array is broken from here on", str(why))
    unchanged(path, stamp)
