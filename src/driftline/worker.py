"""The loop: windows that have closed, windows that late labels open again, and notices in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import Final

from driftline.catalog.ledger import Run, RunStatus
from driftline.channels.channel import Channel
from driftline.dataset.compact import pruned
from driftline.dataset.dataset import Progress
from driftline.errors import Conflict, DriftlineError, InputError
from driftline.notify import Delivered, deliver
from driftline.runs.erase import erased_elsewhere
from driftline.runs.gather import Job
from driftline.runs.lease import Passing
from driftline.runs.retention import expire_daily
from driftline.runs.run import Ran, Site, job_of, perform
from driftline.windows import Due, Window, due, in_words, stamp

Clock = Callable[[], datetime]
Tell = Callable[[str | Ran], None]
"""Hears of a run, or of a problem in words."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tick:
    """What one round of the worker did."""

    ran: tuple[Ran, ...]
    delivered: Delivered
    problems: tuple[str, ...]


def tick(
    site: Site,
    channels: Mapping[str, Channel],
    now: datetime,
    seen: Callable[[Ran], None] | None = None,
    stop: Event | None = None,
) -> Tick:
    """One round: every monitor's open windows in the order of time; due notices go out after each monitor.

    A monitor or a window that cannot be run (its baseline is gone, say) is a problem that is told; the others go on.

    Args:
        stop: once it is set, the round ends after the window it is at.
    """
    ran: list[Ran] = []
    problems: list[str] = []
    time, stop = Passing(now), stop or Event()
    delivered = Delivered()
    keep = _DAY

    def send() -> None:
        nonlocal delivered
        with _survived("notices", problems):
            delivered = _both(delivered, deliver(site.catalog, channels, time.now()))

    send()
    for name in site.catalog.declared.monitors():
        if stop.is_set():
            break
        with _survived(f"monitor {name}", problems):
            job = job_of(site.catalog, name)
            keep = max(keep, job.schedule.late + job.schedule.grace + _DAY)
            site.catalog.alarms.settle(name, time.now())  # where the process died between a result and its alarms
            note_due(job, site, now)
            for window in site.catalog.ledger.open_windows(name):
                if stop.is_set():
                    break
                if job.schedule.ready_at(window.scheduled_at) > now:  # noted when a later one was run by hand
                    continue
                with _survived(f"monitor {name}, window {window.window}", problems):
                    one = perform(job, window, site, time.now())
                    if one is not None:
                        ran.append(one)
                        if seen is not None:
                            seen(one)
        send()  # not after each window: in a catch-up, what an early one raises a later one may clear
    send()
    with _survived("cache", problems):
        pruned(site.cache, keep)
    with _survived("retention", problems):
        expire_daily(site, time.now())
    with _survived("erasure", problems):
        erased_elsewhere(site, time.now())
    return Tick(tuple(ran), delivered, tuple(problems))


def _both(one: Delivered, other: Delivered) -> Delivered:
    return Delivered(one.sent + other.sent, one.failed + other.failed, one.held + other.held, one.later + other.later)


@contextmanager
def _survived(what: str, problems: list[str]) -> Iterator[None]:
    """Whatever goes wrong inside is a problem that is told, and ends nothing else."""
    try:
        yield
    except Conflict:  # another worker took it over
        pass
    except DriftlineError as why:
        problems.append(f"{what}: {why}")
    except Exception as why:  # noqa: BLE001  the one place that must survive everything
        problems.append(f"{what}: {type(why).__name__}: {why}")


def note_due(job: Job, site: Site, now: datetime, until: datetime | None = None) -> None:
    """Write the windows that have closed since the last look into the ledger, so that none is forgotten.

    Args:
        until: as if it were so late; None: `now`.
    """
    since = site.catalog.declared.monitor_since(job.name)
    last = site.catalog.ledger.last_scheduled(job.name)
    after = since if last is None else max(since, last)
    closed = list(due(job.schedule, after, until or now))
    if closed:
        site.catalog.ledger.record_due(job.name, closed, now)


