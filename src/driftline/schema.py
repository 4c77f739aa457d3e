"""The columns of a dataset: what kind of values they hold, and the names that Driftline reserves."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, TypeAlias

PROBABILITY: Final = "driftline.probability"
"""Inclusion probability of the row, float64 in (0, 1]; a table without this column has probability 1 everywhere."""
ID: Final = "driftline.id"
"""The join key of the request (string): its inference id, else its event id."""
ORDINAL: Final = "driftline.ordinal"
"""Place of the row within its request (int64, from 0): one request may carry several rows."""
TIME: Final = "driftline.time"
"""When the model was asked (timestamp[us, UTC])."""
LABEL: Final = "driftline.label"
"""Ground truth: string for classes, float64 for regression."""
PREDICTION: Final = "driftline.prediction"
"""What the model answered: string for classes, float64 for regression."""
SCORE: Final = "driftline.score"
"""The model's probability of the positive class, float64."""

RESERVED: Final = frozenset({PROBABILITY, ID, ORDINAL, TIME, LABEL, PREDICTION, SCORE})

Shape: TypeAlias = Literal["csv", "headed", "lines", "document", "rows", "columns", "split", "tensors"]
"""How rows lie in a payload, where somebody says so instead of having it told by the payload."""


class Kind(StrEnum):
    """The inferred type of a column, in Model Monitor's words."""

    INTEGRAL = "Integral"
    FRACTIONAL = "Fractional"
    STRING = "String"
    UNKNOWN = "Unknown"

    @property
    def numeric(self) -> bool:
        """Whether the values of such a column are numbers."""
        return self in (Kind.INTEGRAL, Kind.FRACTIONAL)


class ProblemType(StrEnum):
    """What a model is asked for, in Model Monitor's words."""

    BINARY = "BinaryClassification"
    MULTICLASS = "MulticlassClassification"
    REGRESSION = "Regression"
