"""The ledger of runs: one row for each (monitor, window, revision), claimed by one worker at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from driftline.catalog.database import Database
from driftline.catalog.tables import measurements, runs
from driftline.constraints import Verdict
from driftline.errors import Conflict, NotFound
from driftline.metrics.metric import Estimate, Measurement
from driftline.windows import Due, Window

CRASHES: Final = 3
"""So often the work on a run may break down (a bug, no memory, a killed worker) before the run is given up."""
ATTEMPTS: Final = 170
"""So often a run is tried while something outside does not answer: for about a week."""
LEASE: Final = timedelta(minutes=10)
"""So long after a worker died another one takes its run over; as long as it lives, it keeps the lease."""
_FIRST_PAUSE: Final = timedelta(minutes=1)
_LONGEST_PAUSE: Final = timedelta(hours=1)


class RunStatus(StrEnum):
    """How far a run has come."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Cause(StrEnum):
    """Of what a run failed: it says whether another try makes sense."""

    INPUTS = "inputs"
    """What was given is wrong: the same inputs fail in the same way, and are not tried again."""
    OUTSIDE = "outside"
    """Something outside does not answer: tried again, at least once an hour, for about a week."""
    CRASH = "crash"
    """The work broke down: tried again, but not often, for it may take its worker down with it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement and the verdict on it: the worst, if several constraints bound it; None, if none does."""

    measurement: Measurement
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found."""

    verdict: Verdict
    measured: tuple[Measured, ...] = ()
    reason: str | None = None
    """Why the verdict is unknown: no data, labels pending."""
    report: str | None = None
    """Key of the report among the objects."""
    rows: int | None = None
    coverage: float | None = None
    """Share of the predictions that have a label, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Run:
    """A row of the ledger. While it is running it is also the lease: `owner` and `attempts` say whose."""

    id: int
    monitor: str
    due: Due
    revision: int
    """0, then one more each time that the inputs of the window have changed."""
    status: RunStatus
    listing: str | None
    """Fingerprint of the objects that there were to read, which is known before they are read."""
    inputs: str | None
    """Fingerprint of what was in them; None: they are not read yet, or could not be."""
    owner: str | None
    lease_expires_at: datetime | None
    attempts: int
    crashes: int
    """How many of the attempts broke down."""
    retry_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    verdict: Verdict | None
    reason: str | None
    report: str | None
    rows: int | None
    coverage: float | None
    asked: bool = False
    """Somebody asked for this window by hand, and the schedule does not know it: no alarm counts it."""
    open: bool = True
    """Whether the window is still looked at: it has no result, or its inputs may change."""

    @property
    def window(self) -> Window:
        """The window that the run looks at."""
        return self.due.window

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it: it is done, or given up."""
        return self.status is RunStatus.DONE or (self.status is RunStatus.FAILED and self.retry_at is None)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The runs of all monitors."""

    database: Database

    def record_due(self, monitor: str, dues: Iterable[Due], now: datetime) -> int:
        """Note windows that wait for a worker; those that have a run already are left as they are."""
        noted = 0
        with self.database.write() as connection:
            for due in dues:
                if _latest(connection, monitor, due.window) is None:
                    _insert(connection, monitor, due, 0, now, status=RunStatus.DUE)
                    noted += 1
        return noted

    def claim(
        self,
        monitor: str,
        due: Due,
        listing: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta = LEASE,
        again: bool = False,
        asked: bool = False,
    ) -> Run | None:
        """Take the window to work on, before anything is read; None if there is nothing to do.

        There is nothing to do where the same objects were worked on before, where another worker holds an unexpired
        lease, and where a failed run waits for its next try. Other objects than those of the latest revision make a
        new revision; `identify` takes it back if they turn out to say the same.

        Args:
            listing: a fingerprint of the objects that the run will read, at most 64 characters.
            again: also where the same objects were worked on before.
            asked: whether somebody asked for this window by hand, and the schedule does not know it.

        Returns:
            The run, claimed; or, where workers died of it too often, the run that is given up here, failed.
        """
        with self.database.read() as connection:
            if not _to_do(_latest(connection, monitor, due.window), listing, now, again=again):
                return None
        taken: dict[str, Any] = {"status": RunStatus.RUNNING, "listing": listing, "inputs": None, "owner": owner}
        taken |= {"lease_expires_at": now + lease, "started_at": now, "retry_at": None}
        try:
            with self.database.write() as connection:
                latest = _latest(connection, monitor, due.window)
                if not _to_do(latest, listing, now, again=again):
                    return None
                if latest is None or latest.ended:
                    revision = 0 if latest is None else latest.revision + 1
                    if latest is not None:
                        _set(connection, latest.id, open=False)
                    return _insert(connection, monitor, due, revision, now, attempts=1, asked=asked, **taken)
                crashes = latest.crashes + (1 if latest.status is RunStatus.RUNNING else 0)
                if crashes >= CRASHES and not again:
                    lost = f"given up after {latest.attempts} attempts: worker {latest.owner} never reported back"
                    failed = {"status": RunStatus.FAILED, "reason": lost, "finished_at": now, "crashes": crashes}
                    return _set(connection, latest.id, lease_expires_at=None, **failed)
                values = {"attempts": latest.attempts + 1, "crashes": crashes}
                return _set(connection, latest.id, **taken, **values)
        except Conflict:  # on PostgreSQL two may insert the same revision; the second has lost
            return None

    def identify(self, run: Run, listing: str, inputs: str, *, again: bool = False) -> bool:
        """Record what a claimed run has read; False: the revision before read the same, and this one is taken back.

        Args:
            listing, inputs: fingerprints of the objects that were read, and of what was in them.
            again: whether the same is worth another revision.

        Raises:
            Conflict: another worker took the run over.
        """
        with self.database.write() as connection:
            _change(connection, run, {"listing": listing, "inputs": inputs})
            this = (runs.c.monitor == run.monitor) & (runs.c.window_start == run.window.start)
            this &= (runs.c.window_end == run.window.end) & (runs.c.revision == run.revision - 1)
            before = connection.execute(sa.select(runs.c.id, runs.c.inputs).where(this)).one_or_none()
            if again or before is None or before.inputs != inputs:
                return True
            connection.execute(sa.delete(runs).where(runs.c.id == run.id))
            _set(connection, before.id, listing=listing, open=True)
            return False

    def close(self, monitor: str, window: Window, listing: str) -> None:
        """Look at the window no more, where these objects were worked on: nothing can change its inputs any more."""
        with self.database.write() as connection:
            latest = _latest(connection, monitor, window)
            if latest is not None and latest.ended and latest.listing == listing:
                _set(connection, latest.id, open=False)

    def extend(self, run: Run, now: datetime, lease: timedelta = LEASE) -> None:
        """Keep a claimed run for longer. Raises Conflict if it was taken over."""
        with self.database.write() as connection:
            _change(connection, run, {"lease_expires_at": now + lease})

    def finish(self, run: Run, outcome: Outcome, now: datetime) -> None:
        """Record what the run found, with all measurements in one transaction.

        Raises:
            Conflict: the lease had expired and another worker took the run over; its result counts.
        """
        values = {
            "status": RunStatus.DONE,
            "finished_at": now,
            "verdict": outcome.verdict,
            "reason": outcome.reason,
            "report": outcome.report,
            "rows": outcome.rows,
            "coverage": outcome.coverage,
            "lease_expires_at": None,
        }
        with self.database.write() as connection:
            _change(connection, run, values)
            rows = [_row(run.id, one) for one in outcome.measured]
            if rows:
                connection.execute(sa.insert(measurements), rows)

    def fail(self, run: Run, reason: str, now: datetime, cause: Cause) -> None:
        """Record that the run failed; the cause says whether and when it is tried again.

        Raises:
            Conflict: another worker took the run over.
        """
        crashes = run.crashes + (1 if cause is Cause.CRASH else 0)
        given_up = cause is not Cause.INPUTS and (crashes >= CRASHES or run.attempts >= ATTEMPTS)
        pause = min(_FIRST_PAUSE * 4 ** min(run.attempts - 1, 10), _LONGEST_PAUSE)
        values = {
            "status": RunStatus.FAILED,
            "finished_at": now,
            "reason": f"given up after {run.attempts} attempts: {reason}" if given_up else reason,
            "lease_expires_at": None,
            "retry_at": None if given_up or cause is Cause.INPUTS else now + pause,
            "crashes": crashes,
        }
        with self.database.write() as connection:
            _change(connection, run, values)

    def last_scheduled(self, monitor: str) -> datetime | None:
        """The latest time of the schedule that has a run: the place from which to look for windows that are due."""
        query = sa.select(sa.func.max(runs.c.scheduled_at, type_=runs.c.scheduled_at.type))
        with self.database.read() as connection:
            return connection.execute(query.where(runs.c.monitor == monitor, ~runs.c.asked)).scalar()

    def latest(self, monitor: str, window: Window) -> Run | None:
        """The newest revision of the window, whatever its status."""
        with self.database.read() as connection:
            return _latest(connection, monitor, window)

    def run(self, run_id: int) -> Run:
        """One run. Raises NotFound."""
        with self.database.read() as connection:
            found = connection.execute(sa.select(runs).where(runs.c.id == run_id)).one_or_none()
        if found is None:
            raise NotFound(f"there is no run {run_id}")
        return _run(found)

    def runs(self, monitor: str | None = None, limit: int = 100) -> list[Run]:
        """The runs, newest window first."""
        query = sa.select(runs).where(sa.true() if monitor is None else runs.c.monitor == monitor)
        query = query.order_by(runs.c.scheduled_at.desc(), runs.c.id.desc()).limit(limit)
        with self.database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def open_windows(self, monitor: str, limit: int = 10_000) -> list[Due]:
        """The windows to look at, in the order of time: those without a result, and those whose inputs may change.

        One that somebody asked for by hand is looked at only until it has a result.
        """
        wanted = (runs.c.monitor == monitor) & runs.c.open & (~runs.c.asked | (runs.c.status != RunStatus.DONE))
        query = sa.select(runs).where(wanted).order_by(runs.c.scheduled_at, runs.c.window_end).limit(limit)
        with self.database.read() as connection:
            return [_run(row).due for row in connection.execute(query)]

    def history(self, monitor: str, limit: int = 1000) -> list[Run]:
        """The last `limit` windows of the schedule in the order of time, each with its newest revision that is done."""
        with self.database.read() as connection:
            return history(connection, monitor, limit)

    def measured(self, run_id: int) -> list[Measured]:
        """What a run measured, in the order in which it was recorded."""
        query = sa.select(measurements).where(measurements.c.run_id == run_id).order_by(measurements.c.id)
        with self.database.read() as connection:
            return [_measured(row) for row in connection.execute(query)]