def run_window(
    site: Site,
    name: str,
    window: Window | None,
    now: datetime,
    *,
    again: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run one monitor over one window (default: the last closed one), whatever its schedule says of the time.

    A window that the schedule does not know is judged like any other, but no alarm counts it. One that failed is
    tried again, whatever it failed of.

    Returns:
        The run: a new one, or the one that looked at the same inputs before.

    Raises:
        InputError: the window is not closed yet, or no window of the monitor is.
        Conflict: another worker is at this window.
    """
    job = job_of(site.catalog, name)
    asked = _asked(job, window, now)
    # Also those that still wait for their grace to end: the worker goes on from the last one in the ledger.
    note_due(job, site, now, max(now, job.schedule.ready_at(asked.due.scheduled_at)) if asked.scheduled else now)
    before = site.catalog.ledger.latest(name, asked.due.window)
    again = again or (before is not None and before.status is RunStatus.FAILED)
    by_hand = not asked.scheduled
    ran = perform(job, asked.due, site, now, again=again, asked=by_hand, progress=progress)
    done = ran.run if ran is not None else site.catalog.ledger.latest(name, asked.due.window)
    if done is None or done.status in (RunStatus.RUNNING, RunStatus.DUE):
        who = "another worker" if done is None or done.owner is None else f"worker {done.owner}"
        raise Conflict(f"monitor {name!r}: {who} is at window {asked.due.window}; try again when it is done")
    return done


@dataclass(frozen=True, slots=True)
class _Asked:
    due: Due
    scheduled: bool
    """Whether it is a window of the schedule."""


def _asked(job: Job, window: Window | None, now: datetime) -> _Asked:
    if window is None:
        for back in (_DAY / 12, 2 * _DAY, 40 * _DAY, 800 * _DAY):
            closed = list(due(job.schedule, now - back, now))
            if closed:
                return _Asked(closed[-1], True)
        raise InputError(f"no window of monitor {job.name!r} has closed yet; name one with --window START/END")
    if window.end > now:
        raise InputError(
            f"window {window} is not closed yet: it ends at {stamp(window.end)}, in {in_words(window.end - now)}"
        )
    schedule = job.schedule
    # The schedule's fire for this window comes when it ends, or later by the end offset.
    until = schedule.ready_at(window.end + (schedule.end_offset or timedelta(0)) + _DAY)
    for one in due(schedule, window.end - timedelta(seconds=1), until):
        if one.window == window:
            return _Asked(one, True)
    return _Asked(Due(window.end, window), False)


def loop(
    site: Site, channels: Callable[[], Mapping[str, Channel]], clock: Clock, tell: Tell, stop: Event, pause: timedelta
) -> None:
    """Tick until `stop` is set; `tell` hears of every run, and of what goes wrong."""
    while not stop.is_set():
        problems: list[str] = []
        with _survived("this round", problems):
            done = tick(site, channels(), clock(), tell, stop)
            problems += done.problems
            for key in done.delivered.failed:
                tell(f"notice {key} could not be delivered; see `driftline alarms --notices`")
        for problem in problems:
            tell(problem)
        stop.wait(pause.total_seconds())


def describe(ran: Ran) -> str:
    """One line about a run, for people."""
    run = ran.run
    what = f"failed: {ran.failure}" if ran.failure else str(run.verdict)
    reason = f" ({run.reason})" if run.reason and not ran.failure else ""
    again = f", revision {run.revision}" if run.revision else ""
    rows = "" if run.rows is None else f", {run.rows:,} rows"
    labels = "" if run.coverage is None else f", {run.coverage:.0%} labelled"
    alarms = "".join(f"; alarm {c.alarm} is {c.status}" for c in ran.changes)
    return f"{run.monitor} {run.window}{again}: {what}{reason}{rows}{labels}{alarms}"
