"""How often each class was predicted for each true class; exact."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.errors import InputError
from driftline.states.packing import pack_integer, packed, unpack_integer, unpacked
from driftline.states.reading import column_numbers, column_of, is_number, plain, texts_of
from driftline.states.rows import NO_ROWS, ONE, Count, PackedCount, Weights, square_sum, weights_of

CLASSES: Final = 1000
"""More classes than this are refused: the confusion matrix grows with their square."""

Codes = npt.NDArray[np.int64]

_WHOLE: Final = re.compile(r"([+-]?[0-9]+)\.0*")
_TRUTHS: Final = {"true": "1", "True": "1", "false": "0", "False": "0"}


def class_name(value: str | float | bool | Decimal) -> str:
    """The one spelling of a class: `1`, `1.0`, `"1.0"`, `True`, `"true"` and the decimal 1.00 are all `"1"`.

    >>> class_name(1.0), class_name(" 1 "), class_name(True), class_name(Decimal("0.50")), class_name("dog")
    ('1', '1', '1', '0.5', 'dog')
    """
    if isinstance(value, bool):
        return "1" if value else "0"
    text = str(value).strip()
    if isinstance(value, Decimal) and "." in (text := f"{value:f}"):
        text = text.rstrip("0").rstrip(".")
    whole = _WHOLE.fullmatch(text)
    if whole:
        return "0" if whole[1] == "-0" else whole[1]
    return _TRUTHS.get(text, text)


@dataclass(frozen=True, slots=True)
class ContingencyState:
    """Rows per true and predicted class."""

    cells: dict[tuple[str, str], Count] = field(default_factory=dict)  # (actual, predicted); never changed
    w2: int = 0  # sum of the squared weights of the rows in the cells, in units of 1 / ONE²
    missing: Count = NO_ROWS  # rows without a label or without a prediction
    limit: int = CLASSES

    @property
    def total(self) -> Count:
        """The rows in the cells."""
        return sum(self.cells.values(), Count())

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that was seen or predicted, sorted."""
        return tuple(sorted({name for cell in self.cells for name in cell}))

    def merge(self, other: ContingencyState, /) -> ContingencyState:
        """The rows of both. Raises InputError when they have too many classes."""
        cells = dict(self.cells)
        for cell, count in other.cells.items():
            cells[cell] = cells[cell] + count if cell in cells else count
        return _checked(ContingencyState(cells, self.w2 + other.w2, self.missing + other.missing, self.limit))

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        cells = [(*cell, count.n, count.w) for cell, count in sorted(self.cells.items())]
        missing = (self.missing.n, self.missing.w)
        return packed("contingency", (cells, pack_integer(self.w2), missing, self.limit))

    @classmethod
    def decode(cls, data: bytes) -> ContingencyState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("contingency", data, tuple[list[tuple[str, str, int, int]], bytes, PackedCount, int])
        cells, w2, missing, limit = fields
        by_cell = {(actual, predicted): Count(n, w) for actual, predicted, n, w in cells}
        return cls(by_cell, unpack_integer(w2), Count(*missing), limit)


def _checked(state: ContingencyState) -> ContingencyState:
    classes = state.classes
    if len(classes) <= state.limit:
        return state
    some = ", ".join(repr(name) for name in classes[:5])
    raise InputError(
        f"label and prediction have {len(classes)} or more classes ({some}, …), and at most {state.limit} can be "
        f"compared; is this regression? Then say so as the problem type"
    )


@dataclass(frozen=True, slots=True)
class Contingency:
    """Count true against predicted classes.

    Without a `prediction` column the class is "1" where `score` is greater than `threshold`, else "0".
    """

    label: str
    prediction: str | None
    score: str | None = None
    threshold: float = 0.5
    limit: int = CLASSES

    def __post_init__(self) -> None:
        if self.prediction is None and self.score is None:
            raise InputError(f"label {self.label!r} needs something to be compared with: a prediction or a score")

    @property
    def columns(self) -> tuple[str, ...]:
        """Label and prediction, or label and score."""
        return (self.label, self.prediction if self.prediction is not None else str(self.score))

    def empty(self) -> ContingencyState:
        """No rows."""
        return ContingencyState(limit=self.limit)

    def of(self, batch: pa.RecordBatch, /) -> ContingencyState:
        """The rows of `batch` that have both."""
        weights = weights_of(batch)
        actual, actual_names = class_codes(column_of(batch, self.label))
        predicted, predicted_names = self._predicted(batch)
        for names in (actual_names, predicted_names):
            if len(names) > self.limit:
                _checked(ContingencyState({(name, name): Count() for name in names}, limit=self.limit))
        both = (actual >= 0) & (predicted >= 0)
        width = max(1, len(predicted_names))
        codes = actual[both] * width + predicted[both]
        used, counts, heavy = _tally(codes, None if weights is None else weights[both])
        cells = {
            (actual_names[code // width], predicted_names[code % width]): Count(n, w)
            for code, n, w in zip(used, counts, heavy, strict=True)
        }
        n = len(codes)
        everything = batch.num_rows * ONE if weights is None else int(weights.sum())
        missing = Count(batch.num_rows - n, everything - sum(heavy))
        return _checked(
            ContingencyState(cells, square_sum(n, None if weights is None else weights[both]), missing, self.limit)
        )

    def _predicted(self, batch: pa.RecordBatch) -> tuple[Codes, list[str]]:
        if self.prediction is not None:
            return class_codes(column_of(batch, self.prediction))
        scores = column_numbers(column_of(batch, str(self.score)), str(self.score))
        return np.where(np.isnan(scores), -1, (scores > self.threshold).astype(np.int64)), ["0", "1"]

    def decode(self, data: bytes, /) -> ContingencyState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return ContingencyState.decode(data)


def class_codes(column: pa.Array) -> tuple[Codes, list[str]]:
    """The class of each row as a place in the list of names; -1 where it has none (null, NaN, empty text)."""
    column = plain(column)
    if is_number(column.type) or pa.types.is_boolean(column.type):
        distinct = column.dictionary_encode()
        raw = distinct.dictionary.to_pylist()
        codes = distinct.indices
        if codes.null_count:
            codes = codes.fill_null(-1)
        at = np.asarray(codes.to_numpy(zero_copy_only=False), np.int64)
    else:
        texts = texts_of(column, None)
        raw, at = texts.distinct.to_pylist(), texts.codes
    spelled = ["" if value is None or value != value else class_name(value) for value in raw]
    names = sorted(set(spelled) - {""})
    place = {name: i for i, name in enumerate(names)}
    places = np.array([*(place.get(name, -1) for name in spelled), -1], np.int64)
    return places[at], names


def _tally(codes: Codes, weights: Weights | None) -> tuple[list[int], list[int], list[int]]:
    """The distinct codes, their rows and their weights."""
    used, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    heavy = counts * ONE
    if weights is not None:
        heavy = np.zeros(len(used), np.int64)
        np.add.at(heavy, inverse, weights)
    return used.tolist(), counts.tolist(), heavy.tolist()
