"""What one batch holds of a column, whatever Arrow type it has: spellings, numbers and texts.

Every number is taken as its nearest float64: an integer beyond 2^53 and a decimal lose digits here, once, and the
same in every batch. Dates, times and durations are integers in their own unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.errors import InputError
from driftline.states.counts import CountsState
from driftline.states.rows import ONE, Count, Weights, count_of

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_SORTS: Final = {
    pa.int8(): "b",
    pa.uint8(): "B",
    pa.int16(): "h",
    pa.uint16(): "H",
    pa.int32(): "i",
    pa.uint32(): "I",
    pa.int64(): "q",
    pa.uint64(): "Q",
    pa.float32(): "f",
    pa.float64(): "d",
}
_NUMBER: Final = r"^[-+]? ?[0-9]+((\.[0-9]+)?([Ee][-+]?[0-9]+)?)$"
_INTEGRAL: Final = r"^[-+]? ?[0-9]+$"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Float64 values (NaN and infinities among them) and their weights; `weights` None: each weighs `scale`."""

    values: Floats
    weights: Weights | None
    scale: int = ONE

    def ordered(self) -> Numbers:
        """The same numbers in ascending order, NaN last; equal weights become the `scale`."""
        weights = self.weights
        if weights is not None and len(weights) and (weights == weights[0]).all():
            return Numbers(np.sort(self.values), None, int(weights[0]))
        if weights is None:
            return Numbers(np.sort(self.values), None, self.scale)
        order = np.argsort(self.values, kind="stable")
        return Numbers(self.values[order], weights[order])

    def between(self, first: int, last: int) -> Numbers:
        """The numbers in the places `first` to `last`."""
        weights = None if self.weights is None else self.weights[first:last]
        return Numbers(self.values[first:last], weights, self.scale)

    def finite(self) -> Numbers:
        """Of numbers in ascending order, those that are neither NaN nor infinite."""
        first, last = np.searchsorted(self.values, -np.inf, "right"), np.searchsorted(self.values, np.inf, "left")
        return self.between(int(first), int(last))

    @property
    def count(self) -> Count:
        """How many they are."""
        if self.weights is None:
            return Count(len(self.values), len(self.values) * self.scale)
        return Count(len(self.values), int(self.weights.sum()))


NO_NUMBERS: Final = Numbers(np.empty(0, np.float64), None)


@dataclass(frozen=True)
class Texts:
    """The distinct texts of a batch (without null), and in which rows they stand (-1: none)."""

    distinct: pa.Array
    codes: npt.NDArray[np.int64]
    weights: Weights | None

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows per distinct text."""
        return np.bincount(self.codes + 1, minlength=len(self.distinct) + 1)[1:].astype(np.int64)

    @cached_property
    def heavy(self) -> npt.NDArray[np.int64]:
        """Weight per distinct text."""
        if self.weights is None:
            return self.counts * ONE
        sums = np.zeros(len(self.distinct) + 1, np.int64)
        np.add.at(sums, self.codes + 1, self.weights)
        return sums[1:]

    def count(self, chosen: Mask) -> Count:
        """The rows whose text is one of the chosen."""
        return Count(int(self.counts[chosen].sum()), int(self.heavy[chosen].sum()))


@dataclass(frozen=True, slots=True)
class Reading:
    """One column of one batch."""

    kinds: CountsState
    numbers: Numbers
    texts: Texts | None  # None: the column's type has no texts


def column_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """The column, by name. Raises InputError when the batch has none, or two, of that name."""
    at = batch.schema.get_all_field_indices(name)
    if len(at) == 1:
        return batch.column(at[0])
    names = ", ".join(repr(other) for other in batch.schema.names[:20])
    what = "no column" if not at else f"{len(at)} columns"
    raise InputError(f"the table has {what} {name!r}; its columns are {names or 'none'}")


def read(column: pa.Array, weights: Weights | None) -> Reading:
    """Spellings, numbers and texts of a column."""
    column = plain(column)
    valid = None if column.null_count == 0 else np.asarray(column.is_valid().to_numpy(zero_copy_only=False), bool)
    missing = Count() if valid is None else count_of(column.null_count, weights, ~valid)
    kind = column.type
    if pa.types.is_dictionary(kind) or _is_text(kind):
        return _read_texts(column, weights, missing)
    present = weights if valid is None or weights is None else weights[valid]
    count = count_of(len(column) - column.null_count, present)
    if pa.types.is_boolean(kind):
        return Reading(CountsState(null=missing, boolean=count), NO_NUMBERS, _truths(column, weights))
    if pa.types.is_null(kind):
        return Reading(CountsState(null=missing), NO_NUMBERS, None)
    values = number_values(column)
    if values is None:
        return Reading(CountsState(null=missing, other=count), NO_NUMBERS, None)
    spelled = (
        CountsState(null=missing, fractional=count)
        if is_fractional(kind)
        else CountsState(null=missing, integral=count)
    )
    return Reading(spelled, Numbers(values, present), None)


class Typed(NamedTuple):
    """A column of numbers as it lies in memory, for an accumulator."""

    sort: str
    numbers: pa.Buffer
    validity: pa.Buffer | None
    offset: int
    length: int


def typed(column: pa.Array) -> Typed | None:
    """A column of integers, floats or times as it lies in memory; None when it is of another type.

    Times are integers in their own unit. The column must be `plain`.
    """
    kind = column.type
    sort = _SORTS.get(kind)
    if sort is None and pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        sort = "i" if kind.bit_width == 32 else "q"
    if sort is None:
        return None
    validity, numbers = column.buffers()
    if numbers is None:
        numbers = pa.py_buffer(b"")
    return Typed(sort, numbers, validity if column.null_count else None, column.offset, len(column))


def number_values(column: pa.Array) -> Floats | None:
    """The values that are there, as float64 and in row order; None when the type holds no numbers."""
    kind = column.type
    if pa.types.is_temporal(kind):
        if pa.types.is_interval(kind):
            return None
        column = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    if column.null_count:
        column = column.drop_null()
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def is_fractional(kind: pa.DataType) -> bool:
    """Whether values of this Arrow type may have decimals."""
    return bool(pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.scale > 0))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def plain(column: pa.Array) -> pa.Array:
    """The column without the wrappings that only say how it is stored; its null count is right afterwards."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(column))
    if pa.types.is_dictionary(kind) and (column.dictionary.null_count or not _is_text(kind.value_type)):
        return plain(column.dictionary_decode())
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    return column


