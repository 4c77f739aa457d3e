"""The rate limit: where too many records are to be expected, probabilities are halved; nothing is dropped blindly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import RLock

_FEWEST = 10.0  # records of a window: with fewer, chance alone would move the probabilities up and down
_ROOM = 0.8  # of the limit: a probability is doubled only where its double would leave a fifth unused
_CALM = 5  # windows without a halving that must pass before
LEAST = 1e-6
"""No probability is lowered below this: what a record of a smaller one stands for would drown all others."""


class Share:
    """The share of some of the requests: what was asked for, and what is in force."""

    __slots__ = ("arrived", "probability", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = self.probability = rate
        self.arrived = 0
        """Requests in the window at hand."""

    @property
    def expected(self) -> float:
        """Records that the requests of the window give on average, with the probability now in force."""
        return self.arrived * self.probability


class Limit:
    """Holds the records to be expected per second below `most`.

    It looks at the requests that came, never at which of them were chosen: so a probability does not depend on the
    ids, and weighing each record by 1 / probability stays exact. Always that share is halved which gives most records.
    Within a window (1 s, longer for a limit below 10 per second) the first halving comes when the limit is reached,
    the next ones after half as many records each: 64 times too many requests give four times the limit in their first
    second, and less than the limit from the second one on.
    """

    def __init__(self, shares: Sequence[Share], most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._shares = tuple(shares)
        self._most = most
        self._clock = clock
        self._window_s = max(1.0, _FEWEST / most)
        self._lock = RLock()  # a signal handler may capture too
        self._calm = 0
        self._begin(clock())

    def count(self, share: Share) -> None:
        """Count a request of this share, and change what is in force where it is time."""
        with self._lock:
            now = self._clock()
            if now >= self._end:
                self._turn(now)
            share.arrived += 1
            self._expected += share.probability
            if self._expected >= self._allowed:
                self._allowed += self._most * self._window_s / 2
                self._halve()

    def _begin(self, now: float) -> None:
        self._start = now
        self._end = now + self._window_s
        self._expected = 0.0
        self._allowed = self._most * self._window_s
        for share in self._shares:
            share.arrived = 0

    def _turn(self, now: float) -> None:
        most = self._most * (now - self._start)
        while self._sum() > most and self._halve():
            pass
        self._calm += int((now - self._start) / self._window_s)
        while self._calm >= _CALM and self._double(_ROOM * most):
            self._calm -= _CALM
        self._begin(now)

    def _sum(self) -> float:
        return sum(share.expected for share in self._shares)

    def _halve(self) -> bool:
        most = max(self._shares, key=lambda share: share.expected)
        if most.expected == 0 or most.probability < 2 * LEAST:
            return False
        most.probability /= 2
        self._calm = 0
        return True

    def _double(self, most: float) -> bool:
        lowered = [share for share in self._shares if share.probability < share.rate]
        if not lowered:
            return False
        lowest = min(lowered, key=lambda share: share.probability / share.rate)
        if self._sum() + lowest.expected > most:
            self._calm = 0
            return False
        lowest.probability *= 2
        return True
