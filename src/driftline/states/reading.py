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
from driftline.kernels.numbers import spellings
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


@dataclass(frozen=True, slots=True)
class Tally:
    """The rows of each of some distinct texts."""

    distinct: pa.Array
    counts: npt.NDArray[np.int64]
    heavy: npt.NDArray[np.int64]
    """Their weight."""

    def count(self, chosen: Mask) -> Count:
        """The rows whose text is one of the chosen."""
        return Count(int(self.counts[chosen].sum()), int(self.heavy[chosen].sum()))


@dataclass(frozen=True)
class Texts:
    """The distinct texts of a batch (without null), and in which rows they stand (-1: none)."""

    distinct: pa.Array
    codes: npt.NDArray[np.int64]
    weights: Weights | None

    @cached_property
    def tally(self) -> Tally:
        """The rows of each text."""
        counts = np.bincount(self.codes + 1, minlength=len(self.distinct) + 1)[1:].astype(np.int64)
        heavy = counts * ONE
        if self.weights is not None:
            heavy = np.zeros(len(self.distinct) + 1, np.int64)
            np.add.at(heavy, self.codes + 1, self.weights)
            heavy = heavy[1:]
        return Tally(self.distinct, counts, heavy)


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
    if pa.types.is_dictionary(kind) or is_text(kind):
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


def number_column(column: pa.Array) -> Typed | None:
    """A column of numbers as it lies in memory; None when its type holds no numbers.

    Times are integers in their own unit, decimals their nearest float64. The column must be `plain`.
    """
    kind = column.type
    sort = _SORTS.get(kind)
    if sort is None and pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        sort = "i" if kind.bit_width == 32 else "q"
    if sort is not None:
        return _lying(column, sort)
    values = number_values(column)
    return None if values is None else Typed("d", pa.py_buffer(values), None, 0, len(values))


def codes(column: pa.DictionaryArray) -> Typed:
    """The codes of a dictionary column as they lie in memory."""
    return _lying(column.indices, _SORTS[column.indices.type])


def _lying(column: pa.Array, sort: str) -> Typed:
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


def is_text(kind: pa.DataType) -> bool:
    """Whether this Arrow type holds plain strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def plain(column: pa.Array) -> pa.Array:
    """The column without the wrappings that only say how it is stored; its null count is right afterwards."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    if pa.types.is_run_end_encoded(kind):
        return plain(pc.run_end_decode(column))
    if pa.types.is_dictionary(kind) and (column.dictionary.null_count or not is_text(kind.value_type)):
        return plain(column.dictionary_decode())
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    return column


def _read_texts(column: pa.Array, weights: Weights | None, missing: Count) -> Reading:
    texts = texts_of(column, weights)
    spelled = Spelled.of(texts.distinct)
    numbers = NO_NUMBERS
    if spelled.number.any():
        values = np.zeros(len(texts.distinct), np.float64)
        values[spelled.number] = spelled.values
        rows = (texts.codes >= 0) & spelled.number[texts.codes]
        numbers = Numbers(values[texts.codes[rows]], None if weights is None else weights[rows])
    return Reading(spelled.kinds(missing, texts.tally), numbers, texts)


@dataclass(frozen=True, slots=True)
class Spelled:
    """How each of some distinct texts is spelled."""

    number: Mask
    integral: Mask
    boolean: Mask
    values: Floats
    """The float64 nearest to each spelling of a number."""

    @classmethod
    def of(cls, distinct: pa.Array) -> Spelled:
        """The spellings of texts without null."""
        told = spellings(*lying_strings(distinct))
        number, integral, boolean = (told == 1) | (told == 2), told == 1, told == 3
        values = np.empty(0, np.float64)
        if number.any():
            numbers = distinct.filter(pa.array(number))
            # The space that may follow a sign means nothing.
            values = np.array([float(text.replace(" ", "", 1)) for text in numbers.to_pylist()], np.float64)
        return cls(number, integral, boolean, values)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How many texts are spelled as a string, an integer, a fraction, a boolean."""
        number, integral, boolean = (int(np.count_nonzero(m)) for m in (self.number, self.integral, self.boolean))
        return len(self.number) - number - boolean, integral, number - integral, boolean

    def kinds(self, missing: Count, tally: Tally) -> CountsState:
        """The rows by the spelling of their text."""
        return CountsState(
            null=missing,
            integral=tally.count(self.integral),
            fractional=tally.count(self.number & ~self.integral),
            boolean=tally.count(self.boolean),
            string=tally.count(~self.number & ~self.boolean),
        )


def lying_strings(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of texts without null, and where each begins; the last one's end at last."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    at = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data or b"", np.uint8), at


def lying_texts(texts: pa.Array) -> tuple[tuple[str, pa.Buffer, pa.Buffer | None, int, int], pa.Buffer]:
    """The offsets and the bytes of texts as they lie in memory, for the kernel."""
    validity, offsets, data = texts.buffers()
    sort = "q" if pa.types.is_large_string(texts.type) else "i"
    validity = validity if texts.null_count else None
    return (sort, offsets or pa.py_buffer(bytes(8)), validity, texts.offset, len(texts)), data or pa.py_buffer(b"")


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
    if pa.types.is_dictionary(kind) or is_text(kind):
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
