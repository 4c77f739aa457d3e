"""Copies of a bucket's objects as local files, so that whatever decodes files decodes objects.

The copy of `s3://bucket/key` lies at `s3/bucket/key` below the mirror: times in keys, and what manifests name, are
found as in the bucket. Its modification time is made of the object's version, so the file itself tells whether it is
still right, and what is told of the file changes with the object; its access time is when it was used last.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from driftline.errors import Unavailable
from driftline.objects.store import Entry

MIRROR: Final = "mirror"
"""The folder of the mirror in the local cache."""
_AT_ONCE: Final = 8
_EPOCH_NS: Final = 1_000_000_000 * 1_000_000_000

Chunks = Callable[[Entry], Iterable[bytes]]
"""The bytes of an object as it was listed."""


def path_of(url: str, mirror: Path) -> Path:
    """Where the copy of the object at `url` lies.

    >>> path_of("s3://bucket/a/b.jsonl", Path("cache/mirror")).as_posix()
    'cache/mirror/s3/bucket/a/b.jsonl'
    """
    scheme, _, rest = url.partition("://")
    return mirror / scheme / rest


def mirrored(wanted: Sequence[tuple[Entry, Path]], chunks: Chunks) -> None:
    """Fetch those that are not there as they were listed, several at a time.

    Raises:
        Unavailable: an object has changed since, or vanished, or the disk cannot take it.
    """
    missing = [(entry, path) for entry, path in wanted if not _used(path, entry)]
    if not missing:
        return
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(missing)))
    try:
        for _ in pool.map(lambda each: _fetch(each[0], each[1], chunks), missing):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def pruned(mirror: Path, now: float, keep: timedelta) -> int:
    """Remove the copies that nobody has used for so long before `now` (seconds); says how many went."""
    gone = 0
    for folder, _, names in os.walk(mirror, topdown=False):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):  # another process was faster
                if now - path.stat().st_atime > keep.total_seconds():
                    path.unlink()
                    gone += 1
        with suppress(OSError):  # it is not empty
            Path(folder).rmdir()
    return gone


def _mark(entry: Entry) -> int:
    """A time that stands for the version, in whole microseconds: not every disk keeps more."""
    return _EPOCH_NS + int.from_bytes(hashlib.sha256(entry.version.encode()).digest()[:6]) * 1000


def _used(path: Path, entry: Entry) -> bool:
    """Whether the copy is there and right; if so it counts as used now."""
    try:
        found = path.stat()
        if (found.st_size, found.st_mtime_ns) != (entry.size, _mark(entry)):
            return False
        os.utime(path, ns=(time.time_ns(), found.st_mtime_ns))
    except OSError:
        return False
    return True


def _fetch(entry: Entry, path: Path, chunks: Chunks) -> None:
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = _written(partial, chunks(entry))
        if size != entry.size:
            raise Unavailable(f"object {entry.key!r} has {size:,} bytes, and was listed with {entry.size:,}; try again")
        os.utime(partial, ns=(time.time_ns(), _mark(entry)))
        partial.replace(path)
    except OSError as why:
        raise Unavailable(f"object {entry.key!r} cannot be kept at {str(path)!r}: {why.strerror or why}") from why
    finally:
        with suppress(OSError):
            partial.unlink()


def _written(partial: Path, chunks: Iterable[bytes]) -> int:
    size = 0
    with partial.open("wb") as file:
        for chunk in chunks:
            size += file.write(chunk)
    return size
