"""Payloads to rows: one request may carry several, and row i of the input goes with row i of the output.

CSV: one row a line, columns by position. JSON: an object is one row, flattened by path; a list, or the list under
`instances`, `predictions` and the like, is one row per element; documents on lines of their own are one row each.
A flat list of scalars is one row in an input, and in the output of a request with one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.bodies import REASON
from driftline.dataset.csvtext import CsvRows, csv_rows
from driftline.dataset.duck import ask, parts
from driftline.dataset.jsontext import ROW_LISTS, TOO_DEEP, columns_of, too_deep
from driftline.dataset.shapes import BINARY, Misshapen, documents_of
from driftline.dataset.spelled import Cells
from driftline.schema import Shape

_NO_ENCODING: Final = "an encoding other than CSV, JSON and BASE64"
_PLACES: Final = [
    "$", *(f"$.{key}" for key in ROW_LISTS), "$.dataframe_split", "$.columns", "$.data[0]", "$.inputs[0].datatype",
    "$.outputs[0].datatype",
]  # fmt: skip
_AT: Final = {place: at for at, place in enumerate(_PLACES, 1)}
_LISTS: Final = " ".join(
    f"WHEN t[{_AT[place]}] = 'ARRAY' THEN json_extract(doc, '{place}[*]')" for place in _PLACES[: len(ROW_LISTS) + 1]
)
_FRAMED: Final = " OR ".join(
    [f"t[{_AT['$.dataframe_split']}] = 'OBJECT'"]
    + [f"(t[{_AT['$.columns']}] = 'ARRAY' AND t[{_AT['$.data[0]']}] = 'ARRAY')"]
    + [f"t[{_AT[place]}] IS NOT NULL" for place in ("$.inputs[0].datatype", "$.outputs[0].datatype")]
    + [f"t[{_AT[f'$.{key}']}] = 'OBJECT'" for key in ROW_LISTS]
)
_FLAT: Final = "len(list_filter({}, lambda e: json_type(e) IN ('ARRAY', 'OBJECT'))) = 0"
_NESTED: Final = "len(list_filter({}, lambda e: json_type(e) NOT IN ('ARRAY', 'OBJECT'))) = 0"
_DOCUMENTS: Final = f"""
WITH one AS (SELECT text, rows, rows IS NULL OR rows = 1 AS single, CASE WHEN json_valid(text) THEN text END AS doc
    FROM texts),
typed AS (SELECT *, json_type(doc, $places) AS t FROM one),
told AS (
    SELECT *, coalesce({_FRAMED}, false) AS framed,
        CASE WHEN t[1] = 'OBJECT' AND contains(doc, '[') THEN json_extract(doc, '$.*') END AS inside
    FROM typed),
cut AS (
    SELECT text, doc, rows, single, framed, inside, CASE
        WHEN framed THEN NULL
        {_LISTS}
        WHEN len(inside) = 1 AND json_array_length(inside[1]) > 0
            AND {_NESTED.format("json_extract(inside[1], '$[*]')")}
            THEN json_extract(inside[1], '$[*]')
        END AS elements,
        CASE WHEN doc IS NULL THEN
            list_filter(string_split(text, chr(10)), lambda l: trim(l, ' \t\r') <> '') END AS lines
    FROM told)
SELECT framed OR (elements IS NULL AND len(inside) > 0
        AND len(list_filter(inside, lambda e: json_array_length(e) <> rows)) = 0) IS TRUE AS framed,
    CASE
    WHEN doc IS NULL AND len(lines) > 1 AND len(list_filter(lines, lambda l: NOT json_valid(l))) = 0 THEN lines
    WHEN doc IS NULL THEN NULL
    WHEN elements IS NULL THEN [doc]
    WHEN single AND len(elements) <> 1 AND {_FLAT.format("elements")} THEN [to_json(elements)::VARCHAR]
    ELSE elements::VARCHAR[]
    END AS documents
