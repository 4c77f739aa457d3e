"""Where Driftline keeps its things: the environment as one frozen value, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftline.errors import InputError


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the catalog and the objects are."""

    home: Path
    """DRIFTLINE_HOME: the folder of everything that has no place of its own. Default `.driftline` here."""
    catalog: str
    """DRIFTLINE_CATALOG: the URL of the catalog's database. Default `sqlite:///` and `catalog.db` in the home."""
    objects: str
    """DRIFTLINE_OBJECTS: the folder or URL of captures, labels, reports. Default `objects` in the home."""
    engine: str = "local"
    """DRIFTLINE_ENGINE: `local`, or the URL of the Spark that reads the rows."""


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that the environment variables say. An empty variable counts as not set.

    Raises:
        InputError: DRIFTLINE_CATALOG is not a database URL, or another one is a file.

    >>> read_settings({"DRIFTLINE_HOME": "/var/lib/driftline"}).catalog
    'sqlite:////var/lib/driftline/catalog.db'
    """
    home = _folder("DRIFTLINE_HOME", environ.get("DRIFTLINE_HOME") or ".driftline")
    catalog = environ.get("DRIFTLINE_CATALOG") or f"sqlite:///{home / 'catalog.db'}"
    if "://" not in catalog:
        raise InputError(
            f"DRIFTLINE_CATALOG={catalog!r} is not a database URL; write sqlite:////path/to/catalog.db "
            f"or postgresql+psycopg://user@host/database"
        )
    objects = environ.get("DRIFTLINE_OBJECTS") or str(home / "objects")
    engine = environ.get("DRIFTLINE_ENGINE") or "local"
    return Settings(home, catalog, objects if "://" in objects else str(_folder("DRIFTLINE_OBJECTS", objects)), engine)


def _folder(variable: str, text: str) -> Path:
    try:
        folder = Path(text).expanduser().absolute()
    except RuntimeError as why:  # ~somebody who is not there
        raise InputError(f"{variable}={text!r} has no meaning here: {why}") from why
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{variable}={text!r} is a file; it must be a folder")
    return folder
