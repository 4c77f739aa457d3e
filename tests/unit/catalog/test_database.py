"""The catalog's database: its migrations, and what happens when it cannot be used."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from driftline.catalog import database, tables
from driftline.catalog.catalog import Catalog, open_catalog
from driftline.errors import Conflict, InputError, Unavailable


def test_the_migrations_give_exactly_the_tables(catalog: Catalog) -> None:
    with catalog.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.METADATA) == []


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [database.HEAD]


def test_the_tables_can_be_made_in_postgresql_too() -> None:
    from sqlalchemy.dialects import postgresql

    for table in tables.METADATA.sorted_tables:
        assert "CREATE TABLE" in str(sa.schema.CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_sqlite_is_opened_for_many_processes(catalog: Catalog) -> None:
    with catalog.database.read() as connection:
        found = {p: connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "foreign_keys")}
        assert found == {"journal_mode": "wal", "foreign_keys": 1}
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30000


def test_opening_again_changes_nothing_and_needs_no_alembic(url: str) -> None:
    open_catalog(url).close()
    code = f"""
import sys
from driftline.catalog.catalog import open_catalog
open_catalog({url!r}).close()
assert not any(name.startswith("alembic") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_processes_that_open_a_new_catalog_at_once_all_succeed(url: str) -> None:
    code = f"from driftline.catalog.catalog import open_catalog; open_catalog({url!r}).close()"
    started = [subprocess.Popen([sys.executable, "-W", "error", "-c", code]) for _ in range(4)]
    assert [process.wait() for process in started] == [0, 0, 0, 0]


def test_a_catalog_of_a_newer_release_is_refused(catalog: Catalog, url: str) -> None:
    with catalog.database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputError, match="newer release"):
        open_catalog(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("catalog.db", "not a database URL"),
        ("sqlite://", "names no file"),
        ("nonsense://host/x", "not installed"),
    ],
)
def test_a_url_that_names_no_database_is_an_input_error(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_catalog(url)


def test_a_file_that_is_no_database_is_unavailable_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("this is not a database, it is a text of some length " * 20)
    with pytest.raises(Unavailable, match="not a database"):
        open_catalog(f"sqlite:///{tmp_path}/catalog.db")


def test_a_row_that_refers_to_nothing_is_a_conflict(catalog: Catalog) -> None:
    with pytest.raises(Conflict, match="FOREIGN KEY"), catalog.database.write() as connection:
        connection.execute(sa.insert(tables.measurements).values(run_id=7, metric="auc"))


def test_a_time_without_a_zone_does_not_get_in(catalog: Catalog) -> None:
    with pytest.raises(sa.exc.StatementError, match="no time zone"), catalog.database.write() as connection:
        connection.execute(
            sa.insert(tables.endpoints).values(
                name="a",
                spec={},
                digest="",
                created_at=datetime(2026, 1, 1),  # noqa: DTZ001
                updated_at=None,
            )
        )