def history(connection: sa.Connection, monitor: str, limit: int, *, telling: bool = False) -> list[Run]:
    """As `Ledger.history`, inside a transaction; with `telling`, only windows of which something holds or is violated.

    Where those without data counted, a long silence would push out of sight what came before it.
    """
    newest = (
        sa.select(sa.func.max(runs.c.id))
        .where(runs.c.monitor == monitor, runs.c.status == RunStatus.DONE, ~runs.c.asked)
        .group_by(runs.c.window_start, runs.c.window_end)
    )
    query = sa.select(runs).where(runs.c.id.in_(newest))
    if telling:
        told = [Verdict.HOLDS, Verdict.VIOLATED]
        one = sa.exists().where(measurements.c.run_id == runs.c.id, measurements.c.verdict.in_(told))
        query = query.where(runs.c.verdict.in_(told) | one)
    query = query.order_by(runs.c.scheduled_at.desc(), runs.c.window_end.desc())
    return [_run(row) for row in connection.execute(query.limit(limit))][::-1]


def _latest(connection: sa.Connection, monitor: str, window: Window) -> Run | None:
    query = (
        sa.select(runs)
        .where(runs.c.monitor == monitor, runs.c.window_start == window.start, runs.c.window_end == window.end)
        .order_by(runs.c.revision.desc())
        .limit(1)
        .with_for_update()
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else _run(found)


def _to_do(latest: Run | None, listing: str, now: datetime, *, again: bool) -> bool:
    if latest is None or latest.status is RunStatus.DUE:
        return True
    if latest.status is RunStatus.RUNNING:
        return latest.lease_expires_at is None or latest.lease_expires_at <= now
    if again:
        return True
    return latest.listing != listing if latest.retry_at is None else latest.retry_at <= now


def _change(connection: sa.Connection, run: Run, values: dict[str, Any]) -> None:
    """Write to a claimed run. Raises Conflict if another worker took it over."""
    mine = (
        (runs.c.id == run.id)
        & (runs.c.status == RunStatus.RUNNING)
        & (runs.c.owner == run.owner)
        & (runs.c.attempts == run.attempts)
    )
    if connection.execute(sa.update(runs).where(mine).values(**values)).rowcount == 0:
        raise Conflict(f"run {run.id} of monitor {run.monitor!r} over {run.window} was taken over by another worker")


def _set(connection: sa.Connection, run_id: int, **values: Any) -> Run:
    return _run(
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(**values).returning(*runs.c)).one()
    )


