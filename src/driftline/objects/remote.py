"""One object in a bucket as a file that is read in ranges, and only as it was when somebody looked."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from driftline.errors import NotFound, Unavailable
from driftline.objects.store import Entry
from driftline.objects.urls import Place

if TYPE_CHECKING:
    from driftline.objects.cloud import Cloud


@dataclass(frozen=True, slots=True)
class Remote:
    """One state of an object in a bucket. What reads files takes it where it takes a path."""

    url: str
    size: int
    version: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def open(self) -> BinaryIO:
        """Its bytes; reading raises Unavailable when it has changed, or is gone."""
        return cast(BinaryIO, io.BufferedReader(_Ranges(self), 1 << 16))


def looked_at(url: str) -> Remote:
    """The object as it is now. Raises NotFound."""
    place, key = Place.of_object(url)
    entry = _bucket(place.url).entry(key)
    return Remote(place.below(key), entry.size, entry.version)


def found_at(url: str) -> list[Remote]:
    """The objects below `url`, in byte order of their keys, or else the one at it; none where there is nothing."""
    place = Place.of(url)
    if found := [Remote(place.below(e.key), e.size, e.version) for e in _bucket(place.url).list("")]:
        return found
    try:
        return [looked_at(url)] if place.prefix else []
    except NotFound:
        return []


def fetched(remotes: Sequence[Remote], mirror: Path) -> list[Path]:
    """The objects as local files below `mirror`, each as it was when somebody looked. Raises Unavailable."""
    paths: dict[str, Path] = {}
    buckets: dict[str, list[Entry]] = {}
    for remote in remotes:
        place, key = Place.of_object(remote.url)
        buckets.setdefault(place.url, []).append(Entry(key, remote.size, remote.version))
    for url, entries in buckets.items():
        copies = _bucket(url).fetch(entries, mirror)
        paths |= {f"{url}/{entry.key}": copy for entry, copy in zip(entries, copies, strict=True)}
    return [paths[remote.url] for remote in remotes]


@lru_cache(64)
def _bucket(url: str) -> Cloud:
    """One client for all objects of a bucket: it keeps connections open."""
    from driftline.objects.cloud import Cloud  # the client of the clouds is an extra

    return Cloud(url)


class _Ranges(io.RawIOBase):
    def __init__(self, remote: Remote) -> None:
        place, self._key = Place.of_object(remote.url)
        self._cloud = _bucket(place.url)
        self._remote = remote
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._remote.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        length = min(len(into), self._remote.size - self._at)
        if length <= 0:
            return 0
        try:
            data = self._cloud.read(self._key, self._at, length, self._remote.version)
        except NotFound as why:
            raise Unavailable(f"{why} any more") from why
        into[: len(data)] = data
        self._at += len(data)
        return len(data)
