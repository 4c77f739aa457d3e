"""How model servers write many rows into one body: tensors, split data frames, columns side by side, headed CSV.

Each function turns a body into one JSON document per row, with every value spelled as it was.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from driftline.dataset.jsontext import ROW_LISTS
from driftline.schema import Shape

SPLIT: Final = "dataframe_split"
MOST_VALUES: Final = 10_000
"""Values of one row of a tensor; an image is not a table."""
BINARY: Final = (
    "tensors in the binary extension of the Open Inference Protocol are not read; "
    "let the client send and ask for JSON, or decode them with a preprocess script"
)


class Misshapen(Exception):  # noqa: N818  it is the reason of a dead letter, not an error
    """The body does not have the shape."""


class _Tensor(Struct):
    name: str
    shape: list[int]
    datatype: str
    data: Raw = Raw()


_NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_object: Final = msgspec.json.Decoder(dict[str, Raw])
_list: Final = msgspec.json.Decoder(list[Raw])
_tensors: Final = msgspec.json.Decoder(list[_Tensor])


def documents_of(text: str, shape: Shape | None) -> list[str]:
    """The rows of a body as JSON, one document each; without a shape, of the one that its keys tell.

    Raises:
        Misshapen: the body has not this shape.
    """
    try:
        return _documents(text, shape)
    except msgspec.DecodeError:
        return _documents(_without_nan(text), shape)


def _documents(text: str, shape: Shape | None) -> list[str]:
    if shape is not None:
        return _SHAPES[shape](text)
    told = _told(text)
    try:
        return _SHAPES[told](text)
    except Misshapen:
        if told == "columns":  # a guess: an object of lists may as well be one row
            return [text]
        raise


def _told(text: str) -> Shape:
    body = _object_of(text)
    if SPLIT in body or {"columns", "data"} <= body.keys():
        return "split"
    held = _held(body)
    return "tensors" if held is not None and _is_tensors(held) else "columns"


def tensors(text: str) -> list[str]:
    """Tensors of the Open Inference Protocol (V2): [n] and [n, 1] is a column, [n, k] the columns name.0, name.1, …."""
    held = _held(_object_of(text))
    if held is None:
        raise Misshapen("there is no list of tensors under inputs or outputs")
    columns: dict[str, list[Raw]] = {}
    for tensor in _tensors.decode(held):
        columns |= _columns(tensor)
    return _rows(columns, "tensors")


def split(text: str) -> list[str]:
    """A split data frame: {"columns": […], "data": [[…], …]}, alone or under `dataframe_split`."""
    body = _object_of(text)
    if SPLIT in body:
        body = _object.decode(body[SPLIT])
    if "data" not in body:
        raise Misshapen("the split data frame has no data")
    rows = _list.decode(body["data"])
    if "columns" not in body:
        return [_text(row) for row in rows]
    names = [_name(name) for name in _list.decode(body["columns"])]
    found = []
    for row in rows:
        values = _list.decode(row)
        if len(values) != len(names):
            raise Misshapen("a row of the split data frame has other than as many values as there are columns")
        found.append(_document(names, values))
    return found


def columns(text: str) -> list[str]:
    """Columns side by side: {"a": [1, 2], "b": [3, 4]}, alone, under `inputs` and the like, or as the only value."""
    body = _object_of(text)
    held = next(iter(body.values())) if len(body) == 1 else _held(body)
    if held is not None and bytes(held)[:1] == b"{":
        body = _object.decode(held)
    if not all(bytes(value)[:1] == b"[" for value in body.values()):
        raise Misshapen("not every value of the object is a list")
    return _rows({name: _list.decode(value) for name, value in body.items()}, "columns")


def rows(text: str) -> list[str]:
    """A list of rows, alone, under one of `ROW_LISTS`, or the only list in the object."""
    if text.lstrip().startswith("["):
        return [_text(row) for row in _list.decode(text)]
    body = _object_of(text)
    lists = [key for key in ROW_LISTS if _is_list(body.get(key))] or [key for key in body if _is_list(body[key])]
    if len(lists) == 1 or (lists and lists[0] in ROW_LISTS):
        return [_text(row) for row in _list.decode(body[lists[0]])]
    raise Misshapen("there is no list of rows in the object" if not lists else "several lists could hold the rows")


def lines(text: str) -> list[str]:
    """One JSON document a line."""
    found = [line for line in text.split("\n") if line.strip(" \t\r")]
    for line in found:
        msgspec.json.decode(line, type=Raw)
    return found


def document(text: str) -> list[str]:
    """The whole body is one row."""
    msgspec.json.decode(text, type=Raw)
    return [text]


def headed(text: str) -> list[str]:
    """CSV whose first line names the columns: numbers stay as they are written, an empty field is no value."""
    try:
        found = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as why:
        raise Misshapen(f"not CSV: {why}") from why
    if not found:
        raise Misshapen("there is no line that names the columns")
    names = [_text(msgspec.json.encode(name.strip())) for name in found[0]]
    if len(set(names)) < len(names):
        raise Misshapen("the first line names a column twice")
    if any(len(line) != len(names) for line in found):
        raise Misshapen("a line has other than as many fields as the first one names")
    return [_document(names, [_value(field) for field in line]) for line in found[1:]]


_SHAPES: Final = {
    "headed": headed, "tensors": tensors, "split": split, "columns": columns, "rows": rows, "lines": lines,
    "document": document,
}  # fmt: skip


def _object_of(text: str | Raw) -> dict[str, Raw]:
    try:
        return _object.decode(text)
    except msgspec.ValidationError as why:
        raise Misshapen("the JSON is not an object") from why


def _held(body: dict[str, Raw]) -> Raw | None:
    """What stands under the first key that may hold rows."""
    return next((body[key] for key in ROW_LISTS if key in body and bytes(body[key])[:1] in b"[{"), None)


def _is_list(value: Raw | None) -> bool:
    return value is not None and bytes(value)[:1] == b"["


def _is_tensors(held: Raw) -> bool:
    try:
        return bool(_tensors.decode(held))
    except msgspec.ValidationError:
        return False


def _columns(tensor: _Tensor) -> Iterator[tuple[str, list[Raw]]]:
    if not bytes(tensor.data):
        raise Misshapen(BINARY)
    if any(size < 0 for size in tensor.shape):
        raise Misshapen(f"the shape of tensor {tensor.name!r} has a negative size")
    values = list(_flat(tensor.data))
    if len(values) != prod(tensor.shape):
        raise Misshapen(f"tensor {tensor.name!r} has other than as many values as its shape says")
    inner = tensor.shape[1:]
    width = prod(inner)
    if width > MOST_VALUES:
        raise Misshapen(f"tensor {tensor.name!r} has more than {MOST_VALUES} values a row; that is no table")
    if width == 1:
        yield tensor.name, values
        return
    for at, place in enumerate(product(*map(range, inner))):
        yield ".".join([tensor.name, *map(str, place)]), values[at::width]


def _flat(data: Raw) -> Iterator[Raw]:
    """The values of nested lists, row by row; most servers write them flat."""
    for value in _list.decode(data):
        if bytes(value)[:1] == b"[":
            yield from _flat(value)
        else:
            yield value


def _rows(columns: dict[str, list[Raw]], what: str) -> list[str]:
    lengths = {len(values) for values in columns.values()}
    if not lengths:
        raise Misshapen(f"there are no {what}")
    if len(lengths) > 1:
        raise Misshapen(f"the {what} have different numbers of rows")
    names = [_text(msgspec.json.encode(name)) for name in columns]
    return [_document(names, values) for values in zip(*columns.values(), strict=True)]


def _document(names: list[str], values: Any) -> str:
    return "{" + ",".join(f"{name}:{_text(value)}" for name, value in zip(names, values, strict=True)) + "}"


def _value(field: str) -> bytes:
    """A field of a CSV line as JSON."""
    if _NUMBER.fullmatch(field):
        return field.encode()
    return msgspec.json.encode(field or None)


def _name(raw: Raw) -> str:
    """The name of a column as a JSON key; data frames may have numbers as names."""
    text = _text(raw)
    return text if text.startswith('"') else _text(msgspec.json.encode(text))


def _text(raw: Raw | bytes) -> str:
    return bytes(raw).decode()


def _without_nan(text: str) -> str:
    """Valid JSON of what Python writes for NaN and infinities: they are no values. Raises Misshapen."""
    try:
        return json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False)
    except (ValueError, RecursionError) as why:
        raise Misshapen("the data is not valid JSON") from why
