"""Closed time windows [start, end) in UTC, and the schedules that close them. Daylight saving lives here alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from math import ceil
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from driftline.errors import InputError

HOUR: Final = timedelta(hours=1)
_LONGEST: Final = timedelta(days=3660)


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
            hour += HOUR


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a monitor looks, and at which window.

    Without offsets a window reaches from one fire of the schedule to the next, so windows partition time.
    Offsets count back from the scheduled time; whole days of an offset are calendar days of the zone.

    Raises:
        InputError: the expression or the zone cannot be read, or the offsets give an empty window.
    """

    expression: str
    """`hourly`, `daily`, `weekly`, a cron expression of five fields, or one of Model Monitor's `cron(…)`."""
    zone: str = "UTC"
    """IANA name of the time zone in which the expression is read."""
    start_offset: timedelta | None = None
    """How far before the scheduled time the window starts; a minus sign is accepted and changes nothing."""
    end_offset: timedelta | None = None
    grace: timedelta = timedelta(0)
    """How long after the scheduled time a run waits for late records and labels."""
    late: timedelta = timedelta(0)
    """How long after the grace period late labels still make a new revision of the window."""

    def __post_init__(self) -> None:
        zone_of(self.zone)
        _rhythm(self.expression)
        for name in ("grace", "late"):
            if not timedelta(0) <= getattr(self, name) <= _LONGEST:
                raise InputError(f"{name} of schedule {self.expression!r} must lie between PT0S and P3660D")
        for name in ("start_offset", "end_offset"):
            offset: timedelta | None = getattr(self, name)
            if offset is not None and abs(offset) > _LONGEST:
                raise InputError(f"{name} of schedule {self.expression!r} reaches back more than P3660D")
            object.__setattr__(self, name, None if offset is None else abs(offset))
        self._check_offsets()

    def _check_offsets(self) -> None:
        start, end = self.start_offset, self.end_offset or timedelta(0)
        if start is None:
            if self.end_offset is not None:
                raise InputError(
                    f"schedule {self.expression!r} has an end_offset without a start_offset; "
                    f"give both, such as start_offset: -P2D and end_offset: -P1D"
                )
        # A day of the calendar may be an hour shorter than 24 hours.
        elif start <= end or (start.days != end.days and self.zone != "UTC" and start - end <= 2 * HOUR):
            raise InputError(
                f"schedule {self.expression!r} gives an empty window: start_offset {duration_text(start)} must reach "
                f"further back than end_offset {duration_text(end)}"
            )

    def ready_at(self, scheduled_at: datetime) -> datetime:
        """From when on the run may start: after the grace period."""
        return scheduled_at + self.grace

    @property
    def windows_per_month(self) -> float:
        """How many windows close in an average month (a twelfth of 365.25 days)."""
        return _windows_per_month(self)


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """A window that a schedule has closed."""

    scheduled_at: datetime
    window: Window


def due(schedule: Schedule, after: datetime, until: datetime) -> Iterator[Due]:
    """The windows whose scheduled time lies after `after` and whose grace period is over by `until`, in order.

    A run that was scheduled at `after` itself is not repeated, so the last scheduled time that was handled is
    what to pass: nothing is left out and nothing comes twice.

    >>> start = datetime(2026, 3, 1, tzinfo=UTC)
    >>> [str(d.window) for d in due(Schedule("daily"), start, start + timedelta(days=1))]
    ['2026-03-01T00:00:00Z/2026-03-02T00:00:00Z']
    """
    rhythm, zone = _rhythm(schedule.expression), zone_of(schedule.zone)
    previous = _before(schedule, after)
    for wall, at in _fires(schedule, previous[1] if previous else after):
        if schedule.ready_at(at) > until:
            return
        if at > after:
            if schedule.start_offset is not None:
                clock = None if rhythm.elapsed else wall
                start = _back(clock, at, schedule.start_offset, zone)
                end = _back(clock, at, schedule.end_offset or timedelta(0), zone)
            elif rhythm.period is not None:
                start, end = at - rhythm.period, at
            else:
                start, end = (previous[1] if previous else at - timedelta(days=1)), at
            yield Due(at, Window(start, end))
        previous = (wall, at)


