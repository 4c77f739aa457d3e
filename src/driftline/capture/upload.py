"""A thread that puts closed segments into the store: in order, each once, however often it has to try."""

from __future__ import annotations

import random
import time
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from driftline.capture.buffer import Order, complain
from driftline.capture.counters import put_counters
from driftline.capture.folder import WriterFolder, sweep, writer_folders
from driftline.capture.formats import format_of
from driftline.capture.outbox import Outbox
from driftline.capture.segments import Segment
from driftline.capture.tallies import Place, Tallies
from driftline.errors import Conflict, DriftlineError, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from driftline.capture.destination import Destination

DAMAGED = "spool damaged"
_POLL_S = 0.1
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0
_ADOPT_S = 60.0
_MOST_KEYS = 10


class _Pause(NamedTuple):
    delay_s: float = 0.0
    until_s: float = float("-inf")

    def longer(self, now_s: float) -> _Pause:
        """Twice as long, less a random part: many processes that lost one store must not come back as one."""
        delay_s = min(_LONGEST_DELAY_S, self.delay_s * 2 or _FIRST_DELAY_S)
        return _Pause(delay_s, now_s + delay_s * random.uniform(0.5, 1.0))  # noqa: S311


class Uploader:
    """Uploads what its own writer closes, and before it what dead writers have left in the same spool."""

    def __init__(self, destination: Destination, own: Outbox, spool: Path | None) -> None:
        self.bell: SimpleQueue[Order | None] = SimpleQueue()
        self._to = destination
        self._own = own
        self._adopted: list[Outbox] = []
        self._spool = spool
        self._pauses: dict[tuple[str, str], _Pause] = {}
        self._counted_s = time.monotonic()
        self._adopt_s = float("-inf")
        self._fault = self._telling = self._asking = _Pause()
        self._thread: Thread | None = None
        self._ended = False

    def start(self) -> None:
        """Start the thread, unless it has ended by an order. Raises RuntimeError where there is none to be had."""
        if self._ended:
            return
        if self._thread is not None:
            self._own.failures += 1
            complain("the thread that uploads captured requests has died; it is started again")
        self._thread = Thread(target=self._run, name="driftline-upload", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        order: Order | None = None
        while True:
            try:
                order = order or self._next()
                if order is not None and self._carry_out(order):
                    self._ended = True
                    return
                order = None
                self._ask(time.monotonic())
                self._adopt(time.monotonic())
                self._round(time.monotonic())
                self._fault = _Pause()
            except Exception as why:  # noqa: BLE001  whatever a store or a format raises: the thread must go on
                self._own.failures += 1
                self._own.troubled(f"{type(why).__name__}: {why}")
                complain("the upload of captured requests failed, and goes on: %s", why, trace=True)
                self._fault = self._fault.longer(time.monotonic())
                if order is not None and order.deadline is not None and time.monotonic() > order.deadline:
                    self._ended = True
                    order.done.set()
                    return
                time.sleep(self._fault.delay_s if order is None else _POLL_S)

    def abandon(self) -> None:
        """Let go of adopted folders, in a forked child: they are its parent's."""
        for outbox in self._adopted:
            if outbox.folder is not None:
                outbox.folder.release()

    def _next(self) -> Order | None:
        try:
            return self.bell.get(timeout=_POLL_S)
        except Empty:
            return None

    def _ask(self, now_s: float) -> None:
        """Find out, long before the first upload, whether the store can do what is asked of it then."""
        if self._own.conditional is None and now_s >= self._asking.until_s:
            try:
                self._own.conditional = self._to.store.enforces_conditions()
            except (DriftlineError, OSError) as why:
                self._asking = self._asking.longer(time.monotonic())
                self._own.troubled(str(why))
                complain("the store of the capture cannot be asked what it can do: %s", why)

    def _carry_out(self, order: Order) -> bool:
        """Upload everything now; whether that was the last order."""
        self._pauses.clear()
        self._telling = _Pause()
        self._round(time.monotonic())
        while self._own.waiting() and order.deadline is not None and time.monotonic() < order.deadline:
            time.sleep(_POLL_S)
            self._round(time.monotonic())
        order.whole = not self._own.waiting()
        if order.deadline is not None:
            self._own.give_up(0)
        told = self._store_counters(self._own)
        if order.deadline is not None:
            self._leave(told)
        order.done.set()
        return order.deadline is not None

    def _leave(self, told: bool) -> None:
        for outbox in (self._own, *self._adopted):
            folder = outbox.folder
            if folder is None:
                continue
            if outbox is self._own and told and not outbox.waiting():
                folder.remove()
            else:
                folder.release()  # what is left here is the next start's

    def _round(self, now_s: float) -> None:
        """Try every segment that is due once. A segment never overtakes another of the same endpoint and variant."""
        blocked: set[tuple[str, str]] = set()
        for outbox in (*self._adopted, self._own):
            sent = {s.place for s in outbox.waiting() if s.place[:2] not in blocked and self._try(outbox, s, blocked)}
            if sent and outbox is self._own:
                # An hour whose segment is still open, or not yet begun, will be counted again when that is closed.
                self._store_counters(outbox, sent - outbox.open)
        if now_s >= self._telling.until_s:
            whole = all(self._finish(outbox) for outbox in list(self._adopted) if not outbox.waiting())
            self._telling = _Pause() if whole else self._telling.longer(now_s)
        if now_s - self._counted_s >= self._to.roll_after_s:
            self._counted_s = now_s
            self._store_counters(self._own)
            self._own.tallies.forget()

    def _try(self, outbox: Outbox, segment: Segment, blocked: set[tuple[str, str]]) -> bool:
        lane = (segment.place.endpoint, segment.place.variant)
        pause = self._pauses.get(lane, _Pause())
        if time.monotonic() < pause.until_s:
            blocked.add(lane)
            return False
        if not outbox.begin(segment):
            return False
        sent = False
        try:
            self._send(outbox, segment)
            sent = True
            self._pauses.pop(lane, None)
        except (DriftlineError, OSError) as why:
            blocked.add(lane)
            self._pauses[lane] = pause.longer(time.monotonic())
            self._own.troubled(str(why))
            complain("captured requests could not be stored and wait: %s", why)
        finally:
            outbox.end(segment, sent=sent)
        return sent

    def _send(self, outbox: Outbox, segment: Segment) -> None:
        try:
            content = segment.read()
        except FileNotFoundError:
            complain("the spool file %s is gone", segment.file)
            self._settle(outbox, segment, 0, segment.records)
            return
        if content.lines:
            self._put(segment.head.key, content.lines)
        # Of a segment of this process it is known how many there were: what cannot be read any more is lost.
        records = len(content.lines)
        lost = max(segment.records - records, 0) if outbox is self._own else content.damaged
        if lost:
            complain("%d damaged records in the spool file %s", lost, segment.file)
        self._settle(outbox, segment, records, lost)

    def _put(self, key: str, lines: list[bytes]) -> None:
        kept = format_of(key)
        data = kept.convert(lines)
        stem, _, ending = key.rpartition(".")
        for number in range(1, _MOST_KEYS):
            name = key if number == 1 else f"{stem}-{number}.{ending}"
            try:
                self._to.store.put(name, data, if_absent=True)
                return
            except Conflict:
                # Uploaded before, by a process that was killed then, or whose answer was lost on the way.
                if kept.same(self._to.store.get(name), data):
                    return
                complain("object %s is there already and holds other records; another name is tried", name)
        raise Unavailable(f"objects with other records have all names that were tried for {key!r}")

    def _settle(self, outbox: Outbox, segment: Segment, written: int, lost: int) -> None:
        """Count what became of the segment, note it, and only then delete the segment.

        All with the lock held: a journal that is written anew meanwhile would not say that the segment is done.
        """
        folder = outbox.folder
        if folder is None or segment.file is None:
            self._count(outbox, segment, written, lost)
            return
        with folder.lock:
            self._count(outbox, segment, written, lost)
            try:
                folder.note([outbox.tallies.counted(segment.place)], done=segment.file.name)
            except OSError:
                segment.remove()  # the disk is full: this makes room for the note
                try:
                    folder.note([outbox.tallies.counted(segment.place)], done=segment.file.name)
                except OSError as why:
                    # The next note of this place holds these counts, too.
                    self._own.troubled(f"the journal of the spool cannot be written: {why}")
            segment.remove()

    def _count(self, outbox: Outbox, segment: Segment, written: int, lost: int) -> None:
        outbox.tallies.wrote(segment.place, written)
        if lost:
            outbox.tallies.lost(segment.place, lost, DAMAGED)

    def _finish(self, outbox: Outbox) -> bool:
        """All segments of a dead writer are in the store: now its counts are whole. Whether the store knows them."""
        for place, _, _ in outbox.tallies.open_counts():
            outbox.tallies.settle(place)
        if not self._store_counters(outbox):
            return False
        self._adopted.remove(outbox)
        if outbox.folder is not None:
            outbox.folder.remove()
        return True

    def _store_counters(self, outbox: Outbox, only: set[Place] | None = None) -> bool:
        """Put the counters that changed into the store; whether it knows all of them now."""
        for each in outbox.tallies.news("store"):
            if only is not None and each.place not in only:
                continue
            writer = f"{outbox.writer}-{each.part}" if each.part else outbox.writer
            try:
                put_counters(self._to.store, each.place, writer, outbox.in_force, each.counters, outbox.trouble)
            except (DriftlineError, OSError) as why:
                self._own.troubled(str(why))
                complain("the counters of the capture could not be stored: %s", why)
                return False
            outbox.tallies.told("store", [each])
        return True

    def _adopt(self, now_s: float) -> None:
        if self._spool is None or now_s - self._adopt_s < _ADOPT_S:
            return
        self._adopt_s = now_s
        sweep(self._spool)
        mine = {outbox.folder.path for outbox in (self._own, *self._adopted) if outbox.folder is not None}
        for path in writer_folders(self._spool):
            folder = WriterFolder.adopt(path) if path not in mine else None
            if folder is None:
                continue
            try:
                outbox = Outbox(folder.id, Tallies(), folder.in_force(), folder)
                for segment in folder.left(outbox.tallies, now_s):
                    outbox.add(segment)
            except (
                OSError,
                KeyError,
                TypeError,
                ValueError,
                DriftlineError,
            ) as why:  # whatever a damaged file reads as
                folder.release()
                self._own.troubled(f"the spool {path} of a dead process cannot be read: {why}")
                complain("the spool %s of a dead process cannot be read: %s", path, why)
                continue
            self._adopted.append(outbox)
