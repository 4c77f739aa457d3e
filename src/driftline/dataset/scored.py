"""One line of a batch that was scored: which of its columns were asked, which were answered, its id and its time.

Nothing is spelled anew: fields of CSV and values of JSON go on as they stand in the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from driftline.errors import InputError


class Body(NamedTuple):
    """One side of a scored line."""

    data: str
    encoding: Literal["CSV", "JSON"]


class Scored(NamedTuple):
    """One request of a batch, as its file has it."""

    file: Path
    name: str
    """The file as the source names it; ids that are derived follow from it."""
    line: int
    input: Body | None
    output: Body | None
    id: str | None = None
    at: str | int | float | datetime | None = None
    label: object = None
    offset: int | None = None
    done: int = 0
    """Bytes of the source up to here, about."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a line mean: by name, or by position from 0 where CSV has no header."""

    id: str | None = None
    time: str | None = None
    inputs: tuple[str, ...] = ()
    """What was asked, in this order. None named: all columns that mean nothing else."""
    outputs: tuple[str, ...] = ()
    """What was answered."""

    def __bool__(self) -> bool:
        return self != Columns()

    @property
    def named(self) -> tuple[str, ...]:
        """All that are named."""
        return tuple(each for each in (self.id, self.time, *self.inputs, *self.outputs) if each is not None)

    def asked(self) -> Columns:
        """The columns of a file that holds the input alone."""
        return replace(self, outputs=())

    def answered(self, there: Iterable[str] | None) -> Columns:
        """The columns of a file that holds the output alone: it need not have an id and a time.

        Args:
            there: the names of its columns; None where they have none.
        """
        known = frozenset(there or ())
        id_, time = (each if each in known else None for each in (self.id, self.time))
        return Columns(id_, time, self.outputs)


class Taken(NamedTuple):
    """A line taken apart."""

    input: str
    output: str
    id: str | None
    at: str | int | float | None


Cut = Callable[[str], Taken]
"""Takes a line apart. Raises InputError with the reason where it cannot."""


def csv_cut(file: Path, header: Sequence[str] | None, columns: Columns) -> Cut:
    """Takes the lines of a CSV file apart.

    Raises:
        InputError: a column is named that is not there.
    """
    if not columns:
        width = None if header is None else len(header)

        def whole(line: str) -> Taken:
            if width is not None:
                _counted(line, width)
            return Taken(line, "", None, None)

        return whole
    at = {name: _position(file, header, name) for name in columns.named}
    used = {at[name] for name in columns.named if name not in columns.inputs}

    def cut(line: str) -> Taken:
        fields = csv_fields(line) if header is None else _counted(line, len(header))
        if at and max(at.values()) >= len(fields):
            raise InputError(f"there are {len(fields)} fields, but column {max(at.values())} is asked for")
        asked = [fields[at[name]] for name in columns.inputs] or [f for n, f in enumerate(fields) if n not in used]
        return Taken(
            ",".join(asked),
            ",".join(fields[at[name]] for name in columns.outputs),
            None if columns.id is None else _plain(fields[at[columns.id]]),
            None if columns.time is None else _plain(fields[at[columns.time]]),
        )

    return cut


def json_cut(columns: Columns) -> Cut:
    """Takes JSON objects apart, one a line."""
    taken = frozenset({columns.id, columns.time, *columns.outputs})

    def cut(line: str) -> Taken:
        if not columns:
            return Taken(line, "", None, None)
        found = _object(line)
        missing = next((name for name in columns.named if name not in found), None)
        if missing is not None:
            raise InputError(f"there is no column {missing!r}")
        asked = {name: found[name] for name in columns.inputs or found if columns.inputs or name not in taken}
        return Taken(
            _text(asked),
            _text({name: found[name] for name in columns.outputs}),
            None if columns.id is None else _id(columns.id, msgspec.json.decode(found[columns.id])),
            None if columns.time is None else _when(columns.time, msgspec.json.decode(found[columns.time])),
        )

    return cut


def json_names(line: str) -> tuple[str, ...]:
    """The keys of the JSON object in a line. Raises InputError."""
    return tuple(_object(line))


_FIELD: Final = re.compile(r'("[^"]*(?:""[^"]*)*"[^,]*|[^,]*)(?:,|$)', re.DOTALL)


def csv_fields(line: str) -> list[str]:
    r"""The fields of a CSV line as they are spelled, quotes included.

    >>> csv_fields('1,"a, b",')
    ['1', '"a, b"', '']
    """
    if '"' not in line:
        return line.split(",")
    fields: list[str] = []
    at = 0
    while (found := _FIELD.match(line, at)) is not None:
        fields.append(found[1])
        at = found.end()
        if at >= len(line) and not found[0].endswith(","):
            break
    return fields


def csv_header(line: str) -> list[str]:
    """The names in the header of a CSV file."""
    return next(csv.reader([line]), [])


def moment(value: str | float | datetime, zone: tzinfo) -> datetime:
    """When that was, in UTC: ISO 8601, or seconds (of 12 digits or more: milliseconds) since 1970.

    Args:
        zone: where the clock stood of a time that says no zone.

    >>> moment("2026-03-01 10:14:07", UTC).isoformat()
    '2026-03-01T10:14:07+00:00'
    """
    try:
        if isinstance(value, str):
            number = _SECONDS.fullmatch(value.strip())
            at: datetime | float = float(value) if number else datetime.fromisoformat(value.strip())
        else:
            at = value
        if not isinstance(at, datetime):
            at = datetime.fromtimestamp(at / 1000 if abs(at) >= _MILLISECONDS else at, UTC)
        return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as why:
        raise InputError(f"the time is {value!r}; write it as 2026-03-01T09:14:07Z, or as seconds since 1970") from why


_SECONDS: Final = re.compile(r"-?\d{9,}(\.\d+)?")
_MILLISECONDS: Final = 1e11


def _counted(line: str, width: int) -> list[str]:
    fields = csv_fields(line)
    if len(fields) != width:
        raise InputError(f"there are {len(fields)} fields, but {width} columns")
    return fields


def _position(file: Path, header: Sequence[str] | None, name: str) -> int:
    if header is None:
        if not (name.isascii() and name.isdigit()):
            raise InputError(f"column {name!r} is not a position, and {str(file)!r} has no header; count from 0")
        return int(name)
    if list(header).count(name) == 1:
        return list(header).index(name)
    many = header.count(name)
    there = ", ".join(map(repr, header))
    raise InputError(
        f"file {str(file)!r} has {many} columns {name!r}; rename one"
        if many
        else f"file {str(file)!r} has no column {name!r}; it has {there}"
    )


def _object(line: str) -> dict[str, Raw]:
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as why:
        raise InputError(f"not a JSON object: {why}") from why


def _text(values: dict[str, Raw]) -> str:
    return msgspec.json.encode(values).decode() if values else ""


def _plain(field: str) -> str:
    return field[1:-1].replace('""', '"') if field.startswith('"') and field.endswith('"') else field.strip()


def _id(column: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f"the id in {column!r} is {value!r}; it must be text or a whole number")
    return str(value)


def _when(column: str, value: object) -> str | int | float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"the time in {column!r} is {value!r}; it must be text or a number")
    return value


_decoder: Final = msgspec.json.Decoder(dict[str, Raw])
