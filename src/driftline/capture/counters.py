"""What became of the requests: every one that was seen is in one of these counts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from driftline.capture.layout import counters_key, counters_prefix, utc
from driftline.errors import Corrupt

if TYPE_CHECKING:
    from driftline.objects.store import ObjectStore
    from driftline.windows import Window


class Counters(Struct):
    """Requests by what became of them."""

    seen: int = 0
    """Requests that the tap saw, captured or not."""
    sampled: int = 0
    """Requests that were chosen to be captured."""
    written: int = 0
    """Records that are in the store."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Chosen, and lost: by reason."""

    @property
    def lost(self) -> int:
        """Chosen requests whose record will never be in the store."""
        return sum(self.dropped.values())

    @property
    def pending(self) -> int:
        """Chosen requests that are still on their way; what a killed process had pending is lost."""
        return self.sampled - self.written - self.lost

    def drop(self, reason: str, records: int = 1) -> None:
        """Count records as lost."""
        self.dropped[reason] = self.dropped.get(reason, 0) + records

    def add(self, other: Counters) -> None:
        """Count what `other` counted as well."""
        self.seen += other.seen
        self.sampled += other.sampled
        self.written += other.written
        for reason, records in other.dropped.items():
            self.drop(reason, records)

    def copy(self) -> Counters:
        """The counts as they are now."""
        return Counters(self.seen, self.sampled, self.written, dict(self.dropped))


class _Stored(Struct):
    version: str
    hour: datetime
    writer: str
    sampling: float
    counters: Counters


def put_counters(
    store: ObjectStore, endpoint: str, variant: str, hour: datetime, writer: str, sampling: float, counters: Counters
) -> None:
    """Store what one writer counted for the requests of one hour; its next count replaces it."""
    data = msgspec.json.encode(_Stored("0", utc(hour), writer, sampling, counters))
    store.put(counters_key(endpoint, variant, hour, writer), data + b"\n")


def stored_counters(store: ObjectStore, endpoint: str, variant: str, window: Window) -> Counters:
    """What all writers counted in the hours that the window touches."""
    total = Counters()
    for hour in window.hours():
        for entry in store.list(f"{counters_prefix(endpoint, variant)}{hour:%Y-%m-%d-%H}-"):
            try:
                total.add(msgspec.json.decode(store.get(entry.key), type=_Stored).counters)
            except (msgspec.MsgspecError, UnicodeError) as why:
                raise Corrupt(f"object {entry.key!r}: not the counters of a capture: {why}") from why
    return total
