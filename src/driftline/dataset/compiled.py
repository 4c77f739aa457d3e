"""Blocks of captured records through the compiled parser, where the package was built with a compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.dataset.dataset import Side
from driftline.dataset.spelled import Spelling, Spellings
from driftline.windows import Window

try:
    from driftline.dataset import _captured
except ImportError:  # the package was built without a compiler
    _captured = None  # type: ignore[assignment]

SIDES: Final[tuple[Side, Side]] = ("output", "input")
PREFIX: Final[dict[Side, str]] = {"output": "o:", "input": "i:"}
"""How the scratch columns of a side begin."""
_BITS: Final = {1: Spelling.INTEGRAL, 2: Spelling.FRACTIONAL, 4: Spelling.STRING}
_TYPES: Final = {"t": pa.string(), "i": pa.int64(), "f": pa.float64()}
_KINDS: Final = {kind: letter for letter, kind in _TYPES.items()}
_TIME: Final = pa.timestamp("us", "UTC")
_used = _captured is not None and getattr(_captured, "FORM", 1) == 2  # else it was built from other sources


def compiled() -> bool:
    """Whether the compiled parser is in use."""
    return _used


@contextmanager
def uncompiled() -> Iterator[None]:
    """Do without the compiled parser for a while (in tests)."""
    global _used
    before, _used = _used, False
    try:
        yield
    finally:
        _used = before


@dataclass(frozen=True, slots=True)
class Asked:
    """What the parser must know beforehand."""

    widths: Mapping[Side, int]
    """Columns of a CSV payload."""
    types: Mapping[str, pa.DataType]
    """Scratch columns that are wanted, and their types; of the others only the spelling is told."""
    needed: tuple[Side, ...]
    window: Window | None = None
    suspects: npt.NDArray[np.uint64] | None = None
    """Hashes of event ids, ascending: a record with one of them is handed back."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the parser took from a block, and what it hands back."""

    rows: int
    lines: int
    """Lines of the block, blank ones and those that are handed back among them."""
    outside: int
    """Records outside the window."""
    sampled: bool
    """Whether any inclusion probability is not 1."""
    sides: Mapping[Side, int]
    """Records that have the side."""
    spelled: Mapping[str, Spellings]
    columns: Mapping[str, pa.Array]
    id: pa.Array
    ordinal: pa.Array
    time: pa.Array
    probability: pa.Array
    line: npt.NDArray[np.int64]
    """For each row the number of its line in the block, from 0."""
    events: npt.NDArray[np.uint64]
    """Hash of the event id of each record."""
    back: npt.NDArray[np.int64]
    """Start, end and number of each line that is handed back."""
    failed: npt.NDArray[np.int64]
    """Time, status and the bits of the inclusion probability of each record of an error."""


def parse(data: bytes | bytearray, length: int, asked: Asked) -> Parsed:
    """The records in the first `length` bytes of `data`, which are whole lines."""
    names = {side: [f"{PREFIX[side]}{i}" for i in range(asked.widths[side])] for side in SIDES}
    output_kinds, input_kinds = (bytes(ord(_kind(asked.types.get(n))) for n in names[side]) for side in SIDES)
    low, high = (0, 0) if asked.window is None else (_micros(asked.window.start), _micros(asked.window.end))
    needed = sum(1 << at for at, side in enumerate(SIDES) if side in asked.needed)
    suspects = b"" if asked.suspects is None else asked.suspects
    found = _captured.parse(
        data, length, output_kinds, input_kinds, needed, asked.window is not None, low, high, suspects, powers_of_five()
    )
    (
        rows,
        lines,
        outside,
        sampled,
        outputs,
        inputs,
        *sides,
        id_,
        ordinal,
        time,
        line,
        probability,
        events,
        back,
        failed,
    ) = found
    columns: dict[str, pa.Array] = {}
    spelled: dict[str, Spellings] = {}
    for side, cells in zip(SIDES, sides, strict=True):
        for name, (seen, *buffers) in zip(names[side], cells, strict=True):
            spelled[name] = frozenset(spelling for bit, spelling in _BITS.items() if seen & bit)
            if name in asked.types:
                columns[name] = _array(asked.types[name], rows, *buffers)
    places = np.frombuffer(back, np.int64).reshape(-1, 3)
    return Parsed(
        rows, lines, outside, bool(sampled), dict(zip(SIDES, (outputs, inputs), strict=True)), spelled, columns,
        _array(pa.string(), rows, *id_[1:]), _numbers(pa.int64(), rows, ordinal), _numbers(_TIME, rows, time),
        _numbers(pa.float64(), rows, probability), np.frombuffer(line, np.int64), np.frombuffer(events, np.uint64),
        places, np.frombuffer(failed, np.int64).reshape(-1, 3),
    )  # fmt: skip


def hash_of(event: str) -> int:
    """The hash of an event id, as in `Parsed.events`."""
    return _captured.hash_of(event)


def _kind(wanted: pa.DataType | None) -> str:
    return "n" if wanted is None else _KINDS[wanted]


def _micros(at: Any) -> int:
    found: int = pa.scalar(at, _TIME).value
    return found


def _array(kind: pa.DataType, rows: int, valid: Any, first: Any, text: Any) -> pa.Array:
    if not rows:
        return pa.array([], kind)
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), count=rows, bitorder="little")
    there = None if bits.all() else pa.py_buffer(valid)
    buffers = [there, pa.py_buffer(first)] + ([] if text is None else [pa.py_buffer(text)])
    return pa.Array.from_buffers(kind, rows, buffers)


def _numbers(kind: pa.DataType, rows: int, numbers: Any) -> pa.Array:
    if not rows:
        return pa.array([], kind)
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(numbers)])


@cache
def powers_of_five() -> npt.NDArray[np.uint64]:
    """The leading 128 bits of 5^q for q from -342 to 308, the upper half first.

    Those of whole powers are cut off, those of fractions rounded up (Lemire, Number parsing at a gigabyte per second).
    """
    found: list[int] = []
    for q in range(-342, 309):
        power = 5 ** abs(q)
        size = power.bit_length()
        if q >= 0:
            wide = power << 128 >> size
        else:
            wide = (1 << (size + 127 if q >= -27 else 2 * size + 128)) // power + 1
            wide >>= wide.bit_length() - 128
        found += divmod(wide, 1 << 64)
    return np.array(found, np.uint64)
