"""DuckDB as the rooms that touch rows use it: bounded memory, spilling to a folder of the caller's, no network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from driftline.errors import InputError

MEMORY_LIMIT = "1GB"


def connect(
    scratch: Path, *, memory_limit: str = MEMORY_LIMIT, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills to `scratch`; it neither loads nor downloads extensions."""
    scratch.mkdir(parents=True, exist_ok=True)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "threads": threads or os.cpu_count() or 1,
        "temp_directory": str(scratch / "spill"),
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
