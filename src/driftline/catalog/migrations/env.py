"""Alembic's door: runs the migrations on the connection that `database.py` hands in, inside its transaction."""

from __future__ import annotations

from alembic import context

from driftline.catalog.tables import METADATA

if hasattr(context, "config"):  # only while Alembic runs this file: a plain import does nothing
    context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
    context.run_migrations()
