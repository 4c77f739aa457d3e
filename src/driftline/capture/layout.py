"""Where captured records, their counters and the labels lie: keys by endpoint and hour, UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from driftline.errors import InputError

if TYPE_CHECKING:
    from driftline.windows import Window

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOUR = "%Y/%m/%d/%H/"


def name(what: str, value: str) -> str:
    """`value`, if it can name a folder of its own: it never leads out of where it stands.

    >>> name("endpoint", "flights-2")
    'flights-2'
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise InputError(
            f"{what} {value!r} is not a name: use up to 63 letters, digits, hyphens, dots and underscores, "
            f"the first of them a letter or a digit"
        )
    return value


def captured_prefix(endpoint: str, variant: str, hour: datetime | None = None) -> str:
    """Where the captured records of a variant begin; with an hour, those of that hour."""
    prefix = f"captured/{name('endpoint', endpoint)}/{name('variant', variant)}/"
    return prefix if hour is None else prefix + utc(hour).strftime(_HOUR)


def captured_prefixes(endpoint: str, variant: str, window: Window) -> Iterator[str]:
    """The prefixes of the hours that the window touches."""
    return (captured_prefix(endpoint, variant, hour) for hour in window.hours())


def captured_key(endpoint: str, variant: str, first_at: datetime, file_id: str, ending: str = "jsonl") -> str:
    """The key of a capture file whose first record is of `first_at`; all its records are of that hour."""
    return f"{captured_prefix(endpoint, variant, first_at)}{_clock(first_at, 1000):s}-{file_id}.{ending}"


def captured_at(key: str) -> datetime:
    """The time of the first record of the capture file with this key.

    >>> captured_at("captured/flights/AllTraffic/2026/03/01/09/59-58-250-0f.jsonl").isoformat()
    '2026-03-01T09:59:58.250000+00:00'
    """
    year, month, day, hour, file = key.split("/")[-5:]
    minute, second, milliseconds = map(int, file.split("-")[:3])
    return datetime(int(year), int(month), int(day), int(hour), minute, second, milliseconds * 1000, UTC)


def counters_prefix(endpoint: str, variant: str) -> str:
    """Where the counters of a variant lie, beside its records."""
    return f"{captured_prefix(endpoint, variant)}_counters/"


def counters_key(endpoint: str, variant: str, hour: datetime, writer_id: str) -> str:
    """The key of what one writer counted in one hour."""
    return f"{counters_prefix(endpoint, variant)}{utc(hour).strftime(_HOUR)}{writer_id}.json"


def label_prefix(endpoint: str, hour: datetime | None = None) -> str:
    """Where the labels of an endpoint begin; with an hour, those that were uploaded in that hour."""
    prefix = f"labels/{name('endpoint', endpoint)}/"
    return prefix if hour is None else prefix + utc(hour).strftime(_HOUR)


def label_prefixes(endpoint: str, window: Window) -> Iterator[str]:
    """The prefixes of the hours of upload that the window touches."""
    return (label_prefix(endpoint, hour) for hour in window.hours())


def label_key(endpoint: str, at: datetime, ordinal: int) -> str:
    """The key of a label file: keys sort by the time of writing, and within a microsecond by `ordinal`."""
    return f"{label_prefix(endpoint, at)}{_clock(at, 1)}-{ordinal:06d}.jsonl"


def utc(at: datetime) -> datetime:
    """`at` in UTC. Raises InputError where it has no time zone."""
    if at.tzinfo is None:
        raise InputError(f"time {at.isoformat()} has no time zone; pass an aware one, such as datetime.now(UTC)")
    return at.astimezone(UTC)


def _clock(at: datetime, microseconds: int) -> str:
    at = utc(at)
    width = 3 if microseconds == 1000 else 6
    return f"{at:%M-%S}-{at.microsecond // microseconds:0{width}d}"
