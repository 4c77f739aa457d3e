"""Where the alarms stand. A change of an alarm and its notices are written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Final

import sqlalchemy as sa

from driftline import wire
from driftline.alarms import Alarm, AlarmRule, Seen, Status, replay, verdicts
from driftline.catalog import ledger
from driftline.catalog.database import Database
from driftline.catalog.ledger import Run
from driftline.catalog.tables import DECLARED, alarm_states, measurements, notices
from driftline.constraints import Verdict
from driftline.windows import parse_duration, stamp

_TOLD: Final = 20
"""So many violations stand in a notice; the report has them all."""
_REPLAYED: Final = 1000
"""So many windows decide where an alarm stands: ten times the longest rule."""


@dataclass(frozen=True, slots=True)
class AlarmState:
    """A declared alarm, and where it stands."""

    name: str
    spec: wire.AlarmSpec
    alarm: Alarm
    changes: int = 0
    """How often it fired or cleared."""
    updated_at: datetime | None = None
    """When it was last judged; None: never."""


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm fired or cleared."""

    alarm: str
    status: Status
    since: datetime
    number: int
    """1 for its first change, and so on; part of the keys of its notices."""


@dataclass(frozen=True, slots=True)
class Alarms:
    """The alarms of all monitors."""

    database: Database

    def states(self) -> list[AlarmState]:
        """All declared alarms by name, those that were never judged too."""
        with self.database.read() as connection:
            return _states(connection, None)

    def settle(self, monitor: str, now: datetime) -> list[Change]:
        """Judge the alarms of the monitor anew from all its windows; call it whenever a run is done.

        A window that was looked at again counts with its newest revision, so late labels can raise an alarm, or take
        it back. The state and the notices of a change are written in one transaction: judging again changes nothing.
        """
        with self.database.write() as connection:
            # On PostgreSQL two may judge at once; the second waits here, and then sees what the first has written.
            connection.execute(sa.select(DECLARED["alarms"].c.name).with_for_update())
            changes = [_settle(connection, state, now) for state in _states(connection, monitor)]
        return [change for change in changes if change is not None]


def _states(connection: sa.Connection, monitor: str | None) -> list[AlarmState]:
    declared = DECLARED["alarms"]
    query = (
        sa.select(declared.c.name, declared.c.spec, alarm_states)
        .join_from(declared, alarm_states, declared.c.name == alarm_states.c.alarm, isouter=True)
        .where(declared.c.removed_at.is_(None))
        .order_by(declared.c.name)
    )
    found = []
    for row in connection.execute(query):
        spec: wire.AlarmSpec = wire.decode(wire.AlarmSpec, row.spec)
        if monitor is None or spec.monitor == monitor:
            found.append(_state(row, spec))
    return found


def _state(row: sa.Row[Any], spec: wire.AlarmSpec) -> AlarmState:
    if row.alarm is None:
        return AlarmState(row.name, spec, Alarm())
    alarm = Alarm(Status(row.status), row.since, tuple(Verdict(v) for v in row.recent), row.holding)
    return AlarmState(row.name, spec, alarm, row.changes, row.updated_at)


def _settle(connection: sa.Connection, before: AlarmState, now: datetime) -> Change | None:
    spec = before.spec
    history = ledger.history(connection, spec.monitor, _REPLAYED, telling=True)
    rule = AlarmRule(spec.datapoints, spec.of, spec.clear, parse_duration(spec.hold))
    alarm = replay(rule, verdicts(_seen(connection, spec, history)))
    changed = alarm.status is not before.alarm.status
    number = before.changes + (1 if changed else 0)
    _save(connection, before, alarm, number, now)
    if not changed:
        return None
    # An alarm that a revised window takes back clears with the last window there is.
    since = alarm.since or (history[-1].window.end if history else now)
    change = Change(before.name, alarm.status, since, number)
    _tell(connection, change, spec, history, now)
    return change


def _save(connection: sa.Connection, before: AlarmState, alarm: Alarm, number: int, now: datetime) -> None:
    values = {
        "status": alarm.status,
        "since": alarm.since,
        "recent": [str(v) for v in alarm.recent],
        "holding": alarm.holding,
        "changes": number,
        "updated_at": now,
    }
    if before.updated_at is None:
        connection.execute(sa.insert(alarm_states).values(alarm=before.name, **values))
    else:
        connection.execute(sa.update(alarm_states).where(alarm_states.c.alarm == before.name).values(**values))


def _watched(spec: wire.AlarmSpec) -> list[sa.ColumnElement[bool]]:
    """Which measurements the alarm looks at."""
    watched: list[sa.ColumnElement[bool]] = []
    if spec.metrics is not None:
        watched.append(measurements.c.metric.in_(spec.metrics))
    if spec.columns is not None:
        watched.append(measurements.c.column.in_(spec.columns))
    return watched


