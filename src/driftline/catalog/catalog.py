"""The catalog, opened: four views of one database."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from driftline.catalog.alarming import Alarms
from driftline.catalog.database import Database
from driftline.catalog.declared import Declared
from driftline.catalog.ledger import Ledger
from driftline.catalog.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is not in the catalog does not exist."""

    database: Database
    declared: Declared
    ledger: Ledger
    alarms: Alarms
    outbox: Outbox

    def close(self) -> None:
        """Give the connections to the database back."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_catalog(url: str) -> Catalog:
    """Open the catalog, at the newest migration. A SQLite file and its folder are made if they are not there.

    Raises:
        InputError: the URL names no database that can be used, or a newer release has written it.
        Unavailable: the database does not answer.
    """
    database = Database(url)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return Catalog(database, Declared(database), Ledger(database), Alarms(database), Outbox(database))
