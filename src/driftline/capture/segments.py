"""A segment: the records of one place that will be one object, on the local disk or, where there is none, in memory."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from driftline.capture.frames import frame, unframe, whole_within
from driftline.capture.tallies import Place
from driftline.errors import Corrupt

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Head(Struct, frozen=True):
    """The first line of a segment: under which key it is uploaded, whoever does it and however often it is tried."""

    key: str
    endpoint: str
    variant: str
    hour: datetime

    @property
    def place(self) -> Place:
        """Where its records belong."""
        return Place(self.endpoint, self.variant, self.hour.astimezone(UTC))


class Content(NamedTuple):
    """What was read of a segment."""

    lines: list[bytes]
    damaged: int


class Segment:
    """Records are added in memory and saved with one call to the system; only whole records are ever saved.

    No file stays open between two saves: a process with a thousand variants needs no thousand descriptors, and a forked
    child inherits none.
    """

    __slots__ = ("_frames", "added_s", "file", "head", "opened_s", "records", "size", "unsaved_bytes")

    def __init__(self, head: Head, file: Path | None, now_s: float) -> None:
        self.head = head
        self.file = file
        """None: in memory."""
        self.opened_s = self.added_s = now_s
        self.records = 0
        """Records that are saved; of one found on the disk, 0 until it is read."""
        self.size = 0
        """Bytes that are saved."""
        self.unsaved_bytes = 0
        self._frames: list[bytes] = []

    @property
    def place(self) -> Place:
        """Where its records belong."""
        return self.head.place

    def add(self, line: bytes, now_s: float) -> None:
        """Add a record, given as its line without line feed."""
        framed = frame(line)
        self._frames.append(framed)
        self.unsaved_bytes += len(framed)
        self.added_s = now_s

    def save(self) -> tuple[int, OSError | None]:
        """Write what was added. How many records could not be written (they are gone), and why."""
        if self.file is None:
            self.records, self.size, self.unsaved_bytes = len(self._frames), self.size + self.unsaved_bytes, 0
            return 0, None
        frames, self._frames, self.unsaved_bytes = self._frames, [], 0
        if not frames:
            return 0, None
        head = [frame(msgspec.json.encode(self.head))] if self.size == 0 else []
        written, why = _append(self.file, b"".join([*head, *frames]), self.size)
        whole, end = whole_within([*head, *frames], written)
        saved = max(0, whole - len(head))
        if not saved and not self.records:
            end = 0  # nothing but a head is no segment
        if why is not None:
            _cut(self.file, self.size + end)
        self.size += end
        self.records += saved
        return len(frames) - saved, why

    def read(self) -> Content:
        """The records that are whole. Raises OSError where the file cannot be read."""
        if self.file is None:
            return Content([each[9:-1] for each in self._frames], 0)
        lines, damaged = unframe(self.file.read_bytes())
        return Content(lines[1:], damaged)

    def sync(self) -> None:
        """Have what is saved outlive a power cut."""
        if self.file is not None and self.size:
            sync(self.file)

    def remove(self) -> None:
        """Delete it: it is in the store."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)


def found(file: Path, now_s: float) -> Segment | None:
    """The segment in a file that another process left; None where it ended before anything was in it.

    Raises:
        Corrupt: its first line is damaged: nobody knows where its records belong.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        first = opened.readline()
    lines = unframe(first).lines
    if not lines:
        if not first.endswith(b"\n"):
            return None
        raise Corrupt(f"spool file {file}: the first line is damaged")
    segment = Segment(msgspec.json.decode(lines[0], type=Head), file, now_s)
    segment.size = file.stat().st_size
    return segment


def is_full(why: OSError) -> bool:
    """Whether there was no room: on the disk, within the quota, or within the limit for a file."""
    return why.errno in _FULL


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(file: Path, data: bytes) -> None:
    """Add to the end of the file, all or nothing. Raises OSError."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(handle).st_size
        _, why = _write(handle, data)
        if why is not None:
            os.ftruncate(handle, before)
            raise why
    finally:
        os.close(handle)


def _append(file: Path, data: bytes, size: int) -> tuple[int, OSError | None]:
    # A file that was begun and is gone must not begin anew without its head.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if size == 0 else 0)
    try:
        handle = os.open(file, flags, 0o600)
    except OSError as why:
        return 0, why
    try:
        return _write(handle, data)
    finally:
        os.close(handle)


def _write(handle: int, data: bytes) -> tuple[int, OSError | None]:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(handle, rest) :]
    except OSError as why:
        return len(data) - len(rest), why
    return len(data), None


def _cut(file: Path, size: int) -> None:
    try:
        if size:
            os.truncate(file, size)
        else:
            file.unlink(missing_ok=True)
    except OSError:
        return  # a torn frame is told from a whole one when the file is read
