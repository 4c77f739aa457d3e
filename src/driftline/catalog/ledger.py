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

ATTEMPTS: Final = 3
"""So often a run is tried with the same inputs before it is given up."""
LEASE: Final = timedelta(minutes=30)
_FIRST_PAUSE: Final = timedelta(minutes=1)


class RunStatus(StrEnum):
    """How far a run has come."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


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
    inputs: str | None
    """Fingerprint of what the run read."""
    owner: str | None
    lease_expires_at: datetime | None
    attempts: int
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

    @property
    def window(self) -> Window:
        """The window that the run looks at."""
        return self.due.window


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
                    _insert(connection, monitor, due, 0, status=RunStatus.DUE, attempts=0, created_at=now)
                    noted += 1
        return noted

    def claim(
        self,
        monitor: str,
        due: Due,
        inputs: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta = LEASE,
        asked: bool = False,
    ) -> Run | None:
        """Take the window to work on, or None if there is nothing to do.

        There is nothing to do where the same inputs were worked on before, where another worker holds an unexpired
        lease, and where a failed run waits for its next try or has used up its attempts. Other inputs than those of
        the latest revision make a new revision.

        Args:
            inputs: a fingerprint of all that the run will read, at most 64 characters.
            asked: whether somebody asked for this window by hand, and the schedule does not know it.
        """
        taken: dict[str, Any] = {
            "status": RunStatus.RUNNING,
            "inputs": inputs,
            "owner": owner,
            "lease_expires_at": now + lease,
            "started_at": now,
        }
        try:
            with self.database.write() as connection:
                latest = _latest(connection, monitor, due.window)
                if latest is None or (latest.status in _ENDED and latest.inputs != inputs):
                    revision = 0 if latest is None else latest.revision + 1
                    more = {"attempts": 1, "asked": asked, "created_at": now}
                    return _insert(connection, monitor, due, revision, **more, **taken)
                if not _takeable(connection, latest, now):
                    return None
                values = taken | {"attempts": latest.attempts + 1, "retry_at": None}
                connection.execute(sa.update(runs).where(runs.c.id == latest.id).values(**values))
                return _run(connection.execute(sa.select(runs).where(runs.c.id == latest.id)).one())
        except Conflict:  # on PostgreSQL two may insert the same revision; the second has lost
            return None

    def extend(self, run: Run, now: datetime, lease: timedelta = LEASE) -> None:
        """Keep a claimed run for longer. Raises Conflict if it was taken over."""
        self._change(run, {"lease_expires_at": now + lease}, ())

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
        self._change(run, values, outcome.measured)

    def fail(self, run: Run, reason: str, now: datetime, *, permanent: bool = False) -> None:
        """Record that the run failed. It is tried again later, unless that is `permanent` or was the last attempt."""
        last = permanent or run.attempts >= ATTEMPTS
        values = {
            "status": RunStatus.FAILED,
            "finished_at": now,
            "reason": reason,
            "lease_expires_at": None,
            "retry_at": None if last else now + _FIRST_PAUSE * 4 ** (run.attempts - 1),
        }
        self._change(run, values, ())

    def _change(self, run: Run, values: dict[str, Any], measured: Iterable[Measured]) -> None:
        with self.database.write() as connection:
            mine = (
                (runs.c.id == run.id)
                & (runs.c.status == RunStatus.RUNNING)
                & (runs.c.owner == run.owner)
                & (runs.c.attempts == run.attempts)
            )
            if connection.execute(sa.update(runs).where(mine).values(**values)).rowcount == 0:
                raise Conflict(
                    f"run {run.id} of monitor {run.monitor!r} over {run.window} was taken over by another worker"
                )
            rows = [_row(run.id, one) for one in measured]
            if rows:
                connection.execute(sa.insert(measurements), rows)

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

    def runs(
        self,
        monitor: str | None = None,
        status: RunStatus | None = None,
        limit: int = 100,
        after: datetime | None = None,
    ) -> list[Run]:
        """The runs, newest window first; with `after`, only those scheduled later than that."""
        query = sa.select(runs).order_by(runs.c.scheduled_at.desc(), runs.c.id.desc()).limit(limit)
        if monitor is not None:
            query = query.where(runs.c.monitor == monitor)
        if status is not None:
            query = query.where(runs.c.status == status)
        if after is not None:
            query = query.where(runs.c.scheduled_at > after)
        with self.database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    def history(self, monitor: str, limit: int = 1000) -> list[Run]:
        """The last `limit` windows of the schedule in the order of time, each with its newest revision that is done."""
        with self.database.read() as connection:
            return history(connection, monitor, limit)

    def measured(self, run_id: int) -> list[Measured]:
        """What a run measured, in the order in which it was recorded."""
        query = sa.select(measurements).where(measurements.c.run_id == run_id).order_by(measurements.c.id)
        with self.database.read() as connection:
            return [_measured(row) for row in connection.execute(query)]


_ENDED: Final = (RunStatus.DONE, RunStatus.FAILED)


def history(connection: sa.Connection, monitor: str, limit: int) -> list[Run]:
    """As `Ledger.history`, inside a transaction."""
    newest = (
        sa.select(sa.func.max(runs.c.id))
        .where(runs.c.monitor == monitor, runs.c.status == RunStatus.DONE, ~runs.c.asked)
        .group_by(runs.c.window_start, runs.c.window_end)
    )
    query = sa.select(runs).where(runs.c.id.in_(newest)).order_by(runs.c.scheduled_at.desc(), runs.c.window_end.desc())
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


def _takeable(connection: sa.Connection, run: Run, now: datetime) -> bool:
    """Whether an existing run may be claimed. One whose workers died too often is given up here."""
    if run.status is RunStatus.DUE:
        return True
    if run.status is RunStatus.FAILED:
        return run.retry_at is not None and run.retry_at <= now
    if run.status is RunStatus.DONE or (run.lease_expires_at is not None and run.lease_expires_at > now):
        return False
    if run.attempts < ATTEMPTS:
        return True
    reason = f"given up after {run.attempts} attempts: the last worker, {run.owner}, never reported back"
    values = {"status": RunStatus.FAILED, "reason": reason, "finished_at": now, "lease_expires_at": None}
    connection.execute(sa.update(runs).where(runs.c.id == run.id).values(**values))
    return False


def _insert(connection: sa.Connection, monitor: str, due: Due, revision: int, **values: Any) -> Run:
    window = {"window_start": due.window.start, "window_end": due.window.end}
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