def stamp(at: datetime) -> str:
    """`at` as 2026-03-01T00:00:00Z, whole seconds.

    >>> stamp(datetime(2026, 3, 1, tzinfo=UTC))
    '2026-03-01T00:00:00Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """A date (midnight UTC) or a time with its zone, as aware UTC.

    >>> stamp(parse_time("2026-03-01T02:00:00+02:00"))
    '2026-03-01T00:00:00Z'
    """
    stripped = text.strip()
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", stripped):
            return datetime.combine(date.fromisoformat(stripped), time(), UTC)
        at = datetime.fromisoformat(stripped)
    except ValueError as why:
        raise InputError(f"{text!r} is not a time ({why}); write it as 2026-03-01T00:00:00Z or 2026-03-01") from why
    if at.tzinfo is None:
        raise InputError(f"time {text!r} has no time zone; write 2026-03-01T00:00:00Z, or +02:00 in place of Z")
    if at.microsecond:
        raise InputError(f"time {text!r} has fractions of a second; windows begin and end on whole seconds")
    try:
        return at.astimezone(UTC)
    except OverflowError as why:
        raise InputError(f"time {text!r} lies outside the years 1 to 9999") from why


def parse_window(text: str) -> Window:
    """A window written START/END, START/DURATION or DURATION/END.

    >>> str(parse_window("2026-03-01/P1D"))
    '2026-03-01T00:00:00Z/2026-03-02T00:00:00Z'
    """
    left, slash, right = text.strip().partition("/")
    if not slash or not left or not right or "/" in right:
        raise InputError(
            f"{text!r} is not a window; write START/END, such as 2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"
        )
    left_lasts, right_lasts = "P" in left.upper(), "P" in right.upper()
    if left_lasts and right_lasts:
        raise InputError(f"window {text!r} has two durations and no time; write 2026-03-01/P1D")
    try:
        if right_lasts:
            start = parse_time(left)
            return Window(start, start + parse_duration(right))
        end = parse_time(right)
        return Window(end - parse_duration(left) if left_lasts else parse_time(left), end)
    except OverflowError as why:
        raise InputError(f"window {text!r} reaches outside the years 1 to 9999") from why


_NUMBER: Final = r"(\d+(?:[.,]\d+)?)"
# Model Monitor's guide prints -PT2D, so D is allowed after the T as well.
_DURATION: Final = re.compile(
    rf"([+-]?)P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?:{_NUMBER}D)?(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?"
)
_SECONDS: Final = (604800, 86400, 86400, 3600, 60, 1)


def parse_duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds, rounded down to whole seconds.

    >>> parse_duration("-P8D"), parse_duration("PT6H")
    (datetime.timedelta(days=-8), datetime.timedelta(seconds=21600))
    """
    found = _DURATION.fullmatch(text.strip().upper())
    parts = found.groups()[1:] if found else ()
    if found is None or not any(parts) or text.strip().upper().endswith("T"):
        hint = "months and years have no fixed length, write P30D" if re.match(r"[+-]?P[^T]*[YM]", text.strip()) else ""
        raise InputError(f"{text!r} is not a duration; {hint or 'write P1D, PT6H, PT30M or P1W'}")
    seconds = sum(Fraction(part.replace(",", ".")) * unit for part, unit in zip(parts, _SECONDS, strict=True) if part)
    try:
        length = timedelta(seconds=int(seconds))
    except OverflowError as why:
        raise InputError(f"duration {text!r} is too long") from why
    return -length if found[1] == "-" else length


