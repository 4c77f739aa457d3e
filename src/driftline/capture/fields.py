"""Where a field policy finds its values: JSON documents by name, path or index, CSV rows by column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from driftline.capture.actions import GONE, Action, Drop, Hash, Mask, Unprotected, applied
from driftline.errors import InputError

Step: TypeAlias = str | int | None
"""A key, an index, or None for all that is there."""
Steps: TypeAlias = tuple[Step, ...]

NO_NAMES: Final = "privacy: rows without keys, and no columns are declared"
OTHER_WIDTH: Final = "privacy: a row has another number of values than declared"
NO_ROWS: Final = "privacy: an index is asked for where there are no rows of values"
NOT_FLAT: Final = "privacy: a flat list may be one row or many answers"
ROW_LISTS: Final = ("instances", "predictions", "inputs", "outputs", "records", "rows", "results")
"""Keys under which a JSON document holds its rows as a list."""
_STEP: Final = re.compile(
    r"""\.?(?:"(?P<double>[^"]+)"|(?P<star>\*)|(?P<plain>[^\s.\[\]"'*$]+))|\[(?:(?P<index>\d+)|(?P<all>\*)|'(?P<single>[^']+)'|"(?P<quoted>[^"]+)")\]"""
)


def parse_path(text: str) -> Steps:
    """The steps of a path.

    >>> parse_path("instances[*].customer['e mail']")
    ('instances', None, 'customer', 'e mail')
    >>> parse_path("$.inputs.*[0]")
    ('inputs', None, 0)
    """
    rest, steps = text.removeprefix("$"), list[Step]()
    while rest:
        found = _STEP.match(rest)
        if found is None or (steps and found[0][0] not in ".["):
            raise InputError(
                f"path {text!r} cannot be read at {rest[:20]!r}; write keys with dots, [0] or [*] in a list, "
                f"['a key'] for other keys, such as instances[*].customer.email"
            )
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(found["double"] or found["plain"] or found["single"] or found["quoted"])
        rest = rest[found.end() :]
    if not steps:
        raise InputError(f"path {text!r} names the whole document; name what is in it")
    return tuple(steps)


def by_path(value: Any, steps: Steps, action: Action, lost: set[str]) -> Any:
    """The value with the action done at all places of the path; a key steps through every element of a list."""
    if not steps:
        return applied(action, value, lost)
    step, rest = steps[0], steps[1:]
    if isinstance(value, dict):
        key = str(step) if isinstance(step, int) else step
        return _kept({k: by_path(v, rest, action, lost) if key is None or k == key else v for k, v in value.items()})
    if isinstance(value, list):
        at = int(step) if isinstance(step, str) and step.isdecimal() else step
        if isinstance(at, str):
            return [_null(by_path(each, steps, action, lost)) for each in value]
        return [_null(by_path(v, rest, action, lost)) if at is None or i == at else v for i, v in enumerate(value)]
    return value


def by_name(value: Any, name: str, action: Action, lost: set[str]) -> Any:
    """The value with the action done to all that bears the name: keys at any depth, tensors, columns of a table."""
    if isinstance(value, dict):
        if _is_table(value) and name in value["columns"]:
            value = _table(value, name, action, lost)
        return _kept(
            {k: applied(action, v, lost) if k == name else by_name(v, name, action, lost) for k, v in value.items()}
        )
    if isinstance(value, list):
        return [found for each in value if (found := _element(each, name, action, lost)) is not GONE]
    return value


def bears(value: Any, name: str) -> bool:
    """Whether anything in the document has the name: a key, a tensor, a column of a table."""
    if isinstance(value, dict):
        here = name in value or (_is_tensor(value) and value["name"] == name)
        return here or (_is_table(value) and name in value["columns"]) or any(bears(v, name) for v in value.values())
    return isinstance(value, list) and any(bears(each, name) for each in value)


def everywhere(value: Any, mask: Mask) -> Any:
    """The value with the mask over every text, number and key in it."""
    return applied(mask, value, set())


def by_position(
    document: Any, at: Callable[[int], int | None], action: Action, lost: set[str], *, answers: bool
) -> Any:
    """The document with the action done to one value of every row without keys.

    Args:
        at: the position in a row of so many values; None: the row has no such value. Raises Unprotected.
        answers: whether a flat list may be many answers rather than one row.
    """

    def row(values: list[Any]) -> list[Any]:
        position = at(len(values))
        if position is None:
            return values
        found = applied(action, values[position], lost)
        return [*values[:position], _null(found), *values[position + 1 :]]

    def rows(held: Any) -> Any:
        if isinstance(held, dict) and _is_tensor(held):
            return _tensor_rows(held, row, isinstance(action, (Hash, Mask)))
        if isinstance(held, dict) and len(held) == 1 and isinstance(next(iter(held.values())), list):
            return {key: row(values) for key, values in held.items()}  # {"features": […]}
        if isinstance(held, dict):
            return held
        return row(held) if isinstance(held, list) else row([held])[0]

    def held(list_: list[Any]) -> list[Any]:
        if list_ and not any(isinstance(each, (list, dict)) for each in list_):
            if answers and at(1) is None and len(list_) > 1:
                raise Unprotected(NOT_FLAT)
            return [row([each])[0] for each in list_] if answers and at(1) is not None else row(list_)
        return [rows(each) for each in list_]

    return _over_rows(document, held)


