"""The connection to the catalog's database: SQLite in WAL mode, or PostgreSQL; opened at the newest migration."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from driftline.errors import Conflict, InputError, Unavailable

HEAD: Final = "0002"
"""The newest migration; a catalog that has it opens without loading Alembic."""
_BUSY_S: Final = 30
_MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Database:
    """Reads and writes in transactions. A write that has begun is alone: nobody changes what it read."""

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except ArgumentError as why:
            raise InputError(f"{url!r} is not a database URL; write sqlite:////path/to/catalog.db") from why
        self._place = parsed.render_as_string(hide_password=True)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        if self._sqlite:
            if not parsed.database or parsed.database == ":memory:":
                raise InputError(f"catalog {self._place!r} names no file; write sqlite:////path/to/catalog.db")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        try:
            self.engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_S} if self._sqlite else {})
        except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as why:
            raise InputError(f"catalog {self._place!r}: the driver of this database is not installed ({why})") from why
        if self._sqlite:
            sa.event.listen(self.engine, "connect", _prepare)
            sa.event.listen(self.engine, "begin", _begin)
        self._writer = self.engine.execution_options(driftline_writes=True)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the catalog."""
        with self._translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction: all of it happens, or nothing.

        Raises:
            Conflict: somebody else wrote the same row first.
            Unavailable: the database does not answer, or is locked for longer than half a minute.
        """
        with self._translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError as why:
            raise Conflict(f"catalog {self._place}: {why.orig}") from why
        except OperationalError as why:
            raise Unavailable(f"catalog {self._place}: {why.orig}") from why
        except DBAPIError as why:
            if why.connection_invalidated or isinstance(why.orig, sqlite3.DatabaseError):
                raise Unavailable(f"catalog {self._place}: {why.orig}") from why
            raise

    def migrate(self) -> None:
        """Bring the tables to the newest migration; of several processes one does it, the others wait."""
        with self.read() as connection:
            if _version(connection) == HEAD:
                return
        with self.write() as connection:
            if not self._sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(4919131752989213764)"))
            version = _version(connection)
            if version == HEAD:
                return
            if version is not None and version > HEAD:
                raise InputError(
                    f"catalog {self._place} was written by a newer release (migration {version}, this one knows "
                    f"{HEAD}); install that release"
                )
            _upgrade(connection)


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _prepare(connection: Any, record: object) -> None:
    """Settings of one SQLite connection. Transactions are begun by us: the driver would begin them too late."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    # In WAL mode a power cut can take back the last transactions, never tear one: what they did is done again.
    cursor.execute("PRAGMA synchronous = NORMAL")
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("driftline_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
