"""The first catalog: specs, runs with their measurements, alarms, notices and actions.

There is no previous version beside which it must be safe. Cost: none, the tables are empty.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Forward only."""
    for name in ("endpoints", "baselines", "channels", "monitors", "alarms"):
        _declared(name)
    _runs()
    _alarm_states()
    _notices()


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _refers(name: str, kind: Any, target: str, table: str) -> sa.Column[Any]:
    return sa.Column(name, kind, sa.ForeignKey(target, name=f"fk_{table}_{name}"), nullable=False)


def _id(table: str) -> list[Any]:
    return [sa.Column("id", _KEY, autoincrement=True), sa.PrimaryKeyConstraint("id", name=f"pk_{table}")]


def _declared(name: str) -> None:
    op.create_table(
        name,
        _column("name", sa.String(63)),
        _column("spec", sa.JSON),
        _column("digest", sa.String(64)),
        _column("created_at", _TIME),
        _column("updated_at", _TIME),
        sa.Column("removed_at", _TIME),
        sa.PrimaryKeyConstraint("name", name=f"pk_{name}"),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        *_id("runs"),
        _refers("monitor", sa.String(63), "monitors.name", "runs"),
        _column("scheduled_at", _TIME),
        _column("window_start", _TIME),
        _column("window_end", _TIME),
        _column("revision", sa.Integer),
        _column("status", sa.String(16)),
        sa.Column("listing", sa.String(64)),
        sa.Column("inputs", sa.String(64)),
        sa.Column("owner", sa.String(255)),
        sa.Column("lease_expires_at", _TIME),
        _column("attempts", sa.Integer),
        _column("crashes", sa.Integer),
        sa.Column("retry_at", _TIME),
        _column("created_at", _TIME),
        sa.Column("started_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("verdict", sa.String(16)),
        sa.Column("reason", sa.Text),
        sa.Column("report", sa.Text),
        sa.Column("rows", sa.BigInteger),
        sa.Column("coverage", sa.Double),
        _column("asked", sa.Boolean),
        _column("open", sa.Boolean),
        sa.UniqueConstraint(
            "monitor", "window_start", "window_end", "revision", name="uq_runs_monitor_window_start_window_end_revision"
        ),
    )
    op.create_index("ix_runs_monitor_scheduled_at", "runs", ["monitor", "scheduled_at"])
    op.create_index("ix_runs_monitor_open", "runs", ["monitor", "open"])
    op.create_table(
        "measurements",
        *_id("measurements"),
        _refers("run_id", _KEY, "runs.id", "measurements"),
        _column("metric", sa.String(255)),
        sa.Column("column", sa.Text),
        sa.Column("segment", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("low", sa.Double),
        sa.Column("high", sa.Double),
        sa.Column("reason", sa.Text),
        sa.Column("verdict", sa.String(16)),
    )
    op.create_index("ix_measurements_run_id", "measurements", ["run_id"])


def _alarm_states() -> None:
    op.create_table(
        "alarm_states",
        _refers("alarm", sa.String(63), "alarms.name", "alarm_states"),
        _column("status", sa.String(16)),
        sa.Column("since", _TIME),
        _column("changes", sa.Integer),
        _column("recent", sa.JSON),
        _column("holding", sa.Integer),
        _column("updated_at", _TIME),
        sa.PrimaryKeyConstraint("alarm", name="pk_alarm_states"),
    )


def _notices() -> None:
    op.create_table(
        "notices",
        *_id("notices"),
        _column("key", sa.String(255)),
        _refers("alarm", sa.String(63), "alarms.name", "notices"),
        _refers("channel", sa.String(63), "channels.name", "notices"),
        _column("change", sa.Integer),
        _column("alarm_status", sa.String(16)),
        _column("subject", sa.Text),
        _column("body", sa.JSON),
        _column("status", sa.String(16)),
        _column("attempts", sa.Integer),
        _column("created_at", _TIME),
        sa.Column("next_at", _TIME),
        sa.Column("sent_at", _TIME),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("key", name="uq_notices_key"),
    )
    op.create_index("ix_notices_status_next_at", "notices", ["status", "next_at"])
    op.create_table(
        "actions",
        *_id("actions"),
        _refers("notice_id", _KEY, "notices.id", "actions"),
        _refers("channel", sa.String(63), "channels.name", "actions"),
        _column("started_at", _TIME),
        _column("expires_at", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("exit_status", sa.Integer),
        sa.Column("detail", sa.Text),
    )
    op.create_index("ix_actions_notice_id", "actions", ["notice_id"])
    op.create_index("ix_actions_channel", "actions", ["channel"])
