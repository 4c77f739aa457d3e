"""What a finished segment becomes as an object: the only place where lines turn into something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from driftline.errors import InputError


class Format(NamedTuple):
    """One way to keep records in an object. An object's key ends with the name of its format, from the start."""

    convert: Callable[[Sequence[bytes]], bytes]
    """The object with these lines, which are without line feeds. It may raise whatever tells that it cannot now."""
    same: Callable[[bytes, bytes], bool]
    """Whether what is stored is what was made now, but for records that were erased since: it was uploaded before."""


def lines(records: Sequence[bytes]) -> bytes:
    """The records as JSON lines."""
    return b"\n".join([*records, b""])


def same_lines(stored: bytes, made: bytes) -> bool:
    """Whether all lines are the same but those that are empty now."""
    if stored == made:
        return True
    found, wanted = stored.split(b"\n"), made.split(b"\n")
    return len(found) == len(wanted) and all(line in (b"", whole) for line, whole in zip(found, wanted, strict=True))


def parquet(records: Sequence[bytes]) -> bytes:
    """The records as columns."""
    from driftline.capture import columnar  # pyarrow: only where it is asked for

    return columnar.parquet(records)


def same_columns(stored: bytes, made: bytes) -> bool:
    """Whether all rows are the same but those that are empty now."""
    from driftline.capture import columnar

    return columnar.same_records(stored, made)


FORMATS: Mapping[str, Format] = {"jsonl": Format(lines, same_lines), "parquet": Format(parquet, same_columns)}


def format_of(key: str) -> Format:
    """The format of the object with this key, told by its end."""
    return FORMATS[key.rpartition(".")[2]]


def usable(name: str) -> str:
    """The name of a format that can be made here. Raises InputError."""
    if name not in FORMATS:
        raise InputError(f"format {name!r} is none; records are kept as {' or '.join(FORMATS)}")
    try:
        # Once now: while the interpreter ends, much cannot be imported any more (pandas, which pyarrow looks for).
        FORMATS[name].convert([])
    except ImportError as why:
        raise InputError(f"format {name!r} needs {why.name}, which cannot be imported here: {why}") from why
    return name
