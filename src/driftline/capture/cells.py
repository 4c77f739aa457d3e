"""Counts where a killed process leaves them: in shared memory, written with every request, no call to the system made.

The journal of the spool is a quarter of a second behind, and cannot be written while the disk is full. A file in memory
is never behind, and outlives the process, though not the machine. A file on a disk would not do: the page of a mapped
file that finds no room on its disk ends the process.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from driftline.capture.counters import Counters
from driftline.capture.tallies import Cell, Counted, Place

_MEMORY = Path("/dev/shm")  # noqa: S108  the names in it are random, and an existing one is refused
_SLOTS = 512
_HEAD = struct.Struct("=qQ")  # the hour, as seconds and one more, so that it is never 0; the part
_COUNTS = struct.Struct(
    "=QQQQ"
)  # seen, sampled; requests that wait for their other part, those of them that are chosen
_NAMES = 128
_SLOT = _HEAD.size + _COUNTS.size + _NAMES


class Cells:
    """A slot for each place that is counting. One process writes them, the next one may read them."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._free = list(range(0, _SLOTS * _SLOT, _SLOT))

    @classmethod
    def open(cls, writer: str) -> Cells | None:
        """New cells; None where there is no memory to share: then the journal must do."""
        try:
            handle = os.open(_file(writer), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        try:
            os.posix_fallocate(handle, 0, _SLOTS * _SLOT)  # what is promised here is there when it is written
            return cls(mmap.mmap(handle, _SLOTS * _SLOT))
        except OSError:
            forget(writer)
            return None
        finally:
            os.close(handle)

    def cell(self, counted: Counted) -> Cell | None:
        """A cell for a place, with its counts; None where all are taken."""
        if not self._free:
            return None
        slot = self._free.pop()
        (endpoint, variant, hour), part, counters = counted
        names = f"{endpoint}\0{variant}".encode().ljust(_NAMES, b"\0")
        body = _COUNTS.pack(counters.seen, counters.sampled, 0, 0) + names
        self._memory[slot + _HEAD.size : slot + _SLOT] = body
        # The hour last: a slot without one is none.
        _HEAD.pack_into(self._memory, slot, int(hour.timestamp()) + 1, part)
        counts = memoryview(self._memory)[slot + _HEAD.size : slot + _HEAD.size + _COUNTS.size].cast("Q")
        return Cell(slot, counts)

    def release(self, cell: Cell) -> None:
        """Its counts are known elsewhere."""
        _HEAD.pack_into(self._memory, cell.slot, 0, 0)
        self._free.append(cell.slot)


def left(writer: str) -> Iterator[Counted]:
    """What a dead writer had counted last, without what became of it; with what waited for its other part."""
    with suppress(OSError):
        handle = os.open(_file(writer), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb") as opened:  # noqa: PTH123  a descriptor, not a path
            data = opened.read(_SLOTS * _SLOT) if os.fstat(handle).st_uid == os.geteuid() else b""
        for slot in range(0, len(data), _SLOT) if len(data) == _SLOTS * _SLOT else ():
            seconds, part = _HEAD.unpack_from(data, slot)
            if seconds:
                seen, sampled, waiting, chosen = _COUNTS.unpack_from(data, slot + _HEAD.size)
                counters = Counters(seen + waiting, sampled + chosen)
                names = data[slot + _SLOT - _NAMES : slot + _SLOT].rstrip(b"\0").decode()
                endpoint, _, variant = names.partition("\0")
                yield Counted(Place(endpoint, variant, datetime.fromtimestamp(seconds - 1, UTC)), part, counters)


def forget(writer: str) -> None:
    """Remove the cells: their counts are in the store."""
    with suppress(OSError):
        _file(writer).unlink()


def _file(writer: str) -> Path:
    return _MEMORY / f"driftline-{writer}"
