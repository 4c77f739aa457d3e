"""The outbox: notices that wait to be delivered, those that were, and the actions that commands took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa

from driftline import wire
from driftline.catalog.database import Database
from driftline.catalog.tables import DECLARED, actions, alarm_states, notices
from driftline.windows import parse_duration, stamp

_LEASE: Final = timedelta(minutes=1)
"""So long one attempt at a webhook may take before another process tries."""
_MARGIN: Final = timedelta(minutes=1)
"""So much longer than its time limit a command may take to be recorded."""


class NoticeStatus(StrEnum):
    """What became of a notice."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Told:
    """A notice in the outbox."""

    id: int
    key: str
    alarm: str
    channel: str
    change: int
    alarm_status: str
    subject: str
    body: dict[str, Any]
    status: NoticeStatus
    attempts: int
    created_at: datetime
    next_at: datetime | None
    """When it is looked at again; None: it is settled."""
    sent_at: datetime | None
    detail: str | None
    """What the other side answered, or why the notice was not sent."""


@dataclass(frozen=True, slots=True)
class Action:
    """One start of a command."""

    id: int
    notice_id: int
    channel: str
    started_at: datetime
    expires_at: datetime
    finished_at: datetime | None
    exit_status: int | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """Why a command may not start now, and when to look again; None: never."""

    reason: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Outbox:
    """The notices of all alarms."""

    database: Database

    def claim(self, now: datetime) -> Told | None:
        """The oldest notice that is due, reserved for a minute; None: nothing is due.

        A notice waits until the earlier ones of the same alarm to the same channel are settled, so that nobody hears
        of a clearing before the alarm. One that is claimed and never settled comes again: it may be sent twice.
        """
        earlier = notices.alias("earlier")
        blocked = sa.exists().where(
            earlier.c.alarm == notices.c.alarm,
            earlier.c.channel == notices.c.channel,
            earlier.c.change < notices.c.change,
            earlier.c.status == NoticeStatus.PENDING,
        )
        waiting = notices.c.status.in_([NoticeStatus.PENDING, NoticeStatus.HELD]) & (notices.c.next_at <= now)
        query = sa.select(notices).where(waiting, ~blocked).order_by(notices.c.next_at, notices.c.id).limit(1)
        with self.database.write() as connection:
            row = connection.execute(query.with_for_update(skip_locked=True, of=notices)).one_or_none()
            if row is None:
                return None
            values = {"status": NoticeStatus.PENDING, "attempts": row.attempts + 1, "next_at": now + _LEASE}
            change = sa.update(notices).where(notices.c.id == row.id).values(**values).returning(*notices.c)
            return _told(connection.execute(change).one())

    def begin_action(self, told: Told, spec: wire.CommandSpec, now: datetime) -> Action | Held:
        """Start a command for the notice, unless one runs already, its cool-down lasts, or the alarm has moved on.

        The check and the start are one transaction: of several processes one starts the command.
        """
        with self.database.write() as connection:
            # Lock the channel (on PostgreSQL; SQLite's write is alone anyway).
            channel = DECLARED["channels"]
            connection.execute(sa.select(channel.c.name).where(channel.c.name == told.channel).with_for_update())
            held = _overtaken(connection, told) or _running(connection, told, now)
            held = held or _cooling(connection, told, parse_duration(spec.cooldown), now)
            if held is not None:
                return held
            expires = now + parse_duration(spec.timeout) + _MARGIN
            row = {"notice_id": told.id, "channel": told.channel, "started_at": now, "expires_at": expires}
            connection.execute(sa.update(notices).where(notices.c.id == told.id).values(next_at=expires))
            return _action(connection.execute(sa.insert(actions).values(**row).returning(*actions.c)).one())

    def hold(self, told: Told, held: Held) -> None:
        """Hold the notice back, with the reason."""
        self._settle(told, status=NoticeStatus.HELD, next_at=held.until, detail=held.reason)

    def sent(self, told: Told, detail: str, now: datetime) -> None:
        """Record that the notice was delivered."""
        self._settle(told, status=NoticeStatus.SENT, next_at=None, sent_at=now, detail=detail)

    def failed(self, told: Told, detail: str) -> None:
        """Record that the notice will never be delivered."""
        self._settle(told, status=NoticeStatus.FAILED, next_at=None, detail=detail)

    def retry(self, told: Told, detail: str, next_at: datetime) -> None:
        """Try again later."""
        self._settle(told, status=NoticeStatus.PENDING, next_at=next_at, detail=detail)

    def finish_action(self, action: Action, exit_status: int | None, detail: str, now: datetime) -> None:
        """Record how the command ended."""
        values = {"finished_at": now, "exit_status": exit_status, "detail": detail}
        with self.database.write() as connection:
            connection.execute(sa.update(actions).where(actions.c.id == action.id).values(**values))

    def notices(self, alarm: str | None = None, limit: int = 100) -> list[Told]:
        """The notices, newest first."""
        query = sa.select(notices).order_by(notices.c.id.desc()).limit(limit)
        if alarm is not None:
            query = query.where(notices.c.alarm == alarm)
        with self.database.read() as connection:
            return [_told(row) for row in connection.execute(query)]

    def actions(self, channel: str | None = None, limit: int = 100) -> list[Action]:
        """What the commands did, newest first."""
        query = sa.select(actions).order_by(actions.c.id.desc()).limit(limit)
        if channel is not None:
            query = query.where(actions.c.channel == channel)
        with self.database.read() as connection:
            return [_action(row) for row in connection.execute(query)]

    def starts(self, told: Told) -> int:
        """How often a command was started for the notice."""
        query = sa.select(sa.func.count()).where(actions.c.notice_id == told.id)
        with self.database.read() as connection:
            return connection.execute(query).scalar_one()

    def _settle(self, told: Told, **values: Any) -> None:
        # Whoever was too slow, so that another process has claimed the notice since, has no say any more.
        mine = (notices.c.id == told.id) & (notices.c.attempts == told.attempts)
        with self.database.write() as connection:
            connection.execute(sa.update(notices).where(mine).values(**values))


