"""Which columns of strings hold categories, and which values those may take."""

from __future__ import annotations

from typing import Final

from driftline.states.column import ColumnState

LARGEST: Final = 120
"""A column with more distinct values has no domain (the limit of a low cardinality in Deequ)."""
SMALL: Final = 10
"""Up to so many distinct values a column has a domain however few its rows."""
ROWS_A_VALUE: Final = 10
"""Beyond, its values must occur so often on average: what is mostly seen once is a name, not a category."""


def domain_of(column: ColumnState) -> tuple[str, ...] | None:
    """The values of a column of categories, sorted; None where it holds anything else."""
    values = column.values
    if values is None or not values.exact or not values.values or len(values.values) > LARGEST:
        return None
    size = len(values.values)
    if size > SMALL and size * ROWS_A_VALUE > column.kinds.present.n:
        return None
    return tuple(sorted(values.values))
