"""What a path given by a person means: captured records, or dataset files, and of which format."""

from __future__ import annotations

import gzip
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Literal

from driftline.dataset.columnar import ENDING, is_columnar
from driftline.dataset.dataset import Captured, Files
from driftline.dataset.manifests import is_manifest
from driftline.errors import InputError
from driftline.windows import Window

Format = Literal["csv", "jsonl", "parquet"]
_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_LOOKED_AT = 20
"""So many files, and so many lines of each, are looked at for capture records: the first ones may be broken."""
_HOUR = re.compile(r"(\d{4})/(\d{2})/(\d{2})/(\d{2})/[^/]+$")


def resolve(path: Path, *, format: Format | None = None, header: bool = True) -> Files | Captured:  # noqa: A002
    """The source behind `path`: a file, or a folder of files of one kind.

    JSON lines that are capture records (they have `captureData`), and the manifests of batch transform, are captured
    records; everything else is a dataset.

    Raises:
        InputError: nothing is there, or its format cannot be told.
    """
    files = data_files(path)
    if not files:
        raise InputError(f"{path}: there is no such file, or no data file in this folder (.csv, .jsonl, .parquet)")
    endings = {ending_of(file) for file in files}
    if format in (None, "jsonl", "parquet") and _all_captured(files):
        return Captured(paths=tuple(files))
    if format is None:
        known = {_ENDINGS[e] for e in endings if e in _ENDINGS}
        if len(known) != 1:
            raise InputError(
                f"{path}: cannot tell the format from the names ({', '.join(sorted(endings)) or 'no files'}); "
                f"say --format csv, jsonl or parquet"
            )
        format = known.pop()  # noqa: A001
    if path.is_dir():
        files = [file for file in files if _ENDINGS.get(ending_of(file)) == format]
        if not files:
            raise InputError(f"{path}: there is no {format} file in this folder; it has {', '.join(sorted(endings))}")
    if format == "jsonl" and any(is_captured(file) or is_manifest(file) for file in files[:_LOOKED_AT]):
        return Captured(paths=tuple(files))
    if not header and format != "csv":
        raise InputError(f"{path}: {format} has no header line; leave out --no-header")
    return Files(paths=tuple(files), format=format, header=header)


def _all_captured(files: list[Path]) -> bool:
    """Whether some of the files are columns of captured records, and all others may be captured records too."""
    columns = [file for file in files if ending_of(file) == ENDING]
    if not columns or not all(map(is_columnar, columns[:_LOOKED_AT])):
        return False
    others = {_ENDINGS.get(ending_of(file)) for file in files if file not in columns}
    return others <= {"jsonl"}


def data_files(path: Path) -> list[Path]:
    """The data files at or below `path`, sorted by name; counters, hidden and temporary files are left out."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        return []
    return sorted(file for file in path.rglob("*") if file.is_file() and is_data(file.relative_to(path)))


def is_data(path: PurePath) -> bool:
    """Whether the path below a folder is that of a data file: no counters, no hidden or temporary file."""
    return not any(part.startswith((".", "_")) for part in path.parts) and ending_of(path) in _ENDINGS


def ending_of(file: PurePath) -> str:
    """The ending that tells the format; `.gz` is looked through.

    >>> ending_of(Path("rows.csv.gz"))
    '.csv'
    """
    return Path(file.stem).suffix.lower() if file.suffix.lower() == ".gz" else file.suffix.lower()


def is_captured(file: Path) -> bool:
    """Whether the first records of the JSON lines file are capture records (a broken line says nothing)."""
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as lines:
            return any(b'"captureData"' in lines.readline(1 << 16) for _ in range(_LOOKED_AT))
    except (EOFError, gzip.BadGzipFile, zlib.error):  # who reads it whole says what is wrong with it
        return False
    except OSError as why:
        raise InputError(f"{file} cannot be read: {why.strerror or why}") from why


def hour_of(path: PurePath) -> datetime | None:
    """The hour in a path `…/yyyy/mm/dd/hh/name`, or None where it has none.

    >>> hour_of(Path("captured/a/b/2026/03/01/09/x.jsonl")).isoformat()
    '2026-03-01T09:00:00+00:00'
    """
    found = _HOUR.search(path.as_posix())
    if not found:
        return None
    try:
        return datetime(*(int(part) for part in found.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def captured_in(paths: tuple[Path, ...], window: Window) -> tuple[Path, ...]:
    """The captured files that can hold records of the window; a file without an hour in its path can hold any."""
    return tuple(path for path in paths if in_hours(path, window))


def labels_for(paths: tuple[Path, ...], window: Window | None) -> tuple[Path, ...]:
    """The label files that can concern the window: those of its first hour and later ones."""
    return tuple(path for path in paths if in_hours(path, window, later=True))


def in_hours(path: PurePath, window: Window | None, *, later: bool = False) -> bool:
    """Whether the file may be of the hours of the window (or `later`), as far as its path tells."""
    hour = hour_of(path)
    if window is None or hour is None:
        return True
    return window.start.replace(minute=0, second=0, microsecond=0) <= hour and (later or hour < window.end)