def _seen(connection: sa.Connection, spec: wire.AlarmSpec, history: list[Run]) -> Iterable[Seen]:
    """What each window showed of what the alarm watches. Constraints that hold are only counted: they are many."""
    ids = [run.id for run in history]
    mine = [measurements.c.run_id.in_(ids), *_watched(spec)]
    names: dict[tuple[int, str], set[str]] = {}
    query = sa.select(measurements).where(*mine, measurements.c.verdict.in_([Verdict.VIOLATED, Verdict.UNKNOWN]))
    for row in connection.execute(query):
        names.setdefault((row.run_id, row.verdict), set()).add(repr((row.metric, row.column, row.segment)))
    held_query = sa.select(measurements.c.run_id, sa.func.count()).where(*mine, measurements.c.verdict == Verdict.HOLDS)
    held = {row[0]: row[1] for row in connection.execute(held_query.group_by(measurements.c.run_id))}
    whole = spec.metrics is None and spec.columns is None
    for run in history:
        violated = frozenset(names.get((run.id, "violated"), ()))
        unknown = frozenset(names.get((run.id, "unknown"), ()))
        if whole and not (violated or unknown or held.get(run.id)):
            # Nothing was bounded one by one: the verdict of the run itself counts.
            violated = frozenset({"run"}) if run.verdict is Verdict.VIOLATED else violated
            held[run.id] = 1 if run.verdict is Verdict.HOLDS else 0
        yield Seen(run.window, violated, unknown, held.get(run.id, 0))


def _tell(connection: sa.Connection, change: Change, spec: wire.AlarmSpec, history: list[Run], now: datetime) -> None:
    transition = "firing" if change.status is Status.FIRING else "clearing"
    channels = _channels(connection, [*spec.notify, *spec.act])
    body = _body(connection, change, spec, history)
    for name in dict.fromkeys((*spec.notify, *spec.act)):
        channel = channels.get(name)
        if channel is None or transition not in channel.on:
            continue
        row = {
            "key": f"{change.alarm}/{change.number}/{change.status}/{name}",
            "alarm": change.alarm,
            "channel": name,
            "change": change.number,
            "alarm_status": change.status,
            "subject": _subject(change, spec, body),
            "body": body,
            "status": "pending",
            "attempts": 0,
            "created_at": now,
            "next_at": now,
        }
        connection.execute(sa.insert(notices).values(**row))


def _channels(connection: sa.Connection, names: list[str]) -> Mapping[str, wire.ChannelSpec]:
    table = DECLARED["channels"]
    query = sa.select(table.c.name, table.c.spec).where(table.c.name.in_(names), table.c.removed_at.is_(None))
    return {row.name: wire.decode(wire.ChannelSpec, row.spec) for row in connection.execute(query)}


def _body(connection: sa.Connection, change: Change, spec: wire.AlarmSpec, history: list[Run]) -> dict[str, Any]:
    run = history[-1] if history else None
    table = DECLARED["monitors"]
    monitor = connection.execute(sa.select(table.c.spec).where(table.c.name == spec.monitor)).scalar_one_or_none()
    violations = [] if run is None else _violations(connection, spec, run)
    return {
        "alarm": change.alarm,
        "status": change.status.value,
        "since": stamp(change.since),
        "change": change.number,
        "monitor": spec.monitor,
        "endpoint": None if monitor is None else monitor["endpoint"],
        "rule": {"datapoints": spec.datapoints, "of": spec.of, "clear": spec.clear, "hold": spec.hold},
        "run": None
        if run is None
        else {
            "id": run.id,
            "window": str(run.window),
            "revision": run.revision,
            "verdict": run.verdict,
            "report": run.report,
        },
        "violations": violations[:_TOLD],
        "violations_total": len(violations),
    }


def _violations(connection: sa.Connection, spec: wire.AlarmSpec, run: Run) -> list[dict[str, Any]]:
    query = sa.select(measurements).where(
        measurements.c.run_id == run.id, measurements.c.verdict == Verdict.VIOLATED, *_watched(spec)
    )
    keys = ("metric", "column", "segment", "value", "low", "high", "reason")
    rows = connection.execute(query.order_by(measurements.c.id))
    return [{key: row._mapping[key] for key in keys if _tellable(row._mapping[key])} for row in rows]


def _tellable(value: object) -> bool:
    """Whether JSON can say it: an interval may be open at one side, and JSON knows no infinity."""
    return value is not None and not (isinstance(value, float) and not isfinite(value))


def _subject(change: Change, spec: wire.AlarmSpec, body: Mapping[str, Any]) -> str:
    if change.status is Status.OK:
        return f"{change.alarm} has cleared: monitor {spec.monitor}, {stamp(change.since)}"
    named = [f"{v['metric']} of {v['column']}" if "column" in v else v["metric"] for v in body["violations"]]
    more = f" and {body['violations_total'] - 3} more" if body["violations_total"] > 3 else ""
    what = f"{', '.join(named[:3])}{more}" if named else "its constraints are violated"
    return f"{change.alarm} is firing: {what}; monitor {spec.monitor}, {stamp(change.since)}"
