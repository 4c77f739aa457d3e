"""Labels whose id may occur twice, found by their hashes: sorting 64-bit numbers is much faster than grouping texts."""

from __future__ import annotations

from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt

AT_ONCE: Final = 1 << 25
"""Rows whose hashes are held at once, in 16 bytes each; of more rows some hashes at a time."""


def suspects(connection: duckdb.DuckDBPyConnection, rows: int) -> npt.NDArray[np.int64]:
    """The places of the rows of `labels` (id, ordinal, place) whose (id, ordinal) has the hash of another row's."""
    passes = -(-max(1, rows) // AT_ONCE)
    found = [np.empty(0, np.int64)]
    for number in range(passes):
        these = f"SELECT hash(id, ordinal) AS hash, place FROM labels WHERE hash % {passes} = {number}"  # noqa: S608  numbers
        table = connection.sql(these).to_arrow_table()
        hashes = table["hash"].to_numpy()
        ordered = np.sort(hashes)
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(twice):
            found.append(table["place"].to_numpy()[np.isin(hashes, twice)])
    return np.concatenate(found)
