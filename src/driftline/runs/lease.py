"""Time passes while work is done: the clock of the work goes on, and the lease of its run is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread
from time import monotonic

from driftline.catalog.ledger import LEASE, Ledger, Run
from driftline.errors import Conflict, Unavailable


@dataclass(frozen=True, slots=True)
class Passing:
    """The time, which was `start` when this was made, in steps of whole seconds."""

    start: datetime
    _began: float = field(default_factory=monotonic)

    def now(self) -> datetime:
        """The time by now: a lease that is counted from the start of a long round would be over too early."""
        return self.start + timedelta(seconds=int(monotonic() - self._began))


@contextmanager
def kept(run: Run, ledger: Ledger, time: Passing, lease: timedelta = LEASE) -> Iterator[None]:
    """Extend the lease of the run again and again, until the work on it ends."""
    ended = Event()

    def keep() -> None:
        while not ended.wait(lease.total_seconds() / 3):
            # Who has lost the run hears of it when the result is recorded.
            with suppress(Conflict, Unavailable):
                ledger.extend(run, time.now(), lease)

    keeper = Thread(target=keep, name=f"lease of run {run.id}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
