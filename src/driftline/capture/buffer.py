"""The queue between request and writer: it has an end; who finds it full is counted, and never kept waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from threading import Event, RLock

from msgspec import Struct

from driftline.capture.counters import Counters

QUEUE_FULL = "queue full"
CLOSED = "capture closed"
_HOUR = timedelta(hours=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Exchange(Struct, gc=False):
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


class Order(Struct):
    """An order to the writer: everything out now; `deadline` (monotonic) ends it and the writer's life."""

    done: Event
    deadline: float | None = None
    whole: bool = False
    """Set by the writer: nothing is left that it could not write."""


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
        self._half = max(1, most_items // 2)
        self._closed = False
        self._hours: dict[datetime, Counters] = {}
        self._stored: dict[datetime, Counters] = {}
        self._start = self._end = _NEVER
        self._current = Counters()

    def offer(self, exchange: Exchange, size: int) -> None:
        """Take the exchange if there is room; drop and count it if there is none."""
        with self._lock:
            counters = self._current if self._start <= exchange.at < self._end else self._turn(exchange.at)
            counters.seen += 1
            counters.sampled += 1
            waiting = len(self._items)
            if self._closed:
                counters.drop(CLOSED)
            elif waiting >= self._most_items or (waiting and self._bytes + size > self._most_bytes):
                counters.drop(QUEUE_FULL)
            else:
                self._items.append(exchange)
                self._bytes += size
        if waiting == self._half:
            self.bell.put(None)

    def skip(self, at: datetime) -> None:
        """Count a request that was not chosen."""
        with self._lock:
            (self._current if self._start <= at < self._end else self._turn(at)).seen += 1

    def refuse(self, at: datetime, reason: str) -> None:
        """Count a request that was chosen and cannot be captured."""
        with self._lock:
            counters = self._turn(at)
            counters.seen += 1
            counters.sampled += 1
            counters.drop(reason)

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

    def lost(self, hour: datetime, records: int, reason: str) -> None:
        """Count records that will never be in the store."""
        with self._lock:
            self._of(hour).drop(reason, records)

    def total(self) -> Counters:
        """The counters over all hours."""
        with self._lock:
            total = Counters()
            for counters in self._hours.values():
                total.add(counters)
            return total

    def unstored(self) -> list[tuple[datetime, Counters]]:
        """The hours whose counters changed since they were stored, with their counters now."""
        with self._lock:
            return [(hour, now.copy()) for hour, now in self._hours.items() if self._stored.get(hour) != now]

    def stored(self, hour: datetime, counters: Counters) -> None:
        """Remember that these counters of the hour are in the store."""
        with self._lock:
            self._stored[hour] = counters

    def _turn(self, at: datetime) -> Counters:
        self._start = hour_of(at)
        self._end = self._start + _HOUR
        self._current = self._of(self._start)
        return self._current

    def _of(self, hour: datetime) -> Counters:
        return self._hours.setdefault(hour, Counters())


def hour_of(at: datetime) -> datetime:
    """The start of the hour, UTC, that `at` lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
