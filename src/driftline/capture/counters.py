"""What became of the requests: every one that was seen is in one of these counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from driftline.capture.layout import counters_key, counters_prefix, utc
from driftline.errors import Corrupt

if TYPE_CHECKING:
    from driftline.capture.in_force import InForce
    from driftline.capture.outbox import Trouble
    from driftline.capture.tallies import Place
    from driftline.objects.store import ObjectStore
    from driftline.windows import Window


class Counters(NamedTuple):
    """Requests by what became of them."""

    seen: int = 0
    """Requests that the tap saw, captured or not."""
    sampled: int = 0
    """Requests that were chosen to be captured."""
    written: int = 0
    """Records that are in the store."""
    dropped: Mapping[str, int] = MappingProxyType({})
    """Chosen, and lost: by reason."""
    withheld: Mapping[str, int] = MappingProxyType({})
    """Payloads that a privacy policy kept out of their records, and values that it left out, by reason; the records are
    among those that are written."""

    @property
    def lost(self) -> int:
        """Chosen requests whose record will never be in the store."""
        return sum(self.dropped.values())

    @property
    def pending(self) -> int:
        """Chosen requests that are still on their way; what a killed process had pending is lost."""
        return self.sampled - self.written - self.lost

    def merge(self, other: Counters) -> Counters:
        """The counts of both."""
        return Counters(
            self.seen + other.seen,
            self.sampled + other.sampled,
            self.written + other.written,
            _sum(self.dropped, other.dropped),
            _sum(self.withheld, other.withheld),
        )

    def encode(self, **about: object) -> bytes:
        """The counts as one JSON object, after what they are about."""
        import msgspec  # slow to import: not before something is written

        told: dict[str, Any] = about | self._asdict() | {"dropped": dict(self.dropped)}
        if not told.pop("withheld"):
            return msgspec.json.encode(told)
        return msgspec.json.encode(told | {"withheld": dict(self.withheld)})

    @classmethod
    def decode(cls, data: bytes) -> Counters:
        """The counts whose `encode` gave `data`. Raises Corrupt."""
        import msgspec

        try:
            found = {"withheld": {}} | msgspec.json.decode(data, type=dict[str, Any])
            return msgspec.convert([found[name] for name in cls._fields], Counters)
        except (msgspec.MsgspecError, UnicodeError, KeyError) as why:
            raise Corrupt(f"not the counters of a capture: {why}") from why


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    total = dict(one)
    for reason, count in other.items():
        total[reason] = total.get(reason, 0) + count
    return total


def put_counters(
    store: ObjectStore,
    place: Place,
    writer: str,
    in_force: InForce,
    counters: Counters,
    trouble: Trouble | None = None,
) -> None:
    """Store what one writer counted for the requests of one hour; its next count replaces it.

    Beside the counts stand the sampling that is asked for now, and the samplings and field policies that were in force
    in the hour, since when; and what went wrong last.

    Not durable: what a power cut takes from the counters, it takes from the requests that wait in memory as well.
    """
    endpoint, variant, hour = place
    data = counters.encode(
        version="0",
        hour=f"{utc(hour):%Y-%m-%dT%H:00:00Z}",
        writer=writer,
        **in_force.told(hour, hour + timedelta(hours=1)),
        **({} if trouble is None else {"error": trouble.what, "error_at": trouble.at}),
    )
    store.put(counters_key(endpoint, variant, hour, writer), data + b"\n", durable=False)


def stored_counters(store: ObjectStore, endpoint: str, variant: str, window: Window) -> Counters:
    """What all writers counted in the hours that the window touches."""
    return reduce(Counters.merge, stored_by_hour(store, endpoint, variant, window).values(), Counters())


def stored_by_hour(store: ObjectStore, endpoint: str, variant: str, window: Window) -> dict[datetime, Counters]:
    """The same for each of these hours in which a writer counted something. Raises Corrupt."""
    found: dict[datetime, Counters] = {}
    for hour in window.hours():
        for entry in store.list(f"{counters_prefix(endpoint, variant)}{hour:%Y/%m/%d/%H}/"):
            if entry.size == 0:  # what a power cut left
                continue
            try:
                found[hour] = found.get(hour, Counters()).merge(Counters.decode(store.get(entry.key)))
            except Corrupt as why:
                raise Corrupt(f"object {entry.key!r}: {why}") from why
    return found
