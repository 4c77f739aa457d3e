"""Requests and answers that come apart: each waits for the other, but neither for ever nor in any number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

from driftline.capture.bodies import Packed
from driftline.capture.routes import Asked
from driftline.capture.sampler import Choice

Side: TypeAlias = Literal["request", "response"]
NO_ANSWER = "no answer came"
NO_REQUEST = "no request came"
CROWDED = "too many requests without an answer"
AMBIGUOUS = "one id for several requests"


class Part(NamedTuple):
    """One side of an exchange."""

    at: datetime
    body: bytes | Packed | None
    """None where it is not to be kept."""
    content_type: str | None
    truncated: bool
    status: int | None = None


class Pair:
    """An exchange of which one side is still to come."""

    __slots__ = (
        "_came",
        "asked",
        "attributes",
        "choice",
        "counted",
        "counted_at",
        "inference_id",
        "request",
        "response",
        "since",
        "size",
    )

    def __init__(
        self, asked: Asked, inference_id: str, attributes: tuple[str, ...], choice: Choice, since: float
    ) -> None:
        self.asked, self.inference_id, self.attributes, self.choice = asked, inference_id, attributes, choice
        self.since = since
        """When its first side came, by a clock that only runs forward."""
        self.request: Part | None = None
        self.response: Part | None = None
        self.size = 0
        self.counted = 0
        """So many of its requests are counted as waiting …"""
        self.counted_at: datetime | None = None
        """… at this time."""
        self._came = {"request": 0, "response": 0}

    def put(self, side: Side, part: Part) -> None:
        """A side has come. A second one of the same kind may belong to either: no side is kept then."""
        self._came[side] += 1
        if self.ambiguous:
            part = part._replace(body=None)
            self.request, self.response, self.size = self.request or part, None, 0
            return
        setattr(self, side, part)
        self.size += len(part.body or b"")

    @property
    def ambiguous(self) -> bool:
        """Whether a side came more than once."""
        return max(self._came.values()) > 1

    @property
    def whole(self) -> bool:
        """Whether both sides are there."""
        return self.request is not None and self.response is not None

    @property
    def at(self) -> datetime:
        """When the model was asked, as far as is known."""
        part = self.request or self.response
        assert part is not None  # noqa: S101  a pair begins with a side
        return part.at

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return max(self._came.values())

    @property
    def why_lost(self) -> str:
        """What is missing."""
        if self.ambiguous:
            return AMBIGUOUS
        return NO_ANSWER if self.response is None else NO_REQUEST


class Pairs:
    """The exchanges that wait for their other side, the oldest first.

    Args:
        most: how many may wait …
        most_bytes: … and how long their bodies may be together.
        timeout_s: how long one waits.
    """

    def __init__(self, most: int, most_bytes: int, timeout_s: float) -> None:
        self._waiting: OrderedDict[Hashable, Pair] = OrderedDict()
        self._most, self._most_bytes, self._timeout_s = most, most_bytes, timeout_s
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, key: Hashable) -> Pair | None:
        """The one that waits under this key."""
        return self._waiting.get(key)

    def put(self, key: Hashable, pair: Pair, side: Side, part: Part) -> bool:
        """A side of `pair` has come; whether it is whole now, and waits no more."""
        before = pair.size
        pair.put(side, part)
        self._waiting.setdefault(key, pair)
        self.bytes += pair.size - before
        if pair.whole:
            self._drop(key)
        return pair.whole

    def crowded(self) -> Iterator[Pair]:
        """Those that must go for want of room."""
        while len(self._waiting) > self._most or (self.bytes > self._most_bytes and self._waiting):
            yield self._drop(next(iter(self._waiting)))

    def expired(self, now: float) -> Iterator[Pair]:
        """Those that have waited too long."""
        while self._waiting:
            key, pair = next(iter(self._waiting.items()))
            if now - pair.since < self._timeout_s:
                return
            yield self._drop(key)

    def rest(self) -> Iterator[Pair]:
        """All that wait."""
        while self._waiting:
            yield self._drop(next(iter(self._waiting)))

    def _drop(self, key: Hashable) -> Pair:
        pair = self._waiting.pop(key)
        self.bytes -= pair.size
        return pair


class Remembered:
    """What came lately, to know it when it comes again; the last `most` of it."""

    def __init__(self, most: int) -> None:
        self._known: OrderedDict[int, None] = OrderedDict()
        self._most = most

    def again(self, what: int) -> bool:
        """Whether it came before."""
        if what in self._known:
            return True
        self._known[what] = None
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return False
