"""What one writer has ready for the store: closed segments, in order, and the counts they are in."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from threading import Lock
from typing import NamedTuple

from driftline.capture.folder import WriterFolder
from driftline.capture.ids import storable
from driftline.capture.in_force import InForce
from driftline.capture.segments import Segment
from driftline.capture.tallies import Place, Tallies

STORE_UNAVAILABLE = "store unavailable"


class Trouble(NamedTuple):
    """What went wrong last."""

    at: datetime
    what: str


class Outbox:
    """Filled by the writer, emptied by the uploader, each in a thread of its own."""

    def __init__(self, writer: str, tallies: Tallies, in_force: InForce, folder: WriterFolder | None = None) -> None:
        self.writer = writer
        self.tallies = tallies
        self.in_force = in_force
        """How its records were sampled, and what was taken out of them."""
        self.folder = folder
        """None: what waits, waits in memory."""
        self.open: frozenset[Place] = frozenset()
        """Places with a segment that is not closed yet."""
        self.trouble: Trouble | None = None
        self.failures = 0
        """How often something went wrong that nobody foresaw."""
        self.conditional: bool | None = None
        """Whether the store refuses to replace an object that must not be there; None: it is not known yet."""
        self._lock = Lock()
        self._segments: deque[Segment] = deque()
        self._sending: Segment | None = None

    def add(self, segment: Segment) -> None:
        """Have a closed segment uploaded."""
        with self._lock:
            self._segments.append(segment)

    def waiting(self) -> list[Segment]:
        """The segments that are not in the store, in the order in which they were closed."""
        with self._lock:
            return list(self._segments)

    def begin(self, segment: Segment) -> bool:
        """Say that the segment is being sent; whether it still waits."""
        with self._lock:
            if segment not in self._segments:
                return False
            self._sending = segment
            return True

    def end(self, segment: Segment, *, sent: bool) -> None:
        """Say that the segment is in the store, or that it waits again."""
        with self._lock:
            self._sending = None
            if sent:
                self._segments.remove(segment)

    def give_up(self, most_bytes: int) -> None:
        """Drop the oldest segments that are held in memory until these are no more than so many bytes together."""
        with self._lock:
            held = [segment for segment in self._segments if segment.file is None]
            size = sum(segment.size for segment in held)
            for segment in held:
                if size <= most_bytes:
                    return
                if segment is self._sending and most_bytes > 0:
                    continue
                size -= segment.size
                self._segments.remove(segment)
                self.tallies.lost(segment.place, segment.records, STORE_UNAVAILABLE)

    def troubled(self, what: str) -> None:
        """Note what went wrong."""
        self.trouble = Trouble(datetime.now(UTC), storable(what))  # noqa: TID251  shown to people, decides nothing
