"""The tables of the catalog. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

METADATA: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware time, kept in UTC; a time without a zone is a mistake and does not get in."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To UTC; SQLite keeps no zones, so there it goes without."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value} has no time zone")
        at = value.astimezone(UTC)
        return at.replace(tzinfo=None) if dialect.name == "sqlite" else at

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(sa.types.TypeDecorator[str]):
    """One of a few words; a member of a StrEnum goes in as its plain text (a driver might write its name)."""

    impl = sa.String(16)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """The plain text."""
        return None if value is None else str(value)


def _declared(name: str) -> sa.Table:
    """A table of things that the YAML file declares: their spec, and since when it is so."""
    return sa.Table(
        name,
        METADATA,
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("updated_at", UtcTime, nullable=False),
        # What is no longer declared keeps its row: its runs and notices refer to it.
        sa.Column("removed_at", UtcTime),
    )


endpoints: Final = _declared("endpoints")
baselines: Final = _declared("baselines")
monitors: Final = _declared("monitors")
channels: Final = _declared("channels")
alarms: Final = _declared("alarms")
retention: Final = _declared("retention")
DECLARED: Final[dict[str, sa.Table]] = {
    table.name: table for table in (endpoints, baselines, channels, monitors, alarms, retention)
}


def _key() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True)


def _refers(name: str, target: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.ForeignKey(target), nullable=False, **options)


runs: Final = sa.Table(
    "runs",
    METADATA,
    _key(),
    _refers("monitor", "monitors.name"),
    sa.Column("scheduled_at", UtcTime, nullable=False),
    sa.Column("window_start", UtcTime, nullable=False),
    sa.Column("window_end", UtcTime, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("status", Word, nullable=False),
    sa.Column("listing", sa.String(64)),
    sa.Column("inputs", sa.String(64)),
    sa.Column("owner", sa.String(255)),
    sa.Column("lease_expires_at", UtcTime),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("crashes", sa.Integer, nullable=False, default=0),
    sa.Column("retry_at", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("started_at", UtcTime),
    sa.Column("finished_at", UtcTime),
    sa.Column("verdict", Word),
    sa.Column("reason", sa.Text),
    sa.Column("report", sa.Text),
    sa.Column("rows", sa.BigInteger),
    sa.Column("coverage", sa.Double),
    # Somebody asked for this window by hand, and the schedule does not know it: no alarm counts it.
    sa.Column("asked", sa.Boolean, nullable=False, default=False),
    # The window is still looked at; only its newest revision can be open.
    sa.Column("open", sa.Boolean, nullable=False, default=True),
    sa.UniqueConstraint("monitor", "window_start", "window_end", "revision"),
    sa.Index(None, "monitor", "scheduled_at"),
    sa.Index(None, "monitor", "open"),
)

measurements: Final = sa.Table(
    "measurements",
    METADATA,
    _key(),
    _refers("run_id", "runs.id", index=True),
    sa.Column("metric", sa.String(255), nullable=False),
    sa.Column("column", sa.Text),
    sa.Column("segment", sa.Text),
    sa.Column("value", sa.Double),
    sa.Column("low", sa.Double),
    sa.Column("high", sa.Double),
    sa.Column("reason", sa.Text),
    sa.Column("verdict", Word),
)

alarm_states: Final = sa.Table(
    "alarm_states",
    METADATA,
    sa.Column("alarm", sa.ForeignKey("alarms.name"), primary_key=True),
    sa.Column("status", Word, nullable=False),
    sa.Column("since", UtcTime),
    sa.Column("changes", sa.Integer, nullable=False),
    sa.Column("recent", sa.JSON, nullable=False),
    sa.Column("holding", sa.Integer, nullable=False),
    sa.Column("updated_at", UtcTime, nullable=False),
)

notices: Final = sa.Table(
    "notices",
    METADATA,
    _key(),
    sa.Column("key", sa.String(255), nullable=False, unique=True),
    _refers("alarm", "alarms.name"),
    _refers("channel", "channels.name"),
    sa.Column("change", sa.Integer, nullable=False),
    sa.Column("alarm_status", Word, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("status", Word, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("next_at", UtcTime),
    sa.Column("sent_at", UtcTime),
    sa.Column("detail", sa.Text),
    sa.Index(None, "status", "next_at"),
)

actions: Final = sa.Table(
    "actions",
    METADATA,
    _key(),
    _refers("notice_id", "notices.id", index=True),
    _refers("channel", "channels.name", index=True),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("exit_status", sa.Integer),
    sa.Column("detail", sa.Text),
)
