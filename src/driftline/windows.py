"""Closed time windows [start, end) in UTC, and the schedules that close them. Daylight saving lives here alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from driftline.errors import InputError


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """[start, end), both aware UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise InputError(f"window {self.start}/{self.end} has no time zone; write times as 2026-03-01T00:00:00Z")
        if self.start >= self.end:
            raise InputError(f"window {self} is empty or runs backwards: its start must lie before its end")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    def __str__(self) -> str:
        return f"{stamp(self.start)}/{stamp(self.end)}"

    def __contains__(self, at: datetime) -> bool:
        return self.start <= at < self.end

    @property
    def length(self) -> timedelta:
        """How long the window lasts."""
        return self.end - self.start

    def hours(self) -> Iterator[datetime]:
        """The starts of the full hours that the window touches."""
        hour = self.start.replace(minute=0, second=0, microsecond=0)
        while hour < self.end:
            yield hour
            hour += timedelta(hours=1)


def stamp(at: datetime) -> str:
    """`at` as 2026-03-01T00:00:00Z, whole seconds.

    >>> stamp(datetime(2026, 3, 1, tzinfo=UTC))
    '2026-03-01T00:00:00Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
