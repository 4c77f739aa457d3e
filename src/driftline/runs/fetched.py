"""What lies in a bucket, as local files: whatever decodes files decodes objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from driftline.dataset.columnar import is_columnar
from driftline.dataset.manifests import names_in, told_apart
from driftline.errors import NotFound
from driftline.objects.mirror import MIRROR
from driftline.objects.remote import Remote, fetched, found_at, looked_at
from driftline.objects.store import Entry, ObjectStore
from driftline.objects.urls import SCHEMES, is_url
from driftline.runs.source import ending_of, in_hours, is_data
from driftline.windows import Window


def captured(store: ObjectStore, entries: Sequence[Entry], cache: Path) -> tuple[Path, ...]:
    """The captured files as local ones, and with manifests of batch transform the data that they name."""
    paths = store.fetch(entries, cache / MIRROR)
    if entries and is_url(store.location(entries[0].key)):
        _fetch_named(paths, cache)
    return paths


def parquet_at(place: Path | str) -> tuple[Remote, ...] | None:
    """The objects at a URL if all that is data there is Parquet, which is read in place; else None.

    Captured records in columns are not: they are read as the lines that they stand for.
    """
    if isinstance(place, Path):
        return None
    found = _data_at(place)
    if not found or any(ending_of(_name(each)) not in (".parquet", ".pq") for each in found):
        return None
    with found[0].open() as first:
        return None if is_columnar(first) else tuple(found)


def here(place: Path | str, cache: Path, window: Window | None = None, *, later: bool = False) -> Path:
    """`place` itself, or local copies of the data files below a URL.

    Args:
        window: only files of these hours (and `later` ones), as far as their keys tell it.
    """
    if isinstance(place, Path):
        return place
    found = _data_at(place)
    wanted = [each for each in found if in_hours(_name(each), window, later=later)]
    paths = fetched(wanted, cache / MIRROR)
    _fetch_named(tuple(paths), cache)
    if not found:
        raise NotFound(f"{place}: there is no such object, and no data file below it (.csv, .jsonl, .parquet)")
    if [each.url for each in found] == [place]:
        return paths[0]
    folder = cache / MIRROR / place.rstrip("/").replace("://", "/", 1)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _data_at(url: str) -> list[Remote]:
    start = len(url.rstrip("/")) + 1
    return [each for each in found_at(url) if is_data(PurePosixPath(each.url[start:] or each.name))]


def _name(remote: Remote) -> PurePosixPath:
    return PurePosixPath(remote.url)


def _fetch_named(paths: tuple[Path, ...], cache: Path) -> None:
    """The data that manifests name lies in a bucket too; what is not there is told by who pairs inputs and outputs."""
    wanted = []
    for uri in names_in(told_apart(paths)[0]):
        if uri.partition("://")[0] in SCHEMES:
            try:
                wanted.append(looked_at(uri))
            except NotFound:
                continue
    fetched(wanted, cache / MIRROR)
