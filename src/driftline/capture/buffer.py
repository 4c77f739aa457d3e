"""The queue between request and writer: it has an end; who finds it full is counted, and never kept waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from driftline.capture.tallies import Place, Tallies, Tally

if TYPE_CHECKING:
    from driftline.capture.bodies import Packed

QUEUE_FULL = "queue full"
CLOSED = "capture closed"
_HOUR = timedelta(hours=1)
_NEVER = datetime.max.replace(tzinfo=UTC)
_MOST_LANES = 1000  # names may come from callers: a stream of made-up ones must not fill the memory


class Exchange(NamedTuple):
    """One request and its answer, as the request thread hands them over."""

    at: datetime
    event_id: str | None
    inference_id: str | None
    request: bytes | str | Packed | None
    response: bytes | str | Packed | None
    request_content_type: str | bytes | None
    """As it was given; bytes are decoded by the writer."""
    response_content_type: str | bytes | None
    custom_attributes: tuple[str, ...] = ()
    request_truncated: bool = False
    response_truncated: bool = False
    status: int | None = None
    """The HTTP status of the answer; None where there is none to tell."""
    probability: float = 1.0
    """With which such a request is captured; `Capture.take` sets it, from the sampler."""
    endpoint: str | None = None
    variant: str | None = None
    """None: the capture's own."""


class Order:
    """An order to the writer: everything out now; `deadline` (monotonic) ends it and the writer's life."""

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.done = Event()
        self.whole = False  # set by the writer: there was nothing that it could not store


class _Lane:
    """One variant of one endpoint, and the hour in which it is counting."""

    __slots__ = ("end", "endpoint", "start", "tally", "variant")

    def __init__(self, endpoint: str, variant: str) -> None:
        self.endpoint, self.variant = endpoint, variant
        self.start = self.end = _NEVER
        self.tally = Tally()


class Buffer:
    """Exchanges that wait for the writer, and the counters of every endpoint, variant and hour.

    The lock is held for a few instructions, never while anything is encoded or written; it is reentrant, so that a
    signal handler or a finaliser that captures too cannot hang.
    """

    def __init__(self, endpoint: str, variant: str, most_items: int, most_bytes: int) -> None:
        self.bell: SimpleQueue[Order | None] = SimpleQueue()
        self.tallies = Tallies()
        self._lock = self.tallies.lock
        self._items: list[Exchange] = []
        self._bytes = 0
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._half = most_items // 2
        self._closed = False
        self._own = _Lane(endpoint, variant)
        self._lanes = {(endpoint, variant): self._own}
        nowhere = Place(endpoint, variant, _NEVER)
        self._last: tuple[tuple[str | None, ...], datetime, datetime, Place] = ((), _NEVER, _NEVER, nowhere)

    def offer(self, exchange: Exchange, size: int) -> bool:
        """Take the exchange if there is room; drop and count it if there is none. Whether there was room."""
        told = True
        with self._lock:
            at, own = exchange.at, self._own
            if exchange.endpoint is None and exchange.variant is None and own.start <= at < own.end:
                tally = own.tally
            else:
                tally = self._tally(at, exchange.endpoint, exchange.variant)
            # As `saw` does; a call of its own would take as long as all of this.
            tally.seen = seen = tally.seen + 1
            tally.sampled = sampled = tally.sampled + 1
            if tally.cell is not None:
                counts = tally.cell[1]
                counts[0] = seen
                counts[1] = sampled
            waiting = len(self._items)
            if self._closed:
                told = not tally.drop(CLOSED)
            elif waiting >= self._most_items or (waiting and self._bytes + size > self._most_bytes):
                tally.drop(QUEUE_FULL)
                return False
            else:
                self._items.append(exchange)
                self._bytes += size
                if waiting == self._half:
                    self.bell.put(None)
        if not told:  # nobody stores the counters any more
            complain("requests come after the capture was closed: they are not captured, and only counted in memory")
        return True

    def skip(self, at: datetime, endpoint: str | None = None, variant: str | None = None) -> None:
        """Count a request that was not chosen."""
        with self._lock:
            own = self._own
            if endpoint is None and variant is None and own.start <= at < own.end:
                own.tally.saw(0)
            else:
                self._tally(at, endpoint, variant).saw(0)

    def refuse(self, at: datetime, reason: str, endpoint: str | None = None, variant: str | None = None) -> bool:
        """Count a request that was chosen and cannot be captured; whether it is the first of its hour and reason."""
        with self._lock:
            tally = self._tally(at, endpoint, variant)
            tally.saw(1)
            return tally.drop(reason)

    def waits(self, at: datetime, requests: int, chosen: int, endpoint: str | None, variant: str | None) -> None:
        """So many more requests, of which some are chosen, wait for a part that is still to come."""
        with self._lock:
            self._tally(at, endpoint, variant).wait(requests, chosen)

    def knows(self, endpoint: str | None, variant: str | None) -> bool:
        """Whether something of this endpoint and variant was counted already."""
        return (endpoint or self._own.endpoint, variant or self._own.variant) in self._lanes

    def room_for_names(self) -> bool:
        """Whether one more endpoint or variant can be counted."""
        return len(self._lanes) < _MOST_LANES

    def place(self, exchange: Exchange) -> Place:
        """Where the exchange belongs. For one thread: it remembers the last place, which most often is the next."""
        at, names = exchange.at, exchange[-2:]
        last, start, end, place = self._last
        if names != last or not start <= at < end:
            own = self._own
            place = Place(exchange.endpoint or own.endpoint, exchange.variant or own.variant, hour_of(at))
            self._last = names, place.hour, place.hour + _HOUR, place
        return place

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

    def waiting(self) -> int:
        """How many exchanges wait."""
        return len(self._items)

    def _tally(self, at: datetime, endpoint: str | None, variant: str | None) -> Tally:
        lane = self._own if endpoint is None and variant is None else self._lane(endpoint, variant)
        return lane.tally if lane.start <= at < lane.end else self._turn(lane, at)

    def _lane(self, endpoint: str | None, variant: str | None) -> _Lane:
        key = (endpoint or self._own.endpoint, variant or self._own.variant)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(*key)
        return lane

    def _turn(self, lane: _Lane, at: datetime) -> Tally:
        place = Place(lane.endpoint, lane.variant, hour_of(at))
        lane.tally = self.tallies.current(place)
        lane.start = place.hour
        lane.end = lane.start + _HOUR
        return lane.tally


def hour_of(at: datetime) -> datetime:
    """The start of the hour, UTC, that `at` lies in."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def complain(message: str, *values: object, trace: bool = False) -> None:
    """Tell the operator's log that something was lost or is late."""
    import logging  # slow to import, and not needed while all is well

    logging.getLogger("driftline.capture").warning(message, *map(_legible, values), exc_info=trace)


def _legible(value: object) -> object:
    """The value, or its text without what no log can hold: names of files need not be text."""
    text = str(value)
    legible = text.encode(errors="backslashreplace").decode()
    return value if legible == text else legible
