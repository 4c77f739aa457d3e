"""Python values as bodies: what a function was asked and what it answered, in bytes as a server sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

JSON = "application/json"


class Body(NamedTuple):
    """The bytes of a value, and what they are."""

    content: bytes
    content_type: str | None
    made: bool = False
    """Whether it was made of a value as JSON; else the value was a body."""


def body_of(value: object, content_type: str | None) -> Body | None:
    """The value as a body; None for None.

    Bytes and text are bodies as they are, of this content type. Everything else becomes JSON: numbers, texts, lists,
    dictionaries, dataclasses, times, what msgspec knows; arrays (NumPy, PyTorch, pandas, pyarrow, polars) as lists;
    frames and tables as `{"columns": […], "data": [[…], …]}`; models of pydantic as objects. NaN becomes null.

    Raises:
        TypeError, ValueError, and what the value itself raises: it is nothing of this.

    >>> body_of({"age": 34, "scores": (0.5, float("nan"))}, "text/csv")
    Body(content=b'{"age":34,"scores":[0.5,null]}', content_type='application/json', made=True)
    >>> body_of("34,0.5", "text/csv")
    Body(content=b'34,0.5', content_type='text/csv', made=False)
    """
    if value is None:
        return None
    if isinstance(value, str):
        return Body(value.encode(errors="surrogatepass"), content_type)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Body(bytes(value), content_type)
    return Body(_encoder.encode(value), JSON, made=True)


def _plain(value: Any) -> Any:
    """A value that msgspec does not know, in terms of those that it does. By what it can do: no library is imported."""
    kind = type(value)
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "to_pydict"):  # a table or a batch of pyarrow
        return {"columns": value.schema.names, "data": list(zip(*value.to_pydict().values(), strict=True))}
    if hasattr(kind, "columns") and hasattr(kind, "to_numpy"):
        return _frame(value)
    for name in ("tolist", "to_pylist", "to_list", "isoformat"):
        if hasattr(kind, name):
            return getattr(value, name)()
    raise TypeError(f"a value of type {kind.__module__}.{kind.__qualname__} cannot be written as JSON")


def _frame(value: Any) -> Any:
    if hasattr(value, "rows"):  # of polars
        return {"columns": value.columns, "data": value.rows()}
    split = value.to_dict(orient="split")
    return {"columns": split["columns"], "data": split["data"]}


_encoder = msgspec.json.Encoder(enc_hook=_plain)