def _insert(connection: sa.Connection, monitor: str, due: Due, revision: int, now: datetime, **values: Any) -> Run:
    window = {"window_start": due.window.start, "window_end": due.window.end, "created_at": now}
    row = {"monitor": monitor, "scheduled_at": due.scheduled_at, "revision": revision, **window, **values}
    return _run(connection.execute(sa.insert(runs).values(**row).returning(*runs.c)).one())


def _run(row: sa.Row[Any]) -> Run:
    values = dict(row._mapping)
    window = Window(values.pop("window_start"), values.pop("window_end"))
    due = Due(values.pop("scheduled_at"), window)
    del values["created_at"]
    verdict = values.pop("verdict")
    status = RunStatus(values.pop("status"))
    return Run(due=due, status=status, verdict=None if verdict is None else Verdict(verdict), **values)


def _row(run_id: int, measured: Measured) -> dict[str, Any]:
    one, estimate = measured.measurement, measured.measurement.estimate
    return {
        "run_id": run_id,
        "metric": one.metric,
        "column": one.column,
        "segment": one.segment,
        "value": None if estimate is None else estimate.value,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "reason": one.reason,
        "verdict": measured.verdict,
    }


def _measured(row: sa.Row[Any]) -> Measured:
    estimate = None if row.value is None else Estimate(row.value, row.low, row.high)
    verdict = None if row.verdict is None else Verdict(row.verdict)
    return Measured(Measurement(row.metric, row.column, estimate, row.reason, row.segment), verdict)
