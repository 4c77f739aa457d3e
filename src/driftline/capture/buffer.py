"""The queue between request and writer: it has an end; who finds it full is counted, and never kept waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from threading import Event, RLock
from typing import NamedTuple

from driftline.capture.counters import Counters

QUEUE_FULL = "queue full"
CLOSED = "capture closed"
_HOUR = timedelta(hours=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Exchange(NamedTuple):
    """One request and its answer, as the request thread hands them over."""

    at: datetime
    event_id: str | None
    inference_id: str | None
    request: bytes | str | None
    response: bytes | str | None
    request_content_type: str | None
    response_content_type: str | None
    custom_attributes: tuple[str, ...] = ()
    request_truncated: bool = False
    response_truncated: bool = False


class Order:
    """An order to the writer: everything out now; `deadline` (monotonic) ends it and the writer's life."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.done = Event()
        self.whole = False  # set by the writer: there was nothing that it could not store


class _Tally:
    __slots__ = ("dropped", "sampled", "seen", "written")

    def __init__(self) -> None:
        self.seen = self.sampled = self.written = 0
        self.dropped: dict[str, int] = {}

    def drop(self, reason: str, records: int = 1) -> bool:
        before = self.dropped.get(reason, 0)
        self.dropped[reason] = before + records
        return before == 0

    def counters(self) -> Counters:
        return Counters(self.seen, self.sampled, self.written, dict(self.dropped))


class Buffer:
    """Exchanges that wait for the writer, and the counters of every hour.

    The lock is held for a few instructions, never while anything is encoded or written; it is reentrant, so that a
    signal handler or a finaliser that captures too cannot hang.
    """

    def __init__(self, most_items: int, most_bytes: int) -> None:
        self.bell: SimpleQueue[Order | None] = SimpleQueue()
        self._lock = RLock()
        self._items: list[Exchange] = []
        self._bytes = 0
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._half = most_items // 2
        self._closed = False
        self._hours: dict[datetime, _Tally] = {}
        self._stored: dict[datetime, Counters] = {}
        self._changed: set[datetime] = set()
        self._start = self._end = _NEVER
        self._current = _Tally()

    def offer(self, exchange: Exchange, size: int) -> None:
        """Take the exchange if there is room; drop and count it if there is none."""
        with self._lock:
            tally = self._current if self._start <= exchange.at < self._end else self._turn(exchange.at)
            tally.seen += 1
            tally.sampled += 1
            waiting = len(self._items)
            if self._closed:
                tally.drop(CLOSED)
            elif waiting >= self._most_items or (waiting and self._bytes + size > self._most_bytes):
                tally.drop(QUEUE_FULL)
            else:
                self._items.append(exchange)
                self._bytes += size
                if waiting == self._half:
                    self.bell.put(None)

    def skip(self, at: datetime) -> None:
        """Count a request that was not chosen."""
        with self._lock:
            (self._current if self._start <= at < self._end else self._turn(at)).seen += 1

    def refuse(self, at: datetime, reason: str) -> bool:
        """Count a request that was chosen and cannot be captured; whether it is the first of its hour and reason."""
        with self._lock:
            tally = self._turn(at)
            tally.seen += 1
            tally.sampled += 1
            return tally.drop(reason)

    def take(self) -> list[Exchange]:
        """Everything that waits, in order; the queue is empty after."""
        with self._lock:
            items, self._items = self._items, []
            self._bytes = 0
            return items

    def close(self) -> None:
        """From now on everything that is offered is dropped and counted."""
        with self._lock:
            self._closed = True

    def wrote(self, hour: datetime, records: int) -> None:
        """Count records that are in the store now."""
        with self._lock:
            self._of(hour).written += records
            self._changed.add(hour)

    def lost(self, hour: datetime, records: int, reason: str) -> bool:
        """Count records that will never be in the store; whether they are the first of their hour and reason."""
        with self._lock:
            self._changed.add(hour)
            return self._of(hour).drop(reason, records)

    def total(self) -> Counters:
        """The counters over all hours."""
        with self._lock:
            total = Counters()
            for tally in self._hours.values():
                total = total.merge(tally.counters())
            return total

    def unstored(self) -> list[tuple[datetime, Counters]]:
        """The hours whose counters changed since they were stored, with their counters now."""
        with self._lock:
            now = [(hour, self._of(hour).counters()) for hour in sorted(self._changed)]
            return [(hour, counters) for hour, counters in now if self._stored.get(hour) != counters]

    def stored(self, hour: datetime, counters: Counters) -> None:
        """Remember that these counters of the hour are in the store."""
        with self._lock:
            self._stored[hour] = counters
            # The current hour stays: requests are counted there without a note that it changed.
            if hour != self._start and self._of(hour).counters() == counters:
                self._changed.discard(hour)

    def _turn(self, at: datetime) -> _Tally:
        self._start = hour_of(at)
        self._end = self._start + _HOUR
        self._current = self._of(self._start)
        self._changed.add(self._start)
        return self._current

    def _of(self, hour: datetime) -> _Tally:
        return self._hours.setdefault(hour, _Tally())


def hour_of(at: datetime) -> datetime:
    """The start of the hour, UTC, that `at` lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def complain(message: str, *values: object) -> None:
    """Tell the operator's log that something was lost or is late."""
    import logging  # slow to import, and not needed while all is well

    logging.getLogger("driftline.capture").warning(message, *values)
