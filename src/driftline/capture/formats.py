"""What a finished segment becomes as an object: the only place where lines turn into something else."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Format(NamedTuple):
    """One way to keep records in an object. An object's key ends with the name of its format, from the start."""

    convert: Callable[[Sequence[bytes]], bytes]
    """The object with these lines, which are without line feeds. It may raise whatever tells that it cannot now."""
    same: Callable[[bytes, bytes], bool] = operator.eq
    """Whether two objects hold the same records: then the second is the first, uploaded before."""


def lines(records: Sequence[bytes]) -> bytes:
    """The records as JSON lines."""
    return b"\n".join([*records, b""])


FORMATS: Mapping[str, Format] = {"jsonl": Format(lines)}


def format_of(key: str) -> Format:
    """The format of the object with this key, told by its end."""
    return FORMATS[key.rpartition(".")[2]]
