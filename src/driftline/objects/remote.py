"""One object in a bucket as a file that is read in ranges, and only as it was when somebody looked."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, cast

from driftline.objects.cloud import Cloud
from driftline.objects.urls import Place


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

    def now(self) -> Remote:
        """The object as it is now. Raises NotFound."""
        return looked_at(self.url)

    def open(self) -> BinaryIO:
        """Its bytes; reading raises Unavailable when it has changed, NotFound when it is gone."""
        return cast(BinaryIO, io.BufferedReader(_Ranges(self), 1 << 16))


def looked_at(url: str) -> Remote:
    """The object as it is now. Raises NotFound."""
    place, key = Place.of_object(url)
    entry = _bucket(place.url).entry(key)
    return Remote(place.below(key), entry.size, entry.version)


@lru_cache(64)
def _bucket(url: str) -> Cloud:
    """One client for all objects of a bucket: it keeps connections open."""
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
        data = self._cloud.read(self._key, self._at, length, self._remote.version)
        into[: len(data)] = data
        self._at += len(data)
        return len(data)
