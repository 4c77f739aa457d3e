"""The counts of every endpoint, variant and hour, and who was told of them: the store, and the journal of the spool."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Literal, NamedTuple, Protocol, TypeAlias

from driftline.capture.counters import Counters

KILLED = "process killed"
_KEPT = timedelta(hours=3)  # a clock that is set back by less finds its counts where they were
_NEVER = datetime.max.replace(tzinfo=UTC)

Listener: TypeAlias = Literal["store", "journal"]


class Place(NamedTuple):
    """Where a record belongs: what is counted, spooled and stored is kept apart by endpoint, variant and hour."""

    endpoint: str
    variant: str
    hour: datetime


class Cell(NamedTuple):
    """Where the counts of a place stand for others to read: `seen` and `sampled`, and those that wait."""

    slot: int
    counts: memoryview


class CellKeeper(Protocol):
    """Gives places their cells."""

    def cell(self, counted: Counted) -> Cell | None:
        """A cell for a place, with its counts; None where all are taken."""
        ...

    def release(self, cell: Cell) -> None:
        """Its counts are known elsewhere."""
        ...


class Tally:
    """The counts of one place, as they change."""

    __slots__ = ("cell", "dropped", "part", "sampled", "seen", "waiting", "waiting_chosen", "withheld", "written")

    def __init__(self, counters: Counters | None = None, part: int = 0) -> None:
        self.seen, self.sampled, self.written, dropped, withheld = counters or Counters()
        self.dropped: dict[str, int] = dict(dropped)
        self.withheld: dict[str, int] = dict(withheld)
        self.part = part
        """Above 0 where counts of the same place were closed before: the store keeps these beside those."""
        self.cell: Cell | None = None
        self.waiting = self.waiting_chosen = 0
        """Requests that are counted once their other part has come: they stand in the cell alone."""

    def saw(self, chosen: int) -> None:
        """Count a request: chosen (1) or not (0)."""
        self.seen = seen = self.seen + 1
        self.sampled = sampled = self.sampled + chosen
        if self.cell is not None:
            counts = self.cell[1]
            counts[0] = seen
            counts[1] = sampled

    def wait(self, requests: int = 0, chosen: int = 0) -> None:
        """So many more requests, of which some are chosen, wait for a part that is still to come."""
        self.waiting += requests
        self.waiting_chosen += chosen
        if self.cell is not None:
            counts = self.cell[1]
            counts[2] = self.waiting
            counts[3] = self.waiting_chosen

    def drop(self, reason: str, records: int = 1) -> bool:
        """Count losses; whether they are the first for this reason."""
        before = self.dropped.get(reason, 0)
        self.dropped[reason] = before + records
        return before == 0

    def counters(self) -> Counters:
        """The counts now."""
        return Counters(self.seen, self.sampled, self.written, dict(self.dropped), dict(self.withheld))


class Counted(NamedTuple):
    """The counts of a place at one moment."""

    place: Place
    part: int
    counters: Counters


class Tallies:
    """Tallies by place. `lock` is held for a few instructions, and is reentrant: a signal handler may capture too."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._cells: CellKeeper | None = None
        self._tallies: dict[Place, Tally] = {}
        self._past: dict[tuple[str, str], Counters] = {}
        self._past_until: dict[tuple[str, str], datetime] = {}
        self._parts = 0
        self._current: dict[tuple[str, str], datetime] = {}
        self._told: dict[Listener, dict[Place, Counters]] = {"store": {}, "journal": {}}
        self._changed: dict[Listener, set[Place]] = {"store": set(), "journal": set()}

    def current(self, place: Place) -> Tally:
        """The tally in which requests are counted from now on, without a note that it changed."""
        with self.lock:
            self._current[place[:2]] = place.hour
            tally = self.of(place)
            if self._cells is not None and tally.cell is None:
                tally.cell = self._cells.cell(self.counted(place))
                tally.wait()
            return tally

    def expose(self, cells: CellKeeper) -> None:
        """From now on the counts of the places that are counting stand in cells, too."""
        with self.lock:
            self._cells = cells
            for (endpoint, variant), hour in self._current.items():
                self.current(Place(endpoint, variant, hour))

    def of(self, place: Place) -> Tally:
        """The tally of the place, to be changed."""
        tally = self._tallies.get(place)
        if tally is None:
            part = 0
            until = self._past_until.get(place[:2])
            if until is not None and place.hour <= until:
                part = self._parts = self._parts + 1
            tally = self._tallies[place] = Tally(part=part)
        for changed in self._changed.values():
            changed.add(place)
        return tally

    def restore(self, counted: Counted) -> None:
        """Go on from counts that were kept elsewhere."""
        with self.lock:
            self._tallies[counted.place] = Tally(counted.counters, counted.part)
            self.of(counted.place)

    def rose(self, counted: Counted) -> None:
        """Raise counts to what the dead owner's cell says: they were restored as they had been noted."""
        place, part, counters = counted
        with self.lock:
            known = self._tallies.get(place)
            if known is None or known.part < part:
                self.restore(counted)
            elif known.part == part:
                known.seen, known.sampled = max(known.seen, counters.seen), max(known.sampled, counters.sampled)

    def wrote(self, place: Place, records: int) -> None:
        """Count records that are in the store now."""
        with self.lock:
            self.of(place).written += records

    def lost(self, place: Place, records: int, reason: str) -> bool:
        """Count records that will never be in the store; whether they are the first of their place and reason."""
        with self.lock:
            return self.of(place).drop(reason, records)

    def withheld(self, place: Place, reasons: Iterable[str]) -> bool:
        """Count what a privacy policy kept out of a record; whether one of the reasons is the first of its place."""
        with self.lock:
            counts = self.of(place).withheld
            first = False
            for reason in reasons:
                first = first or reason not in counts
                counts[reason] = counts.get(reason, 0) + 1
            return first

    def settle(self, place: Place) -> None:
        """Make the counts of a process that was killed whole: all that it had spooled is in the store.

        What it had spooled after it last noted its counts raises them; what it had counted and never spooled is lost.
        """
        with self.lock:
            tally = self.of(place)
            pending = tally.counters().pending
            if pending > 0:
                tally.drop(KILLED, pending)
            else:
                tally.seen -= pending
                tally.sampled -= pending

    def total(self) -> Counters:
        """The counters over all places."""
        total = Counters()
        for counters in self.totals().values():
            total = total.merge(counters)
        return total

    def totals(self) -> dict[tuple[str, str], Counters]:
        """The counters over all hours, by endpoint and variant."""
        with self.lock:
            totals = dict(self._past)
            for place, tally in self._tallies.items():
                totals[place[:2]] = totals.get(place[:2], Counters()).merge(tally.counters())
            return totals

    def news(self, listener: Listener) -> list[Counted]:
        """The places whose counters changed since the listener was told, with their counters now."""
        with self.lock:
            told = self._told[listener]
            news: list[Counted] = []
            for place in sorted(self._changed[listener]):
                each = self.counted(place)
                if told.get(place) != each.counters:
                    news.append(each)
                else:
                    self._unchanged(listener, place)
            return news

    def counted(self, place: Place) -> Counted:
        """The counts of the place now."""
        with self.lock:
            tally = self._tallies[place]
            return Counted(place, tally.part, tally.counters())

    def told(self, listener: Listener, news: Iterable[Counted]) -> None:
        """Remember that the listener knows these counters."""
        with self.lock:
            for place, _, counters in news:
                if place not in self._tallies:
                    continue
                self._told[listener][place] = counters
                if self._tallies[place].counters() == counters:
                    self._unchanged(listener, place)

    def _unchanged(self, listener: Listener, place: Place) -> None:
        # The current hour stays: requests are counted there without a note that it changed.
        # And so does one that waits for parts of requests: it is known to its cell alone.
        if place.hour != self._current.get(place[:2]) and not self._tallies[place].waiting:
            self._changed[listener].discard(place)
            if listener == "journal":
                self._conceal(self._tallies[place])

    def _conceal(self, tally: Tally) -> None:
        if self._cells is not None and tally.cell is not None:
            self._cells.release(tally.cell)
            tally.cell = None

    def forget(self) -> None:
        """Close what is long over and known to the store: memory must not grow with the hours."""
        with self.lock:
            for place, tally in list(self._tallies.items()):
                counters = tally.counters()
                current = self._current.get(place[:2], _NEVER)
                if current - place.hour < _KEPT and place.hour - current < _KEPT:
                    continue
                if tally.waiting or counters.pending or self._told["store"].get(place) != counters:
                    continue
                lane = place[:2]
                self._past[lane] = self._past.get(lane, Counters()).merge(counters)
                self._past_until[lane] = max(self._past_until.get(lane, place.hour), place.hour)
                self._conceal(tally)
                del self._tallies[place]
                for listener in self._told:
                    self._told[listener].pop(place, None)
                    self._changed[listener].discard(place)

    def open_counts(self) -> list[Counted]:
        """The counts of all places that are not closed, by place."""
        with self.lock:
            return [self.counted(place) for place in sorted(self._tallies)]