def duration_text(length: timedelta) -> str:
    """`length` as an ISO 8601 duration, the inverse of `parse_duration`.

    >>> duration_text(timedelta(days=2)), duration_text(timedelta(hours=-30)), duration_text(timedelta(0))
    ('P2D', '-P1DT6H', 'PT0S')
    """
    seconds = int(abs(length).total_seconds())
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    parts = zip((hours, rest // 60, rest % 60), "HMS", strict=True)
    clock = "".join(f"{n}{unit}" for n, unit in parts if n)
    text = (f"{days}D" if days else "") + (f"T{clock}" if clock or not days else "")
    return ("-" if length < timedelta(0) else "") + "P" + (text if text != "T" else "T0S")


_SPOKEN: Final = (("years", 31557600), ("days", 86400), ("hours", 3600), ("minutes", 60))


def in_words(length: timedelta) -> str:
    """About how long that is, for people: the largest unit of which there are two.

    >>> in_words(timedelta(days=1136, hours=2)), in_words(timedelta(hours=47, minutes=3))
    ('3 years', '47 hours')
    """
    seconds = ceil(length.total_seconds())
    for name, unit in _SPOKEN:
        if seconds >= 2 * unit:
            return f"{round(seconds / unit)} {name}"
    return "1 second" if seconds == 1 else f"{seconds} seconds"


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """A schedule expression as five cron fields."""

    cron: str
    period: timedelta | None = None
    """The length of every window, where it is not simply the time since the fire before."""

    @property
    def elapsed(self) -> bool:
        """Whether it counts real hours rather than the hands of the clock: `*` in the field of hours."""
        return self.cron.split()[1] == "*"


_NAMED: Final = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1"}
_SIX: Final = re.compile(r"cron\(\s*0+ +(\*|\d{1,2})(?:/(\d{1,2}))? +(?:\? +\* +\*|\* +\* +\?) +\*\s*\)")


@lru_cache(maxsize=256)
def _rhythm(expression: str) -> _Rhythm:
    """The expression as cron fields. Raises InputError."""
    text = expression.strip()
    if text.lower() in _NAMED:
        return _Rhythm(_NAMED[text.lower()])
    if text.startswith("cron("):
        return _model_monitor(text)
    if len(text.split()) != 5:
        raise InputError(
            f"{expression!r} is not a schedule; write hourly, daily, weekly, five cron fields such as '0 6 * * *', "
            f"or Model Monitor's cron(0 6 ? * * *)"
        )
    try:
        next(CronSim(text, datetime(2000, 1, 1)))  # noqa: DTZ001  wall time: it gets its zone in _instant
    except CronSimError as why:
        raise InputError(f"schedule {expression!r} is not a cron expression: {why}") from why
    except StopIteration as why:
        raise InputError(f"schedule {expression!r} names a day that never comes") from why
    return _Rhythm(text)


def _model_monitor(text: str) -> _Rhythm:
    found = _SIX.fullmatch(text)
    hour, every = (found[1], found[2]) if found else ("", None)
    good = found and (hour == "*" or int(hour) < 24) and (every is None or (hour != "*" and 1 <= int(every) <= 24))
    if not good:
        raise InputError(
            f"{text!r} is none of Model Monitor's schedules: cron(0 * ? * * *) is hourly, cron(0 H ? * * *) daily at "
            f"H = 0 to 23, cron(0 H/N ? * * *) every N = 1 to 24 hours from H on; use five cron fields for all else"
        )
    if hour == "*":
        return _Rhythm("0 * * * *")
    if every is None:
        return _Rhythm(f"0 {int(hour)} * * *")
    first, step = int(hour), int(every)
    hours = ",".join(str(h) for h in range(first, 24, step))
    # Where the hours tile the day, a window reaches back to the fire before, which is N hours except on the nights
    # when clocks change. Where they do not, the first window of a day is the last N hours (reference, 10.1).
    tiles = first < step and 24 % step == 0
    return _Rhythm(f"0 {hours} * * *", None if tiles else timedelta(hours=step))


@lru_cache(maxsize=256)
def _windows_per_month(schedule: Schedule) -> float:
    fires = [at for _, at in islice(_fires(schedule, datetime(2001, 1, 1, tzinfo=UTC)), 400)]
    return timedelta(days=365.25 / 12) / ((fires[-1] - fires[0]) / (len(fires) - 1))


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of this IANA name. Raises InputError."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as why:
        raise InputError(f"{name!r} is not a time zone; write an IANA name such as UTC or Europe/Berlin") from why


def _fires(schedule: Schedule, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The fires later than `after`, in order: the time on the wall (no zone), and the instant in UTC."""
    rhythm, zone = _rhythm(schedule.expression), zone_of(schedule.zone)
    # A whole day earlier, so that the result does not depend on where in a changeover night we begin.
    begin = datetime.combine(after.astimezone(zone).date() - timedelta(days=1), time())
    last = after.astimezone(UTC)
    for tick in CronSim(rhythm.cron, begin.replace(tzinfo=zone) if rhythm.elapsed else begin):
        at = tick.astimezone(UTC) if rhythm.elapsed else _instant(tick, zone)
        if at > last:
            last = at
            yield tick.replace(tzinfo=None), at


def _before(schedule: Schedule, at: datetime) -> tuple[datetime, datetime] | None:
    """The last fire at or before `at`."""
    rhythm, zone = _rhythm(schedule.expression), zone_of(schedule.zone)
    wall = datetime.combine(at.astimezone(zone).date() + timedelta(days=1), time())
    for tick in CronSim(rhythm.cron, wall, reverse=True):
        start = _instant(tick, zone) - 2 * HOUR
        found = None
        for fire in _fires(schedule, start):
            if fire[1] > at:
                break
            found = fire
        if found is not None:
            return found
    return None


def _back(wall: datetime | None, at: datetime, offset: timedelta, zone: ZoneInfo) -> datetime:
    """`offset` before the fire: its whole days on the calendar of the zone, the rest as time that passes."""
    if wall is None or offset.days == 0:
        return at - offset
    return _instant(wall - timedelta(days=offset.days), zone) - (offset - timedelta(days=offset.days))


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clocks of the zone show `wall`: the first time, if twice; the end of the gap, if never."""
    at = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == wall:
        return at
    before, offset = at - timedelta(days=1), at.astimezone(zone).utcoffset()
    while at - before > timedelta(seconds=1):
        middle = (before + (at - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            at = middle
        else:
            before = middle
    return at
