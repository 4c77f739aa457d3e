"""Lines with a checksum: each tells by itself whether it is whole, so that one broken line costs that line only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

_WIDTH = 9  # eight hexadecimal digits and a space


class Unframed(NamedTuple):
    """What was found in a file of frames."""

    lines: list[bytes]
    """The contents of the whole frames, in order, without line feed."""
    damaged: int
    """Lines that are not whole frames: torn by a power cut or a full disk, or changed since."""


def frame(line: bytes) -> bytes:
    """The line (which holds no line feed), its CRC-32 before it.

    >>> frame(b"{}")
    b'a3a6bf43 {}\\n'
    """
    return b"%08x %b\n" % (crc32(line), line)


def unframe(data: bytes) -> Unframed:
    """The lines whose frames are whole.

    >>> unframe(frame(b"1") + b"00000000 2" + frame(b"3") + frame(b"4")[:5])
    Unframed(lines=[b'1'], damaged=2)
    """
    lines: list[bytes] = []
    rows = data.split(b"\n")
    torn = rows.pop()
    for row in rows:
        line = row[_WIDTH:]
        if row[:_WIDTH] == b"%08x " % crc32(line):
            lines.append(line)
    return Unframed(lines, len(rows) - len(lines) + bool(torn))


def whole_within(frames: Iterable[bytes], size: int) -> tuple[int, int]:
    """How many of the frames lie whole within the first `size` bytes, and how long these are together."""
    count = end = 0
    for each in frames:
        if end + len(each) > size:
            break
        count += 1
        end += len(each)
    return count, end
