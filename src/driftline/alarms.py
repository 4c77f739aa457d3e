"""An alarm follows one monitor from window to window. It decides; it never sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import comb

from driftline.constraints import Verdict
from driftline.errors import InputError
from driftline.windows import Window


class Status(StrEnum):
    """Whether an alarm is raised."""

    OK = "ok"
    FIRING = "firing"


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """When an alarm fires and when it clears."""

    datapoints: int = 1
    """So many of the last `of` windows with data must be violated."""
    of: int = 1
    clear: int = 1
    """So many windows in a row must hold to clear the alarm."""
    hold: timedelta = timedelta(0)
    """The alarm stays up at least this long, measured from end of window to end of window."""

    def __post_init__(self) -> None:
        for name in ("datapoints", "of", "clear"):
            if not 1 <= getattr(self, name) <= 100:
                raise InputError(f"{name} of an alarm is {getattr(self, name)}; it must lie between 1 and 100")
        if self.datapoints > self.of:
            raise InputError(
                f"datapoints is {self.datapoints}, more than of = {self.of}; at most all windows can count"
            )
        if self.hold < timedelta(0):
            raise InputError(f"hold of an alarm is {self.hold}; it cannot be negative")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Where an alarm stands after the windows so far."""

    status: Status = Status.OK
    since: datetime | None = None
    """The end of the window that brought the status; None: it was never otherwise."""
    recent: tuple[Verdict, ...] = ()
    """The last windows with data, at most `of`, counted anew from the window after a clearing."""
    holding: int = 0
    """How many windows in a row hold."""


def step(rule: AlarmRule, alarm: Alarm, window: Window, verdict: Verdict) -> Alarm:
    """The alarm after one more window.

    An unknown window changes nothing: a gap in traffic neither raises an alarm nor clears one.
    A cleared alarm counts anew: windows from before the repair do not raise it again.
    """
    if verdict is Verdict.UNKNOWN:
        return alarm
    recent = (*alarm.recent, verdict)[-rule.of :]
    after = replace(alarm, recent=recent, holding=alarm.holding + 1 if verdict is Verdict.HOLDS else 0)
    if alarm.status is Status.OK:
        # Only a violated window raises: with 2 of 5, two old violations must not fire on a window that holds.
        fires = verdict is Verdict.VIOLATED and recent.count(Verdict.VIOLATED) >= rule.datapoints
        return replace(after, status=Status.FIRING, since=window.end) if fires else after
    held = alarm.since is None or window.end - alarm.since >= rule.hold
    return Alarm(since=window.end) if held and after.holding >= rule.clear else after


def replay(rule: AlarmRule, history: Iterable[tuple[Window, Verdict]]) -> Alarm:
    """The alarm after all these windows, in this order, from nothing."""
    alarm = Alarm()
    for window, verdict in history:
        alarm = step(rule, alarm, window, verdict)
    return alarm


@dataclass(frozen=True, slots=True)
class Seen:
    """What the constraints that an alarm watches said of one window."""

    window: Window
    violated: frozenset[str] = frozenset()
    """Names of constraints; any will do, if they are the same in every window."""
    unknown: frozenset[str] = frozenset()
    held: int = 0
    """How many hold."""


def verdicts(history: Iterable[Seen]) -> Iterator[tuple[Window, Verdict]]:
    """One verdict for each window, out of those of its constraints.

    Violated if any constraint is. Otherwise a constraint that was violated and has not held since decides: as long as
    it is unknown, so is the window, for nobody can say that the trouble is over. A constraint that is unknown all
    the time (too few rows to tell) does not stand in the way of the others.
    """
    open_: frozenset[str] = frozenset()
    for seen in history:
        if seen.held or seen.violated or seen.unknown:  # else a gap: what was open stays open
            open_ = seen.violated | (open_ & seen.unknown)
        if seen.violated:
            yield seen.window, Verdict.VIOLATED
        elif open_ or not seen.held:
            yield seen.window, Verdict.UNKNOWN
        else:
            yield seen.window, Verdict.HOLDS


def violations_for(pages: float, datapoints: int, of: int) -> float:
    """How often a window without drift may be violated, so that an alarm fires in a share `pages` of the windows.

    An alarm that waits for M of N windows forgives single ones, so each may be judged with a keener eye. Windows count
    as independent here. At most a half.

    >>> violations_for(0.03, 1, 1)
    0.03
    >>> round(violations_for(0.03, 2, 3), 3)
    0.127
    """
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _fires(middle, datapoints, of) <= pages else (low, middle)
    return pages if datapoints == 1 and of == 1 else low


def _fires(share: float, datapoints: int, of: int) -> float:
    """The probability that this window is violated, and enough of the `of` - 1 before it are."""
    enough = sum(comb(of - 1, k) * share**k * (1 - share) ** (of - 1 - k) for k in range(datapoints - 1, of))
    return share * enough
