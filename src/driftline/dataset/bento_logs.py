"""BentoML's own monitoring log: `NAME/data/data.N.log` holds a JSON object a row, `NAME/schema/` which column is what.

Rows of one request have its `request_id` and follow each other; together they are one record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.lines import Lines, files_below, read_lines, size_of
from driftline.dataset.scored import Body, Columns, Scored
from driftline.errors import InputError

_OWN: Final = ("timestamp", "request_id", "trace_id")
_DATA, _SCHEMA = "data", "schema"


def is_bento_log(path: Path) -> bool:
    """Whether the folder is that of a monitor of BentoML, with `data` and `schema` in it."""
    return path.is_dir() and bool(_logs(path, _DATA)) and bool(_logs(path, _SCHEMA))


def bento_files(path: Path) -> tuple[tuple[str, Path], ...]:
    """The data files of a monitor's folder, of all workers, rotated ones too. Raises InputError."""
    files = _logs(path, _DATA)
    if not files:
        raise InputError(f"{str(path)!r} is no folder of a BentoML monitor: there are no {_DATA}/*.log files in it")
    return tuple((file.relative_to(path).as_posix(), file) for file in files)


def bento_columns(path: Path, dead: DeadLetters) -> tuple[Columns, str | None]:
    """What the schema says: the features, the predictions; and the column of the target, where there is one.

    Raises:
        InputError: no schema file says so.
    """
    roles: dict[str, str] = {}
    files = _logs(path, _SCHEMA)
    for lines in read_lines(files, dead):
        for text in lines.text.to_pylist():
            try:
                roles |= {column.name: column.role for column in _schema.decode(text).columns}
            except msgspec.MsgspecError as why:
                raise InputError(f"the schema in {str(path / _SCHEMA)!r} is not BentoML's: {why}") from why
    if not roles:
        raise InputError(f"there is no schema in {str(path / _SCHEMA)!r}; import the data files as --format jsonl")
    of = {role: tuple(n for n, r in roles.items() if r == role) for role in ("prediction", "target")}
    features = tuple(name for name, role in roles.items() if role not in of)
    return Columns(inputs=features, outputs=of["prediction"]), next(iter(of["target"]), None)


def read_bento(
    files: Sequence[tuple[str, Path]], columns: Columns, target: str | None, dead: DeadLetters
) -> Iterator[Scored]:
    """The requests in the data files; bad lines, and a last one that is not whole yet, go to `dead`."""
    before = 0
    for name, path in files:
        rows: list[dict[str, Raw]] = []
        first = (0, 0)
        for line, offset, row in _rows(path, columns, dead):
            if rows and bytes(row["request_id"]) != bytes(rows[0]["request_id"]):
                yield _request(name, path, first, rows, columns, target)._replace(done=before + offset)
                rows = []
            if not rows:
                first = (line, offset)
            rows.append(row)
        if rows:
            yield _request(name, path, first, rows, columns, target)
        before += size_of([path])


class _Column(Struct):
    name: str
    role: str


class _Schema(Struct):
    columns: list[_Column]


_schema: Final = msgspec.json.Decoder(_Schema)
_row: Final = msgspec.json.Decoder(dict[str, Raw])


def _logs(path: Path, part: str) -> tuple[Path, ...]:
    folder = path / part
    return tuple(f for f in files_below((folder,), "") if ".log" in f.name) if folder.is_dir() else ()


def _rows(path: Path, columns: Columns, dead: DeadLetters) -> Iterator[tuple[int, int, dict[str, Raw]]]:
    wanted = (*columns.inputs, *columns.outputs, *_OWN[:2])
    for lines in read_lines((path,), dead):
        for line, offset, text in _each(lines):
            try:
                row = _row.decode(text)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as why:
                dead.unread(path, line, f"not a JSON object: {why}", text, offset)
                continue
            missing = next((name for name in wanted if name not in row), None)
            if missing is None:
                yield line, offset, row
            else:
                dead.unread(path, line, f"there is no column {missing!r}", text, offset)


def _each(lines: Lines) -> Iterator[tuple[Any, Any, Any]]:
    return zip(lines.line.tolist(), lines.offset.tolist(), lines.text.to_pylist(), strict=True)


def _request(
    name: str, path: Path, first: tuple[int, int], rows: list[dict[str, Raw]], columns: Columns, target: str | None
) -> Scored:
    request_id = str(msgspec.json.decode(rows[0]["request_id"]))
    labels = [None if target is None or target not in row else msgspec.json.decode(row[target]) for row in rows]
    label = labels if len(labels) > 1 else labels[0]
    return Scored(
        path,
        name,
        first[0],
        _body(rows, columns.inputs),
        _body(rows, columns.outputs) if columns.outputs else None,
        None if request_id == "None" else request_id,
        msgspec.json.decode(rows[0]["timestamp"]),
        label=None if label is None or None in labels else label,
        offset=first[1],
    )


def _body(rows: list[dict[str, Raw]], names: tuple[str, ...]) -> Body:
    picked = [{name: row[name] for name in names} for row in rows]
    return Body(msgspec.json.encode(picked if len(picked) > 1 else picked[0]).decode(), "JSON")
