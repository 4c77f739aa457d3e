"""What is declared: endpoints, baselines, monitors, channels and alarms, as the last applied file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from driftline import wire
from driftline.catalog.database import Database
from driftline.catalog.tables import DECLARED, notices
from driftline.errors import NotFound

T = TypeVar("T")
_SHAPES: Final[Mapping[str, Any]] = {
    "endpoints": wire.EndpointSpec,
    "baselines": str,
    "channels": wire.ChannelSpec,
    "monitors": wire.MonitorSpec,
    "alarms": wire.AlarmSpec,
    "retention": str,
}


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """One thing that a file declares, such as `monitors` `flights-data-quality`."""

    section: str
    name: str

    def __str__(self) -> str:
        return f"{self.section}.{self.name}"


@dataclass(frozen=True, slots=True)
class Difference:
    """What applying a file changes."""

    created: tuple[Item, ...] = ()
    changed: tuple[Item, ...] = ()
    unchanged: tuple[Item, ...] = ()
    removed: tuple[Item, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the catalog is already as the file says."""
        return not (self.created or self.changed or self.removed)


@dataclass(frozen=True, slots=True)
class Declared:
    """The declared part of the catalog."""

    database: Database

    def plan(self, file: wire.PlanFile) -> Difference:
        """What `apply` would change; changes nothing."""
        with self.database.read() as connection:
            return _compare(connection, file).difference

    def apply(self, file: wire.PlanFile, now: datetime) -> Difference:
        """Make the catalog declare what the file does, all or nothing.

        What the file no longer names is removed: its monitors run no more, its channels are told no more. Runs,
        notices and reports stay.
        """
        with self.database.write() as connection:
            compared = _compare(connection, file)
            for item in compared.difference.created:
                _put(connection, item, compared.specs[item], now, created=True)
            for item in compared.difference.changed:
                _put(connection, item, compared.specs[item], now, created=False)
            for item in compared.difference.removed:
                table = DECLARED[item.section]
                connection.execute(sa.update(table).where(table.c.name == item.name).values(removed_at=now))
                if item.section == "channels":
                    _fail_notices(connection, item.name)
        return compared.difference

    def endpoints(self) -> dict[str, wire.EndpointSpec]:
        """The declared endpoints by name."""
        return self._all("endpoints")

    def baselines(self) -> dict[str, str]:
        """The folders of the declared baselines by name."""
        return self._all("baselines")

    def monitors(self) -> dict[str, wire.MonitorSpec]:
        """The declared monitors by name."""
        return self._all("monitors")

    def channels(self) -> dict[str, wire.ChannelSpec]:
        """The declared channels by name."""
        return self._all("channels")

    def alarms(self) -> dict[str, wire.AlarmSpec]:
        """The declared alarms by name."""
        return self._all("alarms")

    def retention(self) -> dict[str, str]:
        """How long each kind of object is declared to be kept, as durations."""
        return self._all("retention")

    def monitor(self, name: str) -> wire.MonitorSpec:
        """One monitor. Raises NotFound."""
        return self._one("monitors", name, self.monitors())

    def endpoint(self, name: str) -> wire.EndpointSpec:
        """One endpoint. Raises NotFound."""
        return self._one("endpoints", name, self.endpoints())

    def baseline(self, name: str) -> str:
        """The folder of one baseline. Raises NotFound."""
        return self._one("baselines", name, self.baselines())

    def monitor_since(self, name: str) -> datetime:
        """Since when the monitor is declared: windows that were scheduled before are not its business."""
        table = DECLARED["monitors"]
        with self.database.read() as connection:
            query = sa.select(table.c.created_at).where(table.c.name == name)
            found: datetime | None = connection.execute(query).scalar_one_or_none()
        if found is None:
            raise NotFound(f"there is no monitor {name!r}; apply a file that declares it")
        return found

    def _all(self, section: str) -> dict[str, Any]:
        table = DECLARED[section]
        query = sa.select(table.c.name, table.c.spec).where(table.c.removed_at.is_(None)).order_by(table.c.name)
        with self.database.read() as connection:
            return {row.name: wire.decode(_SHAPES[section], row.spec) for row in connection.execute(query)}

    def _one(self, section: str, name: str, known: Mapping[str, T]) -> T:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise NotFound(f"there is no {section.removesuffix('s')} {name!r}; declared: {listed}")
        return known[name]


@dataclass(frozen=True, slots=True)
class _Compared:
    difference: Difference
    specs: Mapping[Item, Any] = field(default_factory=dict)


def _compare(connection: sa.Connection, file: wire.PlanFile) -> _Compared:
    specs = {Item(section, name): spec for section in DECLARED for name, spec in getattr(file, section).items()}
    stored: dict[Item, str] = {}
    for section, table in DECLARED.items():
        query = sa.select(table.c.name, table.c.digest).where(table.c.removed_at.is_(None))
        stored.update({Item(section, row.name): row.digest for row in connection.execute(query)})
    return _Compared(
        Difference(
            created=tuple(item for item in specs if item not in stored),
            changed=tuple(i for i, spec in specs.items() if i in stored and stored[i] != wire.digest(spec)),
            unchanged=tuple(i for i, spec in specs.items() if stored.get(i) == wire.digest(spec)),
            removed=tuple(sorted(item for item in stored if item not in specs)),
        ),
        specs,
    )


def _put(connection: sa.Connection, item: Item, spec: Any, now: datetime, *, created: bool) -> None:
    table = DECLARED[item.section]
    values: dict[str, Any] = {
        "spec": wire.encode(spec),
        "digest": wire.digest(spec),
        "updated_at": now,
        "removed_at": None,
    }
    if created:
        values["created_at"] = now
    updated = connection.execute(sa.update(table).where(table.c.name == item.name).values(**values))
    if updated.rowcount == 0:
        connection.execute(sa.insert(table).values(name=item.name, **values))


def _fail_notices(connection: sa.Connection, channel: str) -> None:
    waiting = notices.c.status.in_(("pending", "held")) & notices.c.next_at.is_not(None)
    connection.execute(
        sa.update(notices)
        .where(notices.c.channel == channel, waiting)
        .values(status="failed", next_at=None, detail="the channel is no longer declared")
    )
