from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.schema import PROBABILITY
from driftline.states.column import Column, ColumnState
from driftline.states.contingency import Contingency, ContingencyState

ColumnOf = Callable[..., ColumnState]
TableOf = Callable[..., ContingencyState]


@pytest.fixture(scope="session")
def column_of() -> ColumnOf:
    """The state of a column of these values, perhaps sampled with a probability."""

    def make(values: Any, probability: Any = None) -> ColumnState:
        columns = {"x": pa.array(values)}
        if probability is not None:
            columns[PROBABILITY] = pa.array(np.broadcast_to(np.float64(probability), len(values)))
        return Column("x").of(pa.record_batch(columns))

    return make


@pytest.fixture(scope="session")
def table_of() -> TableOf:
    """The contingency of {(actual, predicted): rows}, each row sampled with the same probability."""

    def make(cells: dict[tuple[str, str], int], probability: float = 1.0) -> ContingencyState:
        pairs = [pair for pair, rows in cells.items() for _ in range(rows)]
        batch = pa.record_batch(
            {
                "y": pa.array([actual for actual, _ in pairs], pa.string()),
                "p": pa.array([predicted for _, predicted in pairs], pa.string()),
                PROBABILITY: pa.array([probability] * len(pairs), pa.float64()),
            }
        )
        return Contingency("y", "p").of(batch)

    return make
