"""DuckDB as the rooms that touch rows use it: bounded memory, spilling to a folder of the caller's, no network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import duckdb
import pyarrow as pa

from driftline.errors import InputError

MEMORY_LIMIT = "1GB"
_IDLE: Final[SimpleQueue[duckdb.DuckDBPyConnection]] = SimpleQueue()
"""Databases that nobody uses just now: opening one takes 20 ms, as long as the work of a small window."""


def connect(
    scratch: Path, *, memory_limit: str = MEMORY_LIMIT, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to `scratch`; it neither loads nor downloads extensions."""
    scratch.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads or os.cpu_count() or 1,
        "temp_directory": str(_spill(scratch)),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        connection = duckdb.connect(config=config)
    except duckdb.Error as why:
        raise InputError(
            f"memory limit {memory_limit!r} is not one that DuckDB takes; write it as 1GB or 500MB"
        ) from why
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@contextmanager
def borrowed(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database like one of `connect`, which goes to the next one who asks; meanwhile nobody else has it.

    It must be left as it was: without tables or settings. After an error it is not used again, nor once it has spilled,
    for DuckDB takes no other folder then.
    """
    try:
        connection = _IDLE.get_nowait()
    except Empty:
        connection = connect(scratch)
    else:
        scratch.mkdir(parents=True, exist_ok=True)
        connection.execute("SET temp_directory = $folder", {"folder": str(_spill(scratch))})
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    if _spill(scratch).exists():
        connection.close()
    else:
        _IDLE.put(connection)


def _spill(scratch: Path) -> Path:
    return scratch / "spill"


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, params: Mapping[str, object] | None = None, **tables: Any
) -> pa.Table:
    """The answer to `query` as a table, in the order of the tables' rows; `tables` by their name in the query."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        return connection.sql(query, params=dict(params or {})).to_arrow_table()
    finally:
        for name in tables:
            connection.unregister(name)


def parts(batch: pa.RecordBatch | pa.Table, rows: int = 8192) -> pa.Table:
    """`batch` cut into pieces that DuckDB's threads can share."""
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    return pa.Table.from_batches(table.to_batches(max_chunksize=rows), table.schema)