def _read_texts(column: pa.Array, weights: Weights | None, missing: Count) -> Reading:
    texts = texts_of(column, weights)
    distinct = texts.distinct
    if len(distinct) == 0:
        return Reading(CountsState(null=missing), NO_NUMBERS, texts)
    number = _mask(pc.match_substring_regex(distinct, _NUMBER))
    integral = number.copy()
    if number.any():
        integral[number] = _mask(pc.match_substring_regex(distinct.filter(pa.array(number)), _INTEGRAL))
    boolean = _mask(pc.is_in(distinct, value_set=pa.array(["true", "false"], distinct.type)))
    kinds = CountsState(
        null=missing,
        integral=texts.count(integral),
        fractional=texts.count(number & ~integral),
        boolean=texts.count(boolean),
        string=texts.count(~number & ~boolean),
    )
    return Reading(kinds, _numbers_among(texts, number), texts)


def texts_of(column: pa.Array, weights: Weights | None) -> Texts:
    """The distinct texts of a column of strings, or of a dictionary of strings."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    elif len(column.dictionary.unique()) < len(column.dictionary):
        column = column.dictionary_decode().dictionary_encode()
    distinct = column.dictionary
    if pa.types.is_string_view(distinct.type):
        distinct = distinct.cast(pa.large_string())
    codes = column.indices
    if codes.null_count:
        codes = codes.cast(pa.int64()).fill_null(-1)
    return Texts(distinct, np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64), weights)


def _numbers_among(texts: Texts, number: Mask) -> Numbers:
    """The rows whose text is spelled as a number."""
    if not number.any():
        return NO_NUMBERS
    values = np.zeros(len(number), np.float64)
    values[number] = _parsed(texts.distinct.filter(pa.array(number)))
    rows = (texts.codes >= 0) & number[texts.codes]
    return Numbers(values[texts.codes[rows]], None if texts.weights is None else texts.weights[rows])


def _parsed(spelled: pa.Array) -> Floats:
    """The float64 nearest to each spelling; the space that may follow a sign means nothing."""
    return np.array([float(text.replace(" ", "", 1)) for text in spelled.to_pylist()], dtype=np.float64)


def _truths(column: pa.Array, weights: Weights | None) -> Texts:
    codes: Any = column.cast(pa.int64()).fill_null(-1)
    return Texts(pa.array(["false", "true"]), np.asarray(codes.to_numpy(zero_copy_only=False)), weights)


def _mask(column: pa.Array) -> Mask:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def is_number(kind: pa.DataType) -> bool:
    """Whether this Arrow type holds plain numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def column_numbers(column: pa.Array, name: str) -> Floats:
    """One float64 per row, NaN where there is none; texts that are not spelled as a number have none.

    Raises:
        InputError: the type of the column holds no numbers.
    """
    column = plain(column)
    kind = column.type
    numbers: Floats = np.full(len(column), np.nan)
    if pa.types.is_dictionary(kind) or _is_text(kind):
        texts = texts_of(column, None)
        spelled = np.append([_number(text) for text in texts.distinct.to_pylist()], np.nan)
        return np.asarray(spelled[texts.codes], np.float64)
    if pa.types.is_null(kind):
        return numbers
    values = number_values(column.cast(pa.int8()) if pa.types.is_boolean(kind) else column)
    if values is None or pa.types.is_temporal(kind):
        raise InputError(f"column {name!r} holds {kind}, but numbers are needed here")
    if column.null_count == 0:
        return values
    numbers[_mask(column.is_valid())] = values
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
