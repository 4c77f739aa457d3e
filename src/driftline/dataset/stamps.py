"""Whether a file is still what it was when somebody looked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driftline.dataset.dataset import File
from driftline.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is still the same."""

    size: int
    changed: int | str
    """When, in nanoseconds; of an object its version."""


def stamp_of(path: File) -> Stamp:
    """What the file is like now; of an object, what it was when somebody looked: it is only read as that.

    Raises:
        Unavailable: the file is not there.
    """
    if not isinstance(path, Path):
        return Stamp(path.size, path.version)
    try:
        found = path.stat()
    except OSError as why:
        raise Unavailable(f"file {str(path)!r} cannot be read: {why.strerror}") from why
    return Stamp(found.st_size, found.st_mtime_ns)


def unchanged(path: File, stamp: Stamp) -> None:
    """Raises Unavailable when the file is not what it was."""
    if stamp_of(path) != stamp:
        raise Unavailable(
            f"file {str(path)!r} changed while it was read; write files under another name and rename them when "
            f"they are whole, then run it again"
        )
