"""Records weigh for those that capture lost of their hour, as the answers of a survey do for those who gave none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Decoded, Intake, Table
from driftline.dataset.decode_parquet import opened
from driftline.schema import PROBABILITY, TIME

ROWS = "rows.parquet"
_HOUR_US = 3_600_000_000


def knows_times(table: Table) -> bool:
    """Whether the rows tell when they were asked for."""
    if not table.paths:
        return False
    with opened(table.paths[0]) as file:
        return TIME in file.schema_arrow.names


def weighed(path: Path, columns: tuple[str, ...], kept: Mapping[datetime, float], into: Path) -> Decoded:
    """The rows of a decoded file, each with the probability that it was chosen and not lost.

    Args:
        kept: by hour, the share of its chosen requests that was not lost, above 0; of other hours nothing was.
        into: a folder that is made.
    """
    into.mkdir(parents=True)
    rows = 0
    with opened(path) as file:
        schema = file.schema_arrow
        if PROBABILITY not in schema.names:
            schema = schema.append(pa.field(PROBABILITY, pa.float64()))
        with pq.ParquetWriter(into / ROWS, schema) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                rows += table.num_rows
                writer.write_table(_with_shares(table, schema, kept), row_group_size=max(table.num_rows, 1))
    return Decoded(Table((into / ROWS,), columns, rows), Intake(rows=rows))


def _with_shares(table: pa.Table, schema: pa.Schema, kept: Mapping[datetime, float]) -> pa.Table:
    shares = _shares(table.column(TIME), kept)
    if PROBABILITY not in table.column_names:
        return table.append_column(schema.field(PROBABILITY), pa.array(shares))
    chosen = table.column(PROBABILITY).fill_null(1.0).to_numpy()
    at = schema.get_field_index(PROBABILITY)
    return table.set_column(at, schema.field(at), pa.array(chosen * shares))


def _shares(times: Any, kept: Mapping[datetime, float]) -> npt.NDArray[np.float64]:
    hours = times.cast(pa.int64()).to_numpy() // _HOUR_US
    found = np.ones(len(hours))
    for hour, share in kept.items():
        found[hours == int(hour.timestamp()) // 3600] = share
    return found