def _overtaken(connection: sa.Connection, told: Told) -> Held | None:
    query = sa.select(alarm_states.c.status, alarm_states.c.changes).where(alarm_states.c.alarm == told.alarm)
    now = connection.execute(query).one_or_none()
    if now is None or now.changes <= told.change:
        return None
    return Held(f"overtaken: the alarm has changed since and is {now.status}", None)


def _running(connection: sa.Connection, told: Told, now: datetime) -> Held | None:
    """Held if the command runs. One whose process died long ago is given up."""
    lost = (actions.c.channel == told.channel) & actions.c.finished_at.is_(None) & (actions.c.expires_at <= now)
    values = {"finished_at": now, "detail": "never reported back: the process that started it is gone"}
    connection.execute(sa.update(actions).where(lost).values(**values))
    query = sa.select(actions).where(actions.c.channel == told.channel, actions.c.finished_at.is_(None))
    row = connection.execute(query.order_by(actions.c.id).limit(1)).one_or_none()
    if row is None:
        return None
    reason = f"command {told.channel!r} is running since {stamp(row.started_at)}; at most one at a time"
    return Held(reason, min(row.expires_at, now + _MARGIN))


def _cooling(connection: sa.Connection, told: Told, cooldown: timedelta, now: datetime) -> Held | None:
    query = sa.select(sa.func.max(actions.c.started_at, type_=actions.c.started_at.type))
    others = query.where(actions.c.channel == told.channel, actions.c.notice_id != told.id)
    last = connection.execute(others).scalar()
    if last is None or last + cooldown <= now:
        return None
    return Held(f"in its cool-down: command {told.channel!r} was started at {stamp(last)}", last + cooldown)


def _told(row: sa.Row[Any]) -> Told:
    values = dict(row._mapping)
    return Told(status=NoticeStatus(values.pop("status")), **values)


def _action(row: sa.Row[Any]) -> Action:
    return Action(**row._mapping)
