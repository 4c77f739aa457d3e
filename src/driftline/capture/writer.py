"""A thread of its own encodes what was captured and spools it: in segments of one hour, each of whole records."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from queue import Empty
from threading import Thread
from typing import TYPE_CHECKING

from driftline.capture import state
from driftline.capture.buffer import Buffer, Exchange, Order, complain
from driftline.capture.cells import Cells
from driftline.capture.destination import Destination
from driftline.capture.folder import WriterFolder
from driftline.capture.given import NOTHING
from driftline.capture.ids import new_id
from driftline.capture.layout import captured_key
from driftline.capture.lines import PlainLines, line_of, record_of
from driftline.capture.outbox import Outbox
from driftline.capture.record import Record
from driftline.capture.segments import Head, Segment, is_full
from driftline.capture.spool import Room, Spool
from driftline.capture.tallies import Place
from driftline.capture.upload import Uploader

if TYPE_CHECKING:
    from datetime import datetime


POLICY_FAILED = "privacy policy failed"
NOT_ENCODABLE = "cannot be written as JSON"
DISK_FULL = "disk full"
SPOOL_FAILED = "spool cannot be written"
FAILED = "writer failed"
_POLL_S = 0.1
_BUSY_S = 0.03  # the same while requests come
_STEPS = 16  # a batch is written in about so many steps; who serves a request meanwhile may have to wait for one
_LEAST, _MOST = 4, 64  # records of a step: with fewer the change of threads costs the most, with more others wait long
_PAUSE_S = 0.001  # between two steps; with _BUSY_S, what was captured is in the spool after a tenth of a second
_BACKLOG = 2000  # with so many records to write the writer hurries
_SAVE_BYTES = 256 << 10
_OPEN_SEGMENTS = 2  # a clock that goes back and forth over a full hour must not close a segment with every record
_IDLE_S = 5.0  # a segment of an hour that is over is closed when nothing came for so long
_NOTE_S = 0.25
_SPOOL_S = 30.0


class Writer:
    """Drains the buffer into segments until it is ordered to end, in a thread that is started again where it died."""

    def __init__(self, destination: Destination, buffer: Buffer) -> None:
        self.id = new_id()
        self._to = destination
        self._buffer = buffer
        self._spool = destination.spool_folder()
        self.outbox = Outbox(self.id, buffer.tallies, destination.in_force)
        self.room = Room(destination.spool or Spool(), self._spool) if self._spool else None
        self.uploader = Uploader(destination, self.outbox, self._spool)
        self._plain = PlainLines(destination.content_types)
        self._batch: deque[Exchange] = deque()
        self._busy = False
        self._open: dict[Place, Segment] = {}
        self._touched: set[Segment] = set()
        self._noted_s = self._synced_s = time.monotonic()
        self._off_until_s = float("-inf")
        self._sync_failed = False
        self._noted_changes = 0
        self._noted_state: state.State | None = None
        self._thread: Thread | None = None

    def open(self) -> None:
        """Take a place in the spool, where there is one to be had."""
        self._folder(time.monotonic())

    def discard(self) -> None:
        """Leave the spool without ever having started: nothing is left there where nothing was counted."""
        folder = self.outbox.folder
        if folder is not None:
            if self._buffer.tallies.total().seen:
                folder.release()  # the next start counts it
            else:
                folder.remove()

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where there is none to be had."""
        self._thread = Thread(target=self._run, name="driftline-capture", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def lags(self) -> dict[tuple[str, str], float]:
        """How long the oldest records of each endpoint and variant have been on their way to the store, in seconds."""
        now_s, lags = time.monotonic(), dict.fromkeys(self._buffer.tallies.totals(), 0.0)
        for segment in (*self.outbox.waiting(), *list(self._open.values())):
            lane = segment.place[:2]
            lags[lane] = max(lags.get(lane, 0.0), now_s - segment.opened_s)
        return lags

    def _run(self) -> None:
        self.open()
        order: Order | None = None
        at_work = True
        while at_work:
            try:
                if not self.uploader.is_alive():
                    self.uploader.start()
                order = order or self._next()
                self._look(time.monotonic())
                self._drain(hurried=order is not None)
                self._tend(time.monotonic())
                if order is not None:
                    now, order = order, None
                    at_work = now.deadline is None
                    self._pass_on(now)
            except Exception as why:  # noqa: BLE001  the one place where this thread catches all: it must not die
                self._stumble(why)

    def abandon(self) -> None:
        """Let go of the spool, in a forked child: it is its parent's."""
        if self.outbox.folder is not None:
            self.outbox.folder.release()
        self.uploader.abandon()

    def _next(self) -> Order | None:
        try:
            return self._buffer.bell.get(timeout=_BUSY_S if self._busy else _POLL_S)
        except Empty:
            return None

    def _look(self, now_s: float) -> None:
        watch = self._to.watch
        if watch is not None and watch.look(now_s) and watch.trouble is not None:
            self.outbox.troubled(watch.trouble)

    def _stumble(self, why: Exception) -> None:
        self.outbox.failures += 1
        self.outbox.troubled(f"{type(why).__name__}: {why}")
        complain("the writer of the capture failed, and goes on: %s", why, trace=True)
        time.sleep(_POLL_S)

    def _pass_on(self, order: Order) -> None:
        for segment in list(self._open.values()):
            self._close(segment)
        try:
            self._note()
            self._sync()
        finally:  # who waits for the order must not wait for what went wrong here
            self.uploader.bell.put(order)

    def _drain(self, *, hurried: bool) -> None:
        self._batch.extend(self._buffer.take())
        self._busy = bool(self._batch)
        unsaved = number = 0
        step = min(max(_LEAST, len(self._batch) // _STEPS), _MOST)
        while self._batch:
            exchange = self._batch.popleft()
            place = self._buffer.place(exchange)
            try:
                unsaved += self._add(place, exchange)
            except (AttributeError, TypeError, ValueError, OverflowError) as why:
                if self._buffer.tallies.lost(place, 1, NOT_ENCODABLE):
                    complain("a captured request was dropped: %s", why)
            except Exception:
                self._buffer.tallies.lost(place, 1, FAILED)
                raise
            number += 1
            if unsaved >= _SAVE_BYTES:
                self._save()
                unsaved = 0
            if number % step == 0:
                time.sleep(0 if hurried or len(self._batch) > _BACKLOG else _PAUSE_S)
        self._save()

    def _add(self, place: Place, exchange: Exchange) -> int:
        now_s = time.monotonic()
        if self.room is not None and self._folder(now_s) is not None and self.room.look(now_s):
            if self._buffer.tallies.lost(place, 1, DISK_FULL):
                complain("the disk of the spool is full: capture pauses, and counts what it drops")
            return 0
        line = self._line(place, exchange)
        if line is None:
            return 0
        segment = self._open.get(place) or self._begin(place, exchange.at, now_s)
        segment.add(line, now_s)
        self._touched.add(segment)
        if segment.size + segment.unsaved_bytes >= self._to.max_file_bytes:
            self._save()
            if self._open.get(place) is segment:
                self._close(segment)
        return len(line)

    def _line(self, place: Place, exchange: Exchange) -> bytes | None:
        """The exchange as it is stored; None where nothing of it may be, which is counted."""
        if self._to.in_force.policy is None and (line := self._plain.line(exchange)) is not None:
            return line
        whole = record_of(exchange, self._to.content_types)
        if whole.input is None and whole.output is None and whole.status is None:
            if self._buffer.tallies.lost(place, 1, NOTHING):
                complain("a request was not captured: %s", NOTHING)
            return None
        record = self._protected(whole, place)
        return None if record is None else line_of(record)

    def _protected(self, record: Record, place: Place) -> Record | None:
        """The record as the policy lets it be stored; None where nothing of it may be, which is counted."""
        policy, tallies = self._to.in_force.policy, self._buffer.tallies
        if policy is None:
            return record
        try:
            made, withheld, lost = policy.protect(record)
        except Exception as why:  # noqa: BLE001  whatever breaks a policy, what it protects must not be stored
            if tallies.lost(place, 1, POLICY_FAILED):
                complain("a captured request was dropped, since its privacy policy failed: %s", type(why).__name__)
            return None
        if withheld and made.input is None and made.output is None:
            if tallies.lost(place, 1, withheld[0]):
                complain("a captured request was dropped: %s", withheld[0])
            return None
        if (withheld or lost) and tallies.withheld(place, (*withheld, *lost)):
            complain("something was left out of a captured request: %s", ", ".join((*withheld, *lost)))
        return made

    def _begin(self, place: Place, at: datetime, now_s: float) -> Segment:
        same = [segment for segment in self._open.values() if segment.place[:2] == place[:2]]
        if len(same) >= _OPEN_SEGMENTS:
            self._save()
            self._close(min(same, key=lambda segment: segment.opened_s))
        head = Head(captured_key(place.endpoint, place.variant, at, new_id(), self._to.format), *place)
        folder = self._folder(now_s)
        segment = Segment(head, None, now_s) if folder is None else folder.segment(head, now_s)
        self._open[place] = segment
        self.outbox.open = frozenset(self._open)
        return segment

    def _save(self) -> None:
        touched, self._touched = self._touched, set()
        failed: list[tuple[Segment, int, OSError]] = []
        for segment in touched:
            before = segment.size
            lost, why = segment.save()
            if self.room is not None and segment.file is not None:
                self.room.added(segment.size - before)
            if self.outbox.folder is not None:
                self.outbox.folder.saved(segment)
            if why is not None:
                failed.append((segment, lost, why))
        for each in failed:  # after all were saved: the failure of one may close the others, which are uploaded then
            self._unsaved(*each)
        if self._to.spool is not None and self._to.spool.sync_every_s == 0:
            self._sync()

    def _unsaved(self, segment: Segment, lost: int, why: OSError) -> None:
        full = is_full(why)
        if self._buffer.tallies.lost(segment.place, lost, DISK_FULL if full else SPOOL_FAILED):
            complain("captured requests could not be spooled: %s", why)
        self.outbox.troubled(f"the spool cannot be written: {why}")
        self._close(segment)
        if full and self.room is not None:
            self.room.shut(time.monotonic())
        elif not full:
            self._leave_spool(why)

    def _close(self, segment: Segment) -> None:
        if self._open.get(segment.place) is not segment:
            return  # closed already, as another one could not be saved
        del self._open[segment.place]
        if segment.records:
            self.outbox.add(segment)
            self.outbox.give_up(2 * self._to.max_file_bytes)
        self.outbox.open = frozenset(self._open)
        self.uploader.bell.put(None)

    def _tend(self, now_s: float) -> None:
        """What is due: close segments by age, note counts, sync."""
        for segment in [segment for segment in self._open.values() if self._is_due(segment, now_s)]:
            self._close(segment)
        if now_s - self._noted_s >= _NOTE_S:
            self._noted_s = now_s
            self._note()
        if self._to.spool is not None and now_s - self._synced_s >= self._to.spool.sync_every_s:
            self._synced_s = now_s
            self._sync()

    def _is_due(self, segment: Segment, now_s: float) -> bool:
        if now_s - segment.opened_s >= self._to.roll_after_s:
            return True
        over = any(
            other.place[:2] == segment.place[:2] and other.place.hour > segment.place.hour
            for other in self._open.values()
        )
        return over and now_s - segment.added_s >= _IDLE_S

    def _note(self) -> None:
        folder = self._folder(time.monotonic())
        if folder is None:
            return
        try:
            with folder.lock:
                news = self._buffer.tallies.news("journal")
                if news:
                    folder.note(news)
                    self._buffer.tallies.told("journal", news)
                self._note_in_force(folder)
                self._note_state(folder)
                folder.shorten(self._buffer.tallies)
        except OSError as why:
            self.outbox.troubled(f"the journal of the spool cannot be written: {why}")

    def _note_in_force(self, folder: WriterFolder) -> None:
        changes = self._to.in_force.changes
        if changes != self._noted_changes:
            folder.note_in_force(self._to.in_force)
            self._noted_changes = changes

    def _note_state(self, folder: WriterFolder) -> None:
        trouble = self.outbox.trouble
        at, what = (None, None) if trouble is None else trouble
        paused, own = self.room is not None and self.room.full, self.outbox
        now = state.State(os.getpid(), paused, own.conditional, own.failures, what, at)
        if now != self._noted_state:
            state.note(folder.path, now)
            self._noted_state = now

    def _sync(self) -> None:
        if self.outbox.folder is None:
            return
        try:
            self.outbox.folder.sync()
            self._sync_failed = False
        except OSError as why:
            self.outbox.troubled(f"the spool cannot be synced: {why}")
            if not self._sync_failed:  # it is tried again every second or so
                complain("the spool of the capture cannot be synced: %s", why)
            self._sync_failed = True

    def _folder(self, now_s: float) -> WriterFolder | None:
        """The folder in the spool; None, tried again later, where there cannot be one."""
        if self._spool is None or now_s < self._off_until_s:
            return None
        if self.outbox.folder is None:
            try:
                folder = self.outbox.folder = WriterFolder.open(self._spool, self.id)
                found = Cells.open(self.id)
                if found is not None:
                    self._buffer.tallies.expose(found)
                self._noted_changes, self._noted_state = 0, None
                with suppress(OSError):  # the disk is full: it is noted with the counts, once there is room
                    self._note_in_force(folder)
                    self._note_state(folder)
            except OSError as why:
                self._off_until_s = now_s + _SPOOL_S
                self.outbox.troubled(f"the spool cannot be opened: {why}")
                complain("captured requests wait in memory, not on the disk: the spool cannot be opened: %s", why)
        return self.outbox.folder

    def _leave_spool(self, why: OSError) -> None:
        complain("captured requests wait in memory, not on the disk: the spool cannot be written: %s", why)
        self._off_until_s = time.monotonic() + _SPOOL_S
        for segment in [segment for segment in self._open.values() if segment.file is not None]:
            self._close(segment)
        folder = self.outbox.folder
        if folder is not None and not folder.path.is_dir():
            self.outbox.folder = None  # somebody deleted it: make a new one
            folder.release()
