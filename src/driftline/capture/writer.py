"""A thread of its own encodes what was captured and stores it in files of one hour, each whole or not there."""

from __future__ import annotations

import time
from collections import deque
from queue import Empty
from threading import Thread
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from driftline.capture.buffer import Buffer, Exchange, Order, Place, complain
from driftline.capture.counters import Counters, put_counters
from driftline.capture.ids import new_id, storable
from driftline.capture.layout import captured_key
from driftline.capture.record import ContentTypes, Payload, Record, payload
from driftline.capture.sampler import FAILED
from driftline.errors import DriftlineError

if TYPE_CHECKING:
    from datetime import datetime

    from driftline.capture.privacy import Policy
    from driftline.capture.sampler import Samplings
    from driftline.objects.store import ObjectStore

STORE_UNAVAILABLE = "store unavailable"
NOT_ENCODABLE = "cannot be written as JSON"
POLICY_FAILED = "privacy policy failed"
_POLL_S = 0.1
_SLICE = 32  # records between two chances for other threads: encoding in one go would hold the GIL for milliseconds
_OPEN_FILES = 2  # a clock that goes back and forth over a full hour must not close a file with every record
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0


class Destination(Struct, frozen=True):
    """Where the records go, how they are encoded, and when a file is closed."""

    store: ObjectStore
    samplings: Samplings
    content_types: ContentTypes
    roll_after_s: float
    max_file_bytes: int
    """A file is closed when it has grown to this; twice as much may wait in memory while the store is away."""
    privacy: Policy | None = None
    """What is done to every record before it is encoded."""


class _File(Struct):
    place: Place
    key: str
    opened_s: float
    lines: list[bytes] = field(default_factory=list)
    size: int = 0


