"""Columns as they are spelled, kept in scratch until the whole source has been seen: only then their types are known.

A text column (CSV) becomes int64 if every value is spelled as a whole number, float64 if every value is spelled as a
fraction; a mixture stays text, so that the spellings can be counted. JSON values bring their types; a column of two
types stays text. A boolean is one only in JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_INTEGRAL: Final = r"^-?\d+$"
_FRACTIONAL: Final = r"^-?\d+((\.\d+)|((\.\d+)?[Ee][-+]?\d+))$"


class Spelling(StrEnum):
    """What a value looks like."""

    INTEGRAL = "integral"
    FRACTIONAL = "fractional"
    BOOLEAN = "boolean"
    STRING = "string"


Spellings = frozenset[Spelling]
_NUMBERS: Final = frozenset({Spelling.INTEGRAL, Spelling.FRACTIONAL})


@dataclass(frozen=True, slots=True)
class Cells:
    """One column of a batch."""

    text: pa.Array
    """string, null where there is no value."""
    spellings: Spellings | None = None
    """The types that JSON gives its values; None: text, to be told by its spelling."""


def spellings_of(text: pa.Array, seen: Spellings = frozenset()) -> Spellings:
    """How the values of `text` are spelled; nothing is looked at that cannot change the type after `seen`."""
    if Spelling.STRING in seen:
        return seen
    values = text.drop_null()
    if not len(values):
        return seen
    if seen == {Spelling.FRACTIONAL} and pc.all(pc.match_substring_regex(values, _FRACTIONAL)).as_py():
        return seen if _finite(values) else seen | {Spelling.STRING}
    integral = pc.match_substring_regex(values, _INTEGRAL)
    if pc.all(integral).as_py():
        return seen | {Spelling.INTEGRAL if _fits(values) else Spelling.STRING}
    some = Spelling.INTEGRAL if pc.any(integral).as_py() else Spelling.FRACTIONAL
    rest = values.filter(pc.invert(integral))
    if not pc.all(pc.match_substring_regex(rest, _FRACTIONAL)).as_py() or not _finite(rest):
        return seen | {Spelling.STRING}
    if not _fits(values.filter(integral)):
        return seen | {Spelling.STRING}
    return seen | {some, Spelling.FRACTIONAL}


def _fits(values: pa.Array) -> bool:
    try:
        values.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _finite(values: pa.Array) -> bool:
    return bool(pc.all(pc.is_finite(values.cast(pa.float64()))).as_py())


def type_of(spellings: Spellings, *, lenient: bool = False) -> pa.DataType:
    """The type of a column with these spellings; `lenient`: whole numbers and fractions together are float64."""
    if spellings == {Spelling.INTEGRAL}:
        return pa.int64()
    if spellings == {Spelling.FRACTIONAL} or (lenient and spellings and spellings <= _NUMBERS):
        return pa.float64()
    return pa.bool_() if spellings == {Spelling.BOOLEAN} else pa.string()


class Scratch:
    """Batches of spelled columns on disk; the set of columns may grow while they are written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spellings: dict[str, Spellings] = {}
        """How the columns are spelled so far, in the order in which they first appeared."""
        self.fixed: dict[str, pa.DataType] = {}
        """Columns that were given with their type."""
        self.rows = 0
        self._paths: list[Path] = []
        self._writer: Any = None
        self._schema: pa.Schema | None = None

    def add(self, columns: Mapping[str, Cells], fixed: Mapping[str, pa.Array], rows: int) -> None:
        """Append a batch of `rows` rows; a column that was there before and is not now has no values in them."""
        if not rows:
            return
        for name, cells in columns.items():
            seen = self.spellings.get(name, frozenset())
            told = spellings_of(cells.text, seen) if cells.spellings is None else seen | cells.spellings
            if Spelling.INTEGRAL in told and not _fits_json(cells):
                told |= {Spelling.STRING}
            self.spellings[name] = told
        for name, array in fixed.items():
            self.fixed.setdefault(name, array.type)
        schema = pa.schema([(n, pa.string()) for n in self.spellings] + list(self.fixed.items()))
        arrays = [columns[n].text if n in columns else pa.nulls(rows, pa.string()) for n in self.spellings]
        arrays += [fixed[n] if n in fixed else pa.nulls(rows, t) for n, t in self.fixed.items()]
        self._file(schema).write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
        self.rows += rows

    def _file(self, schema: pa.Schema) -> Any:
        if self._schema != schema:
            self.close()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._paths.append(self.folder / f"{len(self._paths):06}.arrow")
            self._writer = pa.ipc.new_file(self._paths[-1], schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            self._schema = schema
        return self._writer

    def close(self) -> None:
        """Finish writing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What was added, in order; a batch has the columns that were known when it was written."""
        self.close()
        for path in self._paths:
            with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
                for index in range(reader.num_record_batches):
                    yield reader.get_batch(index)


def _fits_json(cells: Cells) -> bool:
    """Whether whole numbers from JSON fit into int64 (those of text have been looked at)."""
    if cells.spellings is None or cells.spellings != {Spelling.INTEGRAL}:
        return True
    return _fits(cells.text.drop_null())


def numbers(text: pa.Array) -> pa.Array:
    """The texts as float64, null where one is not spelled as a number."""
    spelled = pc.or_(pc.match_substring_regex(text, _INTEGRAL), pc.match_substring_regex(text, _FRACTIONAL))
    return pc.if_else(spelled, text, pa.scalar(None, pa.string())).cast(pa.float64())
