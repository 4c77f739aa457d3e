"""What must be known of captured records before they can be parsed: guessed from some, agreed upon by several hours."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.dataset.captured_rows import layout_of, needed_sides, sides_of
from driftline.dataset.compiled import PREFIX, SIDES, Asked, Parsed, parse
from driftline.dataset.dataset import Answers, Captured, Side
from driftline.dataset.failed import FAILED
from driftline.dataset.lines import first_lines, unpacked_size
from driftline.dataset.records import Records
from driftline.dataset.spelled import Scratch, Spellings
from driftline.dataset.tables import Layout
from driftline.schema import ID, ORDINAL, PROBABILITY, TIME

_SAMPLED: Final = 16
"""Files whose beginning is looked at beforehand."""
_LEAST: Final = 1 << 18
_MOST: Final = 1 << 22
"""Bytes of such a beginning."""
_SHARE: Final = 16
"""All of them together should be this part of all bytes."""
_FIXED: Final = {ID: pa.string(), ORDINAL: pa.int64(), TIME: pa.timestamp("us", "UTC")}


@dataclass(frozen=True, slots=True)
class Guess:
    """What must be known of the records before they can be read."""

    widths: Mapping[Side, int]
    spellings: Mapping[str, Spellings]
    """How the values of each column are spelled."""
    sampled: bool
    suspects: npt.NDArray[np.uint64] | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What was learned of the records, so that those of several hours may agree on their columns."""

    widths: Mapping[Side, Mapping[int, int]]
    """How often a CSV payload had so many columns."""
    spellings: Mapping[str, Spellings]
    sampled: bool
    first: int
    """Microseconds since 1970 of the earliest record."""
    last: int
    events: npt.NDArray[np.uint64]
    """Hashes of all event ids, ascending."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What holds for all hours, whatever this one would say by itself."""

    widths: Mapping[Side, int]
    spellings: Mapping[str, Spellings]
    sampled: bool


def planned(
    source: Captured, answers: Answers | None, guess: Guess | Agreed, scratch: Scratch
) -> tuple[tuple[Side, ...], Layout]:
    """The sides that must be decoded, and the columns of the table; `scratch` is told the columns that there will be.

    Raises:
        InputError: an answer is not there.
    """
    sides = sides_of(source, guess.widths["input"])
    needed = needed_sides(sides, answers)
    names = [f"{PREFIX[side]}{i}" for side in reversed(SIDES) if side in needed for i in range(guess.widths[side])]
    scratch.spellings = {name: guess.spellings.get(name, frozenset()) for name in names}
    scratch.fixed = _FIXED | ({PROBABILITY: pa.float64()} if guess.sampled else {})
    return needed, layout_of(source, sides, names, answers)


def guessed(source: Captured, files: tuple[Path, ...]) -> Guess:
    """What the beginnings of some files say."""
    step = max(1, len(files) // _SAMPLED)
    some = files[::step][:_SAMPLED]
    records = Records(files, Path())
    for path in some:
        for line in first_lines(path, 1 << 16).splitlines()[:50]:
            for side in SIDES:
                if width := _width(line, side):
                    records.widths[side][width] += 1
    asked = Asked({side: records.width(side) for side in SIDES}, {}, SIDES, source.window)
    size = min(_MOST, max(_LEAST, unpacked_size(files) // (_SHARE * len(some))))

    def look(path: Path) -> Parsed:
        data = first_lines(path, size)
        return parse(data, len(data), asked)

    spellings: dict[str, Spellings] = {}
    sampled = False
    with ThreadPoolExecutor(threads()) as pool:
        for found in pool.map(look, some):
            sampled |= found.sampled
            spellings = joined_spellings(spellings, found.spelled)
    return Guess(asked.widths, spellings, sampled)


def threads() -> int:
    """How many blocks are parsed at a time."""
    return os.cpu_count() or 1


def _width(line: bytes, side: Side) -> int:
    try:
        record = json.loads(line)
        if record["eventMetadata"].get("statusCode", 0) >= FAILED:
            return 0
        payload = record["captureData"]["endpointInput" if side == "input" else "endpointOutput"]
        first = payload["data"].strip("\r\n").partition("\n")[0]
        return first.count(",") + 1 if first and payload["encoding"].upper() == "CSV" else 0
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return 0


def joined_spellings(one: Mapping[str, Spellings], other: Mapping[str, Spellings]) -> dict[str, Spellings]:
    """How the values of each column are spelled in both together."""
    return {name: one.get(name, frozenset()) | other.get(name, frozenset()) for name in {**one, **other}}
