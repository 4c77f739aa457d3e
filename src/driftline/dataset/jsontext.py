"""JSON documents to columns: nested values by their path ("a.b", "a.0"), with the types JSON gives them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from typing import Any, Final, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.duck import ask, parts
from driftline.dataset.spelled import Cells, Spelling
from driftline.errors import InputError

MOST_COLUMNS: Final = 10_000
DEEPEST: Final = 200
"""Levels of a document; one with more is not taken apart, for that takes a stack as deep."""
TOO_DEEP: Final = f"the JSON is nested more than {DEEPEST} levels deep"
_SPELLINGS: Final = {
    "UBIGINT": Spelling.INTEGRAL,
    "BIGINT": Spelling.INTEGRAL,
    "HUGEINT": Spelling.INTEGRAL,
    "UHUGEINT": Spelling.INTEGRAL,
    "DOUBLE": Spelling.FRACTIONAL,
    "BOOLEAN": Spelling.BOOLEAN,
    "VARCHAR": Spelling.STRING,
    "ARRAY": Spelling.STRING,
    "OBJECT": Spelling.STRING,
}
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_STEP: Final = re.compile(r'\."((?:[^"\\]|\\.)*)"|\.([^.\["]+)|\[(\d+)\]')

_TREE: Final = """
    SELECT fullkey FROM docs, json_tree(docs.doc)
    WHERE atom IS NOT NULL OR type = 'NULL' OR (type = 'ARRAY' AND json_array_length(value) = 0)
       OR (type = 'OBJECT' AND len(json_keys(value)) = 0)
    GROUP BY fullkey"""


def too_deep(texts: pa.Array) -> npt.NDArray[np.bool_]:
    """Which of the JSON texts are nested deeper than `DEEPEST`."""
    opened = pc.add(pc.count_substring(texts, "["), pc.count_substring(texts, "{"))
    deep: npt.NDArray[np.bool_] = pc.fill_null(pc.greater(opened, DEEPEST), False).to_numpy(zero_copy_only=False).copy()
    for at in np.flatnonzero(deep):
        outside = _QUOTED.sub("", texts[int(at)].as_py())
        steps = [1 if sign in "[{" else -1 for sign in outside if sign in "[]{}"]
        deep[at] = max(accumulate(steps), default=0) > DEEPEST
    return deep


def columns_of(connection: duckdb.DuckDBPyConnection, documents: pa.Array) -> dict[str, Cells]:
    """The values of JSON documents by path; scalars and lists at the top are columns by position: "0", "1", ….

    The columns stand in the order of the first document, those that it lacks behind them, sorted.

    Raises:
        InputError: there are more than `MOST_COLUMNS` paths.
    """
    table = parts(pa.table({"doc": documents}))
    paths = _in_order(_paths(connection, table), documents)
    if len(paths) > MOST_COLUMNS:
        raise InputError(
            f"the JSON documents have more than {MOST_COLUMNS} different paths, for example {list(paths)[-1]!r}: "
            f"values seem to stand as keys; turn them into columns with a preprocess script"
        )
    if not paths:
        return {}
    query = "SELECT json_extract_string(doc, $paths) AS text, json_type(doc, $paths) AS type FROM docs"
    found = ask(connection, query, {"paths": [key for keys in paths.values() for key in keys]}, docs=table)
    texts, types = found["text"].combine_chunks(), found["type"].combine_chunks()
    columns: dict[str, Cells] = {}
    index = 0
    for name, keys in paths.items():
        columns[name] = _together([_cells(texts, types, index + k) for k in range(len(keys))])
        index += len(keys)
    return columns


def _cells(texts: pa.Array, types: pa.Array, index: int) -> Cells:
    text, kind = pc.list_element(texts, index), pc.list_element(types, index)
    kinds = set(pc.unique(kind).to_pylist())
    if kinds & {"ARRAY", "OBJECT"}:
        # Another document has a scalar here; what this one holds inside stands in columns of its own.
        inner = pc.and_(
            pc.is_in(kind, pa.array(["ARRAY", "OBJECT"])), pc.invert(pc.is_in(text, pa.array(["[]", "{}"])))
        )
        text = pc.if_else(inner, pa.scalar(None, pa.string()), text)
        kinds = set(pc.unique(pc.if_else(inner, pa.scalar(None, pa.string()), kind)).to_pylist())
    return Cells(text, frozenset(_SPELLINGS[kind] for kind in kinds if kind in _SPELLINGS))


def _together(cells: list[Cells]) -> Cells:
    """One column for paths of one name: a scalar beside lists of one element, a key with a dot beside a nested one."""
    if len(cells) == 1:
        return cells[0]
    spellings = frozenset[Spelling]().union(*(c.spellings or () for c in cells))
    return Cells(pc.coalesce(*(c.text for c in cells)), spellings)


def _paths(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> dict[str, list[str]]:
    """JSON paths by column name."""
    structure = json.loads(
        ask(connection, "SELECT json_group_structure(doc)::VARCHAR AS s FROM docs", docs=table)["s"][0].as_py()
    )
    if not isinstance(structure, dict) or "[" in (text := json.dumps(structure)) or '"JSON"' in text:
        keys = sorted(_tree(connection, table))
    else:
        keys = list(_leaves(structure, "$"))
    named: dict[str, list[str]] = {}
    for key in keys:
        if '.""' not in key:  # what stands under an empty key has no name that a column could have
            named.setdefault(name_of(key), []).append(key)
    return named


def _tree(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterable[str]:
    try:
        return cast("list[str]", ask(connection, _TREE, docs=table)["fullkey"].to_pylist())
    except duckdb.OutOfMemoryException:
        # DuckDB repeats a document for each value in it, which thousands of values in one document do not allow.
        found: dict[str, None] = {}
        for document in table["doc"]:
            found.update(dict.fromkeys(_walk(json.loads(document.as_py()), "$")))
            if len(found) > MOST_COLUMNS:
                break
        return found


def _walk(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _walk(inner, f"{path}.{json.dumps(key, ensure_ascii=False)}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{index}]")
    else:
        yield path


def _leaves(structure: dict[str, Any], path: str) -> Iterator[str]:
    for key, inner in structure.items():
        escaped = key.replace("\\", "\\\\").replace('"', '\\"')
        at = f'{path}."{escaped}"'
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, at)
        else:
            yield at


def name_of(path: str) -> str:
    """The column of a JSON path.

    >>> name_of('$.a."b c"[0]'), name_of("$[2]"), name_of("$")
    ('a.b c.0', '2', '0')
    """
    steps = [quoted or plain or index for quoted, plain, index in _STEP.findall(path.removeprefix("$"))]
    return ".".join(steps) or "0"


def _in_order(paths: dict[str, list[str]], documents: pa.Array) -> dict[str, list[str]]:
    first = dict.fromkeys(_names(json.loads(documents[0].as_py()), "")) if len(documents) else {}
    order = [name for name in first if name in paths]
    order += sorted((name for name in paths if name not in first), key=_natural)
    return {name: paths[name] for name in order}


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts "a.2" before "a.10"."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in name.split(".")]


def _names(value: Any, at: str) -> Iterator[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    empty = True
    for key, child in inner:
        empty = False
        yield from _names(child, f"{at}.{key}" if at else str(key))
    if empty:
        yield at or "0"


ROW_LISTS: Final = (
    "instances", "predictions", "inputs", "outputs", "records", "rows", "results", "dataframe_records",
)  # fmt: skip
"""Keys under which a JSON document holds its rows as a list."""
_ROWS: Final = re.compile(
    rf"^(?:(?:{'|'.join(ROW_LISTS)})(?:\[(?P<bracket>\d*|\*)\]|\.(?P<dot>\d+)(?=\.|\[|$))|\[(?P<top>\d*|\*)\])\.?"
)
_ANY_ROWS: Final = re.compile(r"^[^.]+\.\d+\.")


def column_at(path: str) -> str:
    """The column that a JMESPath, a JSONPath or an index leads to; the place of the row in its request is left out.

    A path that ends in a list of rows names a value in a flat list: a row with several scalars has them by position.

    >>> column_at("predictions[0].score"), column_at("predictions.0.score"), column_at("$.prob"), column_at("[*].p.q")
    ('score', 'score', 'prob', 'p.q')
    >>> column_at("0"), column_at("predictions[1]"), column_at("predictions[0][1]"), column_at("predictions[*]")
    ('0', '1', '1', '0')
    """
    rest = path.strip().removeprefix("$").removeprefix(".")
    rows = _ROWS.match(rest)
    if rows is not None:
        rest = rest[rows.end() :] or next((i for i in rows.groups() if i and i.isdecimal()), "0")
    return name_of("$" + (rest if rest.startswith("[") or not rest else "." + rest))


def column_among(path: str, columns: Collection[str]) -> str:
    """The column of `columns` that a path leads to: the one of just that path, else the one of `column_at`.

    A list of rows may stand under any key that is alone, and one value in a list may be the column by itself.

    >>> column_among("predictions.0.score", ["predictions.0.score"]), column_among("predictions.0.score", ["score"])
    ('predictions.0.score', 'score')
    >>> column_among("answers[0].score", ["score"]), column_among("probability[0]", ["probability"])
    ('score', 'probability')
    """
    exact = path.strip().removeprefix("$").removeprefix(".")
    name = name_of("$" + (exact if exact.startswith("[") or not exact else "." + exact))
    for each in (name, column_at(path), _ANY_ROWS.sub("", name), name.removesuffix(".0")):
        if each in columns:
            return each
    return column_at(path)
