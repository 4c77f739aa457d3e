"""The loop: due runs, windows that late labels open again, then undelivered notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import Final

from driftline.catalog.ledger import Run, RunStatus
from driftline.channels.channel import Channel
from driftline.dataset.dataset import Progress
from driftline.errors import Conflict, DriftlineError, InputError
from driftline.notify import Delivered, deliver
from driftline.runs.gather import Job
from driftline.runs.run import Ran, Site, job_of, perform
from driftline.windows import Due, Window, due

Clock = Callable[[], datetime]
Tell = Callable[[str], None]
MOST_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Tick:
    """What one round of the worker did."""

    ran: tuple[Ran, ...]
    delivered: Delivered
    problems: tuple[str, ...]


def tick(site: Site, channels: Mapping[str, Channel], now: datetime, seen: Callable[[Ran], None] | None = None) -> Tick:
    """One round: every monitor's open windows in the order of time, then the notices that are due.

    A monitor that cannot be run (its baseline is gone, say) is a problem that is told; the others go on.
    """
    ran: list[Ran] = []
    problems: list[str] = []
    for name in site.catalog.declared.monitors():
        try:
            for one in _monitor(name, site, now):
                ran.append(one)
                if seen is not None:
                    seen(one)
        except DriftlineError as why:
            problems.append(f"monitor {name}: {why}")
    return Tick(tuple(ran), deliver(site.catalog, channels, now), tuple(problems))


def _monitor(name: str, site: Site, now: datetime) -> Iterator[Ran]:
    job = job_of(site.catalog, name)
    site.catalog.alarms.settle(name, now)  # where the process died between a result and its alarms
    for window in open_windows(job, site, now):
        try:
            ran = perform(job, window, site, now)
        except Conflict:  # another worker took it over
            continue
        if ran is not None:
            yield ran


def open_windows(job: Job, site: Site, now: datetime) -> list[Due]:
    """The windows to look at, in the order of time: those without a result, and those that late labels can change."""
    ledger = site.catalog.ledger
    note_due(job, site, now)
    waiting = {
        run.due
        for status in (RunStatus.DUE, RunStatus.RUNNING, RunStatus.FAILED)
        for run in ledger.runs(job.name, status, limit=MOST_WAITING)
        if status is not RunStatus.FAILED or run.retry_at is not None
    }
    since = site.catalog.declared.monitor_since(job.name)
    reach = max(since, now - job.schedule.late - job.schedule.grace)
    return sorted(waiting | set(due(job.schedule, reach, now)))


def note_due(job: Job, site: Site, now: datetime) -> None:
    """Write the windows that have closed since the last look into the ledger, so that none is forgotten."""
    since = site.catalog.declared.monitor_since(job.name)
    last = site.catalog.ledger.last_scheduled(job.name)
    after = since if last is None else max(since, last)
    site.catalog.ledger.record_due(job.name, due(job.schedule, after, now), now)


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

    Returns:
        The run: a new one, or the one that looked at the same inputs before.

    Raises:
        InputError: the window is not closed yet, or no window of the monitor is.
    """
    job = job_of(site.catalog, name)
    note_due(job, site, now)
    asked = _asked(job, site, window, now)
    ran = perform(job, asked, site, now, again=again, progress=progress)
    done = ran.run if ran is not None else site.catalog.ledger.latest(name, asked.window)
    if done is None:
        raise Conflict(f"monitor {name!r}: another worker is at window {asked.window}; try again when it is done")
    return done


def _asked(job: Job, site: Site, window: Window | None, now: datetime) -> Due:
    if window is None:
        noted = site.catalog.ledger.runs(job.name, limit=1)
        closed = [run.due for run in noted] or list(due(job.schedule, now - timedelta(days=40), now))
        if not closed:
            raise InputError(f"no window of monitor {job.name!r} has closed yet; name one with --window START/END")
        return closed[-1]
    if window.end > now:
        raise InputError(f"window {window} is not closed yet: it ends in {window.end - now}")
    noted_run = site.catalog.ledger.latest(job.name, window)
    return noted_run.due if noted_run is not None else Due(window.end, window)


def loop(
    site: Site, channels: Callable[[], Mapping[str, Channel]], clock: Clock, tell: Tell, stop: Event, pause: timedelta
) -> None:
    """Tick until `stop` is set."""
    while not stop.is_set():
        try:
            done = tick(site, channels(), clock(), lambda ran: tell(describe(ran)))
            for problem in done.problems:
                tell(problem)
            for key in done.delivered.failed:
                tell(f"notice {key} could not be delivered; see `driftline alarms --notices`")
        except Exception as why:  # noqa: BLE001  the one place that must survive everything
            tell(f"this round failed: {type(why).__name__}: {why}")
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
