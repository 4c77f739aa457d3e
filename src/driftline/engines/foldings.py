"""What a scan has taken in so far: foldings that go from task to task, so that few states are made and merged.

A folding serves one thread at a time, and there are never more of one summary than threads that fold it at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final, TypeAlias

from driftline.states.folding import Folding, folding
from driftline.states.state import AnySummary

Parts: TypeAlias = dict[AnySummary, Any]
"""States by summary."""
_Key: TypeAlias = tuple[int, AnySummary]
_IDLE: Final = 64
"""So many foldings wait for the next task (each may hold half a megabyte); more are made into states."""


class Foldings:
    """The foldings of each summary over each span. Any thread may borrow some and give them back."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: dict[_Key, list[Folding[Any]]] = {}  # what was used last comes last
        self._count = 0
        self._states: dict[int, Parts] = defaultdict(dict)

    @contextmanager
    def lent(self, summaries: Sequence[AnySummary]) -> Iterator[Callable[[int], Sequence[Folding[Any]]]]:
        """Gives the foldings of a span for this thread; what they take in counts once the block has ended well."""
        own: dict[int, list[Folding[Any]]] = {}

        def of_span(span: int) -> list[Folding[Any]]:
            if span not in own:
                own[span] = [self._take((span, summary)) for summary in summaries]
            return own[span]

        yield of_span
        for span, foldings in own.items():
            for summary, each in zip(summaries, foldings, strict=True):
                self._give((span, summary), each)

    def states(self) -> dict[int, Parts]:
        """The states of all that was taken in, by span; nothing is lent any more."""
        while self._idle:
            self._close_oldest()
        return dict(self._states)

    def _take(self, key: _Key) -> Folding[Any]:
        with self._lock:
            waiting = self._idle.pop(key, None)
            if waiting is None:
                return folding(key[1])
            self._count -= 1
            found = waiting.pop()
            if waiting:
                self._idle[key] = waiting
            return found

    def _give(self, key: _Key, each: Folding[Any]) -> None:
        with self._lock:
            self._idle[key] = [*self._idle.pop(key, ()), each]
            self._count += 1
            while self._count > _IDLE:
                self._close_oldest()

    def _close_oldest(self) -> None:
        key = next(iter(self._idle))
        span, summary = key
        parts = self._states[span]
        for each in self._idle.pop(key):
            self._count -= 1
            state = each.state()
            parts[summary] = parts[summary].merge(state) if summary in parts else state
