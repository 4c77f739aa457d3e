"""The columns that an engine reads, checked over all files: what only shares a name is not put together."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from driftline.dataset.dataset import File
from driftline.dataset.decode_parquet import kind_of, plain_type
from driftline.errors import InputError
from driftline.schema import PROBABILITY


class Columns:
    """The columns that are read, and what the files so far held there."""

    def __init__(self, wanted: Iterable[str], *, exact: bool = False) -> None:
        """With `exact`, numbers must have one type, too: not all that read them take each for itself."""
        self._wanted = sorted({*wanted, PROBABILITY})
        self._exact = exact
        self._found: dict[str, tuple[str, pa.DataType, File]] = {}
        self._nulls: set[str] = set()
        self._last: pa.Schema | None = None

    def check(self, path: File, schema: pa.Schema) -> None:
        """Raises InputError when a column is not there, or holds values of another kind than in a file before."""
        if self._last is not None and self._last.equals(schema):
            return
        self._last = schema
        types = dict(zip(schema.names, schema.types, strict=True))
        for column in self._wanted:
            if column not in types:
                if column == PROBABILITY:
                    continue
                some = ", ".join(repr(name) for name in schema.names[:20])
                raise InputError(f"file {str(path)!r} has no column {column!r}; its columns are {some or 'none'}")
            kind = kind_of(types[column], exact=self._exact)
            if kind == "null":
                self._nulls.add(column)
                continue
            known, first, where = self._found.setdefault(column, (kind, types[column], path))
            if kind != known:
                raise InputError(
                    f"column {column!r} is {types[column]} in file {str(path)!r} and {first} in file {str(where)!r}; "
                    f"write both with one type"
                )

    def schema(self) -> pa.Schema:
        """The columns with their types, as the checked files hold them."""
        types = {column: plain_type(kind) for column, (_, kind, _) in self._found.items()}
        types |= {column: pa.null() for column in self._nulls - types.keys()}
        return pa.schema([(column, types[column]) for column in self._wanted if column in types])
