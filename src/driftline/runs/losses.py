"""What capture lost of a window, by its own account: by hour and reason, and how records weigh for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, Final

from driftline.capture.buffer import CLOSED, QUEUE_FULL
from driftline.capture.counters import Counters, stored_by_hour
from driftline.capture.outbox import STORE_UNAVAILABLE
from driftline.capture.tallies import KILLED
from driftline.capture.upload import DAMAGED
from driftline.capture.writer import DISK_FULL, FAILED, SPOOL_FAILED
from driftline.objects.store import ObjectStore
from driftline.windows import Window

BLIND: Final = frozenset(
    {QUEUE_FULL, CLOSED, DISK_FULL, SPOOL_FAILED, FAILED, DAMAGED, STORE_UNAVAILABLE, KILLED},
)
"""Reasons that take a record whatever it holds. Others, such as a body that cannot be kept, say something of it."""
LEAST: Final = 0.001
"""A smaller share of an hour is not weighed for: no interval would show it, and weighing writes all rows once more."""
PENDING: Final = "never written: the process ended, or is still at it"


@dataclass(frozen=True, slots=True)
class Losses:
    """The counters of capture for the hours that a window touches; without hours, nobody knows."""

    hours: Mapping[datetime, Counters] = field(default_factory=dict)

    @property
    def total(self) -> Counters:
        """All hours together."""
        return reduce(Counters.merge, self.hours.values(), Counters())

    @property
    def by_reason(self) -> dict[str, int]:
        """Requests that were chosen and of which there is no record, by reason."""
        total = self.total
        return dict(total.dropped) | ({PENDING: total.pending} if total.pending > 0 else {})

    @property
    def kept(self) -> dict[datetime, float]:
        """The share of the chosen requests that was not lost blindly, by hour: the rest is weighed for."""
        lost = {hour: sum(n for reason, n in c.dropped.items() if reason in BLIND) for hour, c in self.hours.items()}
        written = {hour: counters.written for hour, counters in self.hours.items() if counters.written}
        shares = {hour: count / (count + lost[hour]) for hour, count in written.items()}
        return {hour: share for hour, share in shares.items() if 1 - share >= LEAST}

    @property
    def note(self) -> str | None:
        """What a reader of the numbers has to know; None where nothing is missing."""
        missing, total = self.by_reason, self.total
        if not missing:
            return None
        lost = sum(missing.values())
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(missing.items()))
        share = lost / max(total.sampled, 1)
        weighed = (
            f"; records of {len(self.kept)} {'hour' if len(self.kept) == 1 else 'hours'} weigh for them"
            if self.kept
            else ""
        )
        return (
            f"capture has no record of {lost:,} of {total.sampled:,} chosen requests ({share:.2%}): {reasons}{weighed}"
        )

    def told(self) -> dict[str, Any] | None:
        """For JSON; None where nobody knows."""
        if not self.hours:
            return None
        lost = {hour: counters for hour, counters in self.hours.items() if counters.lost or counters.pending > 0}
        kept = self.kept
        return {
            **_told(self.total),
            "pending": max(self.total.pending, 0),
            "dropped": dict(self.total.dropped),
            "withheld": dict(self.total.withheld),
            "hours_with_losses": [
                {"hour": hour, **_told(counters), "weight": 1 / kept.get(hour, 1.0)}
                for hour, counters in sorted(lost.items())
            ],
        }


NOT_KNOWN: Final = Losses()
"""Nobody counted: the records were not captured by us, or not for this window."""


def losses(store: ObjectStore, endpoint: str, variant: str, window: Window) -> Losses:
    """What capture counted. Raises Corrupt."""
    return Losses(stored_by_hour(store, endpoint, variant, window))


def _told(counters: Counters) -> dict[str, Any]:
    return {
        "seen": counters.seen,
        "sampled": counters.sampled,
        "written": counters.written,
        "lost": counters.lost,
        "lost_share": counters.lost / counters.sampled if counters.sampled else 0.0,
    }
