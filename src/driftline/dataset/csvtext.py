"""CSV text to fields: an Arrow split where nothing is quoted, Python's reader where something is."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class CsvRows:
    """CSV rows cut into fields."""

    parent: npt.NDArray[np.int64]
    """For each row the index of the text it stands in, ascending."""
    width: npt.NDArray[np.int64]
    """Its number of fields."""
    fields: pa.Array
    """The fields of all rows in a row (string); an empty field is null."""

    def __len__(self) -> int:
        return len(self.parent)

    def where(self, mask: npt.NDArray[np.bool_]) -> CsvRows:
        """Only the rows at which `mask` is true."""
        if mask.all():
            return self
        return CsvRows(self.parent[mask], self.width[mask], self.fields.filter(pa.array(np.repeat(mask, self.width))))

    def column(self, index: int) -> pa.Array:
        """Field `index` of every row; all rows have the same width."""
        width = int(self.width[0]) if len(self) else 1
        if width == 1:
            return self.fields
        return self.fields.take(pa.array(np.arange(index, len(self.fields), width)))


def csv_rows(texts: pa.Array, *, single: bool = False) -> tuple[CsvRows, dict[int, str]]:
    """The rows of every text, and the texts that are not CSV with what is wrong with them.

    A null has no rows, and empty lines are skipped. With `single` each text is known to be one row.
    """
    quoted = pc.fill_null(pc.match_substring(texts, '"'), False).to_numpy(zero_copy_only=False)
    if not quoted.any():
        return _unquoted(texts, np.arange(len(texts)), single=single), {}
    at = np.flatnonzero(~quoted)
    plain = _unquoted(texts.take(pa.array(at)), at, single=single)
    other, broken = _quoted(texts, np.flatnonzero(quoted))
    return _woven(plain, other), broken


def _unquoted(texts: pa.Array, at: npt.NDArray[np.int64], *, single: bool) -> CsvRows:
    parent = at
    if not single and pc.any(pc.match_substring(pc.utf8_rtrim(texts, "\r\n"), "\n")).as_py():
        lines = pc.split_pattern(texts, "\n")
        parent = at[pc.list_parent_indices(lines).to_numpy()]
        texts = lines.flatten()
    texts = pc.utf8_rtrim(texts, "\r\n")
    there = pc.fill_null(pc.greater(pc.binary_length(texts), 0), False)
    keep = there.to_numpy(zero_copy_only=False)
    if not keep.all():
        texts, parent = texts.filter(there), parent[keep]
    split = pc.split_pattern(texts, ",")
    width = pc.list_value_length(split).to_numpy(zero_copy_only=False).astype(np.int64)
    return CsvRows(parent, width, empty_is_null(split.flatten()))


def empty_is_null(texts: pa.Array) -> pa.Array:
    """The texts with null in place of the empty ones."""
    empty = pc.equal(texts, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), texts) if pc.any(empty).as_py() else texts


def _quoted(texts: pa.Array, at: npt.NDArray[np.int64]) -> tuple[CsvRows, dict[int, str]]:
    parent: list[int] = []
    width: list[int] = []
    fields: list[str | None] = []
    broken: dict[int, str] = {}
    for index in at.tolist():
        try:
            rows = [row for row in csv.reader(io.StringIO(texts[index].as_py(), newline="")) if row]
        except csv.Error as why:
            broken[index] = f"not CSV: {why}"
            continue
        for row in rows:
            parent.append(index)
            width.append(len(row))
            fields.extend(field or None for field in row)
    flat = pa.array(fields, pa.string())
    return CsvRows(np.asarray(parent, np.int64), np.asarray(width, np.int64), flat), broken


def _woven(one: CsvRows, other: CsvRows) -> CsvRows:
    """The rows of both in the order of their texts."""
    parent: Any = np.concatenate([one.parent, other.parent])
    width: Any = np.concatenate([one.width, other.width])
    order = np.argsort(parent, kind="stable")
    starts = np.concatenate([[0], np.cumsum(width)[:-1]])[order] if len(width) else width
    width = width[order]
    # Field k of row i is at starts[i] + k of the two field arrays laid end to end.
    within = np.arange(int(width.sum())) - np.repeat(np.cumsum(width) - width, width)
    take = np.repeat(starts, width) + within
    fields = pa.concat_arrays([one.fields, other.fields]).take(pa.array(take.astype(np.int64)))
    return CsvRows(parent[order], width, fields)