FROM cut"""  # noqa: S608  the keys are constants


@dataclass(frozen=True, slots=True)
class SideRows:
    """The rows of one side of a batch of records."""

    parent: npt.NDArray[np.int64]
    """Index of the record of each row, ascending."""
    columns: Mapping[str, Cells]
    broken: Mapping[int, str]
    """Records that could not be decoded, and why."""

    def counts(self, records: int) -> npt.NDArray[np.int64]:
        """Rows of each record."""
        return np.bincount(self.parent, minlength=records).astype(np.int64)


def side_rows(
    connection: duckdb.DuckDBPyConnection, data: pa.Array, encoding: pa.Array, width: int,
    others: npt.NDArray[np.int64] | None = None, shape: Shape | None = None,
) -> SideRows:  # fmt: skip
    """The rows of the payloads `data`, null where a record lacks this side.

    Args:
        width: columns that a CSV row must have.
        others: rows of the other side of each record, where this is the output.
        shape: how the rows lie in the payloads; None: as each one tells by itself.
    """
    broken: dict[int, str] = {}
    there = data.is_valid().to_numpy(zero_copy_only=False)
    csv = there & _is(encoding, "CSV")
    json = there & _is(encoding, "JSON")
    for at in np.flatnonzero(there & ~csv & ~json):
        broken[int(at)] = _unreadable(encoding[at].as_py())
    found = []
    if csv.any():
        found.append(_csv(data, np.flatnonzero(csv), width, others, broken))
    if json.any():
        found.append(_json(connection, data, np.flatnonzero(json), others, broken, shape))
    parent, columns = _both(found)
    return SideRows(parent, columns, broken)


def _is(encoding: pa.Array, name: str) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = pc.fill_null(pc.equal(encoding, name), False).to_numpy(zero_copy_only=False)
    return mask


def _unreadable(encoding: str | None) -> str:
    if encoding is None:
        return "no encoding"
    return encoding.removeprefix(REASON) if encoding.startswith(REASON) else _NO_ENCODING


_Found = tuple[npt.NDArray[np.int64], dict[str, Cells]]


def _csv(
    data: pa.Array, at: npt.NDArray[np.int64], width: int, others: npt.NDArray[np.int64] | None, broken: dict[int, str]
) -> _Found:
    texts = data if len(at) == len(data) else data.take(pa.array(at))
    rows, bad = csv_rows(texts)
    broken.update({int(at[i]): reason for i, reason in bad.items()})
    parent = at[rows.parent]
    if others is not None and width == 1:
        rows, parent = _unfolded(rows, parent, others, len(data))
    ragged = rows.width != width
    for row in np.flatnonzero(ragged):
        broken.setdefault(int(parent[row]), f"{rows.width[row]} CSV fields where most records have {width}")
    rows, parent = rows.where(~ragged), parent[~ragged]
    return parent, {str(i): Cells(rows.column(i)) for i in range(width)}


def _unfolded(
    rows: CsvRows, parent: npt.NDArray[np.int64], others: npt.NDArray[np.int64], records: int
) -> tuple[CsvRows, npt.NDArray[np.int64]]:
    """One line with n fields that answers n rows is n rows: some model servers write their answers so."""
    alone = np.bincount(parent, minlength=records)[parent] == 1
    folded = alone & (rows.width > 1) & (rows.width == others[parent])
    if not folded.any():
        return rows, parent
    times = np.where(folded, rows.width, 1)
    width = np.repeat(np.where(folded, 1, rows.width), times)
    return CsvRows(np.repeat(rows.parent, times), width, rows.fields), np.repeat(parent, times)


def _json(
    connection: duckdb.DuckDBPyConnection, data: pa.Array, at: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64] | None, broken: dict[int, str], shape: Shape | None,
) -> _Found:  # fmt: skip
    texts = data.take(pa.array(at))
    deep, empty = too_deep(texts), pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(texts)), 0).to_numpy(False)
    broken.update({int(i): TOO_DEEP for i in at[deep]})
    broken.update({int(i): "the body is empty" for i in at[empty]})
    good = ~deep & ~empty
    at, texts = at[good], texts.filter(pa.array(good))
    if not len(at):
        return at, {}
    if shape is not None:
        documents = pa.nulls(len(at), pa.list_(pa.string()))
        framed: npt.NDArray[np.bool_] = np.ones(len(at), np.bool_)
    else:
        rows = pa.nulls(len(at), pa.int64()) if others is None else pa.array(others[at])
        table = parts(pa.table({"text": texts, "rows": rows}))
        found = ask(connection, _DOCUMENTS, {"places": _PLACES}, texts=table)
        documents = found["documents"].combine_chunks()
        framed = found["framed"].combine_chunks().to_numpy(zero_copy_only=False)
    for i in np.flatnonzero(documents.is_null().to_numpy(zero_copy_only=False) & ~framed):
        broken[int(at[i])] = BINARY if '"binary_data' in texts[int(i)].as_py() else "the data is not valid JSON"
    if framed.any():
        documents = _unframed(texts, documents, framed, shape, at, broken)
    parent = at[pc.list_parent_indices(documents).to_numpy()]
    return parent, columns_of(connection, documents.flatten()) if len(parent) else {}


def _unframed(
    texts: pa.Array, documents: pa.Array, framed: npt.NDArray[np.bool_], shape: Shape | None,
    at: npt.NDArray[np.int64], broken: dict[int, str],
) -> pa.Array:  # fmt: skip
    """The documents, and those of the texts that DuckDB leaves to Python."""
    found: list[list[str] | None] = documents.to_pylist()
    for i in np.flatnonzero(framed).tolist():
        text = texts[i].as_py()
        try:
            found[i] = documents_of(text, shape)
        except Misshapen as why:
            found[i] = None
            broken[int(at[i])] = str(why)
    return pa.array(found, pa.list_(pa.string()))


def _both(found: list[_Found]) -> _Found:
    """The rows of CSV and of JSON payloads in the order of their records."""
    if not found:
        return np.empty(0, np.int64), {}
    if len(found) == 1:
        return found[0]
    parent = np.concatenate([f[0] for f in found])
    order = np.argsort(parent, kind="stable")
    columns: dict[str, Cells] = {}
    for name in {name: None for f in found for name in f[1]}:
        pieces = [f[1][name].text if name in f[1] else pa.nulls(len(f[0]), pa.string()) for f in found]
        told = [f[1][name].spellings for f in found if name in f[1]]
        spellings = None if None in told else frozenset().union(*(s for s in told if s is not None))
        columns[name] = Cells(pa.concat_arrays(pieces).take(pa.array(order)), spellings)
    return parent[order], columns


def spread(side: SideRows, rows: npt.NDArray[np.int64], keep: npt.NDArray[np.bool_]) -> dict[str, Cells]:
    """The columns of a side, one row for each of `rows` of every kept record; null where it lacks this side."""
    counts = side.counts(len(rows))
    if np.array_equal(counts, rows) and keep.all():
        return dict(side.columns)
    starts: Any = np.cumsum(counts) - counts
    wanted = np.where(keep, rows, 0)
    within = np.arange(int(wanted.sum())) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    take = np.repeat(starts, wanted) + within
    missing = np.repeat(counts == 0, wanted)
    index = pa.array(take, mask=missing)
    return {name: Cells(cells.text.take(index), cells.spellings) for name, cells in side.columns.items()}
