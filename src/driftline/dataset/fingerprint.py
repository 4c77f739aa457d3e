"""Fingerprints: of a source as it lies in its files, and of a dataset by what is in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from driftline.dataset.dataset import Answers, Captured, Dataset, Files, Join, Table
from driftline.dataset.duck import ask, borrowed
from driftline.dataset.lines import ENDINGS, files_below
from driftline.dataset.manifests import data_of, told_apart
from driftline.errors import Unavailable
from driftline.schema import ID, LABEL, ORDINAL

FORMAT: Final = 2
"""Raised whenever the same source is decoded to something else, so that what lies in a cache is not taken for it."""

# md5_number gives 128 bits; the two halves are summed apart, which no order and no layout of the files changes.
_SUMS: Final = """
SELECT count(*) AS n, coalesce(sum((h % 18446744073709551616)::UBIGINT), 0)::VARCHAR AS low,
    coalesce(sum((h // 18446744073709551616)::UBIGINT), 0)::VARCHAR AS high
FROM (SELECT md5_number({what}) AS h FROM {rows})"""


def source_fingerprint(source: Files | Captured, answers: Answers | None = None, label: str | None = None) -> str:
    """Changes whenever a file of the source (path, size, modification time) or an option does.

    Raises:
        InputError: a path does not exist.
        Unavailable: a file vanished.
    """
    options: dict[str, Any] = asdict(source) | {"paths": None}
    if isinstance(source, Captured):
        files = files_below(source.paths, *ENDINGS["captured"])
        files += data_of(told_apart(files)[0])
        files += () if source.preprocess is None else (source.preprocess,)
    else:
        files = files_below(source.paths, *ENDINGS[source.format])
    asked = (FORMAT, type(source).__name__, sorted(options.items()), answers, label)
    return _digest([repr(asked), *_states(files)])


def labels_fingerprint(paths: tuple[Path, ...], path: str | None = None) -> str:
    """Changes whenever a file of labels does."""
    return _digest([repr((FORMAT, "labels", path)), *_states(files_below(paths, *ENDINGS["jsonl"]))])


def _states(files: Iterable[Path]) -> Iterable[str]:
    for file in files:
        try:
            state = file.stat()
        except OSError as why:
            raise Unavailable(f"file {str(file)!r} cannot be read: {why.strerror}") from why
        yield f"{os.fspath(file.absolute())} {state.st_size} {state.st_mtime_ns}"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", errors="surrogateescape")).hexdigest()[:32]


def content_fingerprint(dataset: Dataset, scratch: Path) -> str:
    """Changes whenever the rows that are judged do, however they are spread over files.

    A table counts by its rows, a join by the ids of its predictions and by the labels that meet one of them: a label
    for another window changes nothing, nor does one that is delivered twice.

    Raises:
        Unavailable: a file vanished.
    """
    parts = [repr((FORMAT, type(dataset).__name__))]
    with borrowed(scratch) as connection:
        if isinstance(dataset, Join):
            parts.append(_sums(connection, _key(dataset.predictions, ID, ORDINAL), _read(dataset.predictions)))
            parts.append(_sums(connection, f'concat_ws(chr(31), "{ID}", "{ORDINAL}", "{LABEL}")', _matched(dataset)))
        else:
            parts.append(repr(dataset.columns))
            if dataset.rows:
                names = pq.read_schema(dataset.paths[0]).names
                parts.append(_sums(connection, _key(dataset, *names), _read(dataset)))
    return _digest(parts)


def _sums(connection: Any, what: str, rows: str) -> str:
    return repr(ask(connection, _SUMS.format(what=what, rows=rows)).to_pylist())


def _key(table: Table, *names: str) -> str:
    columns = ", ".join("coalesce(" + _quoted(name) + "::VARCHAR, chr(30))" for name in names)
    return f"concat_ws(chr(31), {columns})"


def _read(table: Table) -> str:
    return f"read_parquet({_files(table)})"


def _matched(join: Join) -> str:
    """The last label of every prediction that has one."""
    labels = f"read_parquet({_files(join.labels)}, filename = true, file_row_number = true)"
    place = f"(list_position({_files(join.labels)}, filename), file_row_number)"
    return f"""(
        SELECT l."{ID}", l."{ORDINAL}", arg_max(l."{LABEL}", {place}) AS "{LABEL}" FROM {labels} AS l
        SEMI JOIN {_read(join.predictions)} AS p ON p."{ID}" = l."{ID}" AND p."{ORDINAL}" = l."{ORDINAL}"
        GROUP BY ALL)"""  # noqa: S608  names are constants, paths are quoted


def _files(table: Table) -> str:
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in table.paths) + "]"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