def nameless(document: Any, *, answers: bool) -> Iterator[int | None]:
    """The widths of the rows without keys, None for each row with keys; a flat list counts unless it may be answers."""
    lists: list[list[Any]] = []

    def seen(list_: list[Any]) -> list[Any]:
        lists.append(list_)
        return list_

    _over_rows(document, seen)
    if not lists and isinstance(document, dict):
        yield None
    for list_ in lists:
        if list_ and not any(isinstance(each, (list, dict)) for each in list_):
            if not answers:
                yield len(list_)
            continue
        for each in list_:
            if isinstance(each, dict) and _is_tensor(each):
                width = _width(each)
                if width > 1:
                    yield width
            elif isinstance(each, dict) and len(each) == 1 and isinstance(inner := next(iter(each.values())), list):
                yield len(inner)
            else:
                yield len(each) if isinstance(each, list) else None if isinstance(each, dict) else 1


def _over_rows(document: Any, held: Callable[[list[Any]], list[Any]]) -> Any:
    if isinstance(document, list):
        return held(document)
    if isinstance(document, dict) and not _is_table(document):
        return {k: held(v) if k in ROW_LISTS and isinstance(v, list) else v for k, v in document.items()}
    return document


def _element(each: Any, name: str, action: Action, lost: set[str]) -> Any:
    """An element of a list; the tensor of this name as a whole."""
    if isinstance(each, dict) and _is_tensor(each) and each["name"] == name:
        if isinstance(action, Drop):
            return GONE
        data = applied(action, each["data"], lost)
        return {**each, "data": data, **({"datatype": "BYTES"} if _has_text(data) and "datatype" in each else {})}
    return by_name(each, name, action, lost)


def _is_tensor(value: dict[str, Any]) -> bool:
    return "data" in value and isinstance(value.get("name"), str)


def _width(tensor: dict[str, Any]) -> int:
    shape = tensor.get("shape")
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) for n in shape):
        return int(shape[1])
    data = tensor["data"]
    return len(data[0]) if isinstance(data, list) and data and isinstance(data[0], list) else 1


def _tensor_rows(tensor: dict[str, Any], row: Callable[[list[Any]], list[Any]], texts: bool) -> dict[str, Any]:
    """A tensor of two dimensions, its data nested or in a row, as the protocol allows."""
    data, width = tensor["data"], _width(tensor)
    if not isinstance(data, list) or width < 1 or (len(data) % width and not isinstance(data[0], list)):
        raise Unprotected(OTHER_WIDTH)
    if data and isinstance(data[0], list):
        made: list[Any] = [row(each) for each in data]
    else:
        made = [value for start in range(0, len(data), width) for value in row(data[start : start + width])]
    changed = texts and made != data and "datatype" in tensor
    return {**tensor, "data": made, **({"datatype": "BYTES"} if changed else {})}


def _is_table(value: dict[str, Any]) -> bool:
    """Whether it is a table as pandas writes it (orient "split"), MLflow's `dataframe_split`."""
    return isinstance(value.get("columns"), list) and isinstance(value.get("data"), list)


def _table(value: dict[str, Any], name: str, action: Action, lost: set[str]) -> dict[str, Any]:
    columns, data = value["columns"], value["data"]
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        raise Unprotected(OTHER_WIDTH)
    places = [at for at, column in enumerate(columns) if column == name]
    if isinstance(action, Drop):
        kept = [at for at in range(len(columns)) if at not in places]
        return {**value, "columns": [columns[at] for at in kept], "data": [[row[at] for at in kept] for row in data]}
    changed = [[applied(action, v, lost) if at in places else v for at, v in enumerate(row)] for row in data]
    return {**value, "data": changed}


def _has_text(data: Any) -> bool:
    return any(map(_has_text, data)) if isinstance(data, list) else isinstance(data, str)


def _kept(items: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in items.items() if value is not GONE}


def _null(value: Any) -> Any:
    return None if value is GONE else value


def csv_field(action: Action, text: str, lost: set[str]) -> str:
    """A field of a CSV row after the action; what is dropped is empty, so that the others keep their places."""
    found = applied(action, text, lost)
    return "" if found is GONE or found is None else str(found)


def read_rows(text: str) -> list[list[str]]:
    """The rows of a CSV text, without empty lines. Raises Unprotected."""
    if '"' not in text:
        return [line.split(",") for line in text.replace("\r\n", "\n").split("\n") if line]
    import csv

    try:
        return [row for row in csv.reader(_ended_lines(text), strict=True) if row]
    except csv.Error as why:
        raise Unprotected("privacy: not valid CSV") from why


def _ended_lines(text: str) -> Iterator[str]:
    """Lines with their ends, cut at line feeds only, as every reader of CSV does."""
    return (line for line in re.split(r"(?<=\n)", text) if line)


def write_rows(rows: Sequence[Sequence[str]], like: str) -> str:
    """The rows as CSV, with the line ends of the text that they came from."""
    end = "\r\n" if "\r\n" in like else "\n"
    # A row of one empty field would be an empty line, which is no row.
    text = end.join(",".join(map(_quoted, row)) or '""' for row in rows)
    return text + end if like.endswith("\n") else text


def _quoted(field: str) -> str:
    if any(sign in field for sign in ',"\r\n'):
        return '"' + field.replace('"', '""') + '"'
    return field