class Writer(Thread):
    """Drains the buffer until it is ordered to end. A failed write is repeated, with ever longer pauses between."""

    def __init__(self, destination: Destination, buffer: Buffer) -> None:
        super().__init__(name="driftline-capture", daemon=True)
        self.id = new_id()
        self._to = destination
        self._buffer = buffer
        self._open: dict[Place, _File] = {}
        self._closed: deque[_File] = deque()
        self._delay_s = 0.0
        self._retry_at_s = 0.0
        self._counted_at_s = time.monotonic()

    def run(self) -> None:
        """Write until an order with a deadline has been carried out."""
        while True:
            try:
                order = self._buffer.bell.get(timeout=_POLL_S)
            except Empty:
                order = None
            self._encode(self._buffer.take())
            if order is None:
                self._roll(time.monotonic() - self._to.roll_after_s)
                self._store(time.monotonic())
                continue
            self._carry_out(order)
            if order.deadline is not None:
                return

    def _carry_out(self, order: Order) -> None:
        self._roll(float("inf"))
        self._retry_at_s = 0.0
        self._store(time.monotonic())
        while self._closed and order.deadline is not None and time.monotonic() < order.deadline:
            time.sleep(_POLL_S)
            self._retry_at_s = 0.0
            self._store(time.monotonic())
        order.whole = not self._closed
        if order.deadline is not None:
            self._give_up(0)
        self._store_counters(self._buffer.unstored())
        order.done.set()

    def _encode(self, exchanges: list[Exchange]) -> None:
        for number, exchange in enumerate(exchanges, 1):
            place = self._buffer.place(exchange)
            try:
                record = self._protected(self._record(exchange), place)
                line = None if record is None else _encoded(record)
            except (AttributeError, TypeError, ValueError, OverflowError) as why:
                if self._buffer.lost(place, 1, NOT_ENCODABLE):
                    complain("a captured request was dropped: %s", why)
                continue
            if line is None:
                continue
            file = self._open.get(place) or self._open_file(place, exchange.at)
            file.lines.append(line)
            file.size += len(line) + 1
            if file.size >= self._to.max_file_bytes:
                self._close(file)
            if number % _SLICE == 0:
                time.sleep(0)

    def _record(self, exchange: Exchange) -> Record:
        return Record(
            event_id=exchange.event_id or new_id(),
            inferred_at=exchange.at.replace(microsecond=0),
            input=self._payload(exchange.request, exchange.request_content_type, exchange.request_truncated),
            output=self._payload(exchange.response, exchange.response_content_type, exchange.response_truncated),
            inference_id=exchange.inference_id,
            custom_attributes=exchange.custom_attributes,
            probability=exchange.probability,
            status=exchange.status if exchange.status is not None and exchange.status >= FAILED else None,
        )

    def _protected(self, record: Record, place: Place) -> Record | None:
        """The record as the policy lets it be stored; None where nothing of it may be, which is counted."""
        policy = self._to.privacy
        if policy is None:
            return record
        try:
            made, withheld, lost = policy.protect(record)
        except Exception as why:  # noqa: BLE001  whatever breaks a policy, what it protects must not be stored
            if self._buffer.lost(place, 1, POLICY_FAILED):
                complain("a captured request was dropped, since its privacy policy failed: %s", type(why).__name__)
            return None
        if withheld and made.input is None and made.output is None:
            if self._buffer.lost(place, 1, withheld[0]):
                complain("a captured request was dropped: %s", withheld[0])
            return None
        if (withheld or lost) and self._buffer.withheld(place, (*withheld, *lost)):
            complain("something was left out of a captured request: %s", ", ".join((*withheld, *lost)))
        return made

    def _payload(self, body: bytes | str | None, content_type: str | None, truncated: bool) -> Payload | None:
        if body is None:
            return None
        return payload(body, content_type, self._to.content_types.encoding(content_type), truncated=truncated)

    def _open_file(self, place: Place, at: datetime) -> _File:
        same = [file for file in self._open.values() if file.place[:2] == place[:2]]
        if len(same) >= _OPEN_FILES:
            self._close(min(same, key=lambda file: file.opened_s))
        file = self._open[place] = _File(
            place, captured_key(place.endpoint, place.variant, at, new_id()), time.monotonic()
        )
        return file

    def _roll(self, opened_before_s: float) -> None:
        for file in [file for file in self._open.values() if file.opened_s <= opened_before_s]:
            self._close(file)

    def _close(self, file: _File) -> None:
        del self._open[file.place]
        self._closed.append(file)
        # Here and not only in the loop: a long queue of large records may fill several files in one go.
        self._store(time.monotonic())

    def _store(self, now_s: float) -> None:
        stored: set[Place] = set()
        while self._closed and now_s >= self._retry_at_s:
            file = self._closed[0]
            try:
                self._to.store.put(file.key, b"\n".join([*file.lines, b""]))
            except (DriftlineError, OSError) as why:
                self._delay_s = min(_LONGEST_DELAY_S, self._delay_s * 2 or _FIRST_DELAY_S)
                self._retry_at_s = now_s + self._delay_s
                complain("captured requests could not be stored and wait in memory: %s", why)
                break
            self._closed.popleft()
            self._buffer.wrote(file.place, len(file.lines))
            self._delay_s = 0.0
            stored.add(file.place)
        self._give_up(2 * self._to.max_file_bytes)
        if now_s - self._counted_at_s >= self._to.roll_after_s:
            self._counted_at_s = now_s
            self._store_counters(self._buffer.unstored())
        elif stored:
            # An hour whose file is still open, or not yet begun, will be counted again when that is closed.
            self._store_counters([each for each in self._buffer.unstored() if each[0] in stored - self._open.keys()])

    def _give_up(self, most_bytes: int) -> None:
        held = sum(file.size for file in self._closed)
        while self._closed and held > most_bytes:
            file = self._closed.popleft()
            held -= file.size
            self._buffer.lost(file.place, len(file.lines), STORE_UNAVAILABLE)

    def _store_counters(self, changed: list[tuple[Place, Counters]]) -> None:
        to = self._to
        for place, counters in changed:
            try:
                put_counters(to.store, place, self.id, to.samplings, counters)
            except (DriftlineError, OSError) as why:
                complain("the counters of the capture could not be stored: %s", why)
                return
            self._buffer.stored(place, counters)


def _encoded(record: Record) -> bytes:
    try:
        return record.encode()
    except UnicodeEncodeError:
        return _storable(record).encode()


def _storable(record: Record) -> Record:
    return replace(
        record,
        event_id=storable(record.event_id),
        inference_id=record.inference_id and storable(record.inference_id),
        custom_attributes=tuple(map(storable, record.custom_attributes)),
        input=_storable_type(record.input),
        output=_storable_type(record.output),
    )


def _storable_type(side: Payload | None) -> Payload | None:
    return side and replace(side, content_type=side.content_type and storable(side.content_type))
