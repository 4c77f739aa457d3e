"""Where records wait on the local disk, and how much of the disk they may take."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from driftline.errors import InputError

if TYPE_CHECKING:
    from driftline.objects.store import ObjectStore

SPOOL = "DRIFTLINE_SPOOL"
SEGMENT = ".segment"
DAMAGED = ".damaged"
"""Where in a spool segments are kept for a while of which nobody knows where their records belong."""
_LOOK_S = 0.5
_COUNT_S = 5.0
_SLACK = 0.05  # writing goes on when there is so much more room than it needs: not on and off with every file


class Spool(NamedTuple):
    """Records wait in a folder on the local disk until they are in the store.

    Args:
        folder: where; default: the environment variable DRIFTLINE_SPOOL, else `driftline/spool` below $XDG_STATE_HOME
            or ~/.local/state. Every endpoint and store has a folder of its own in it.
        most_bytes: capture pauses while all writers together hold so much …
        free_bytes, free_share: … or less than this, or than this share of the disk, is free.
        sync_every_s: how long a record may wait for its fsync: what a power cut may take. The end of a process takes
            nothing, however it ends. 0: with every write; infinite: the system decides.
    """

    folder: str | os.PathLike[str] | None = None
    most_bytes: int = 4 << 30
    free_bytes: int = 256 << 20
    free_share: float = 0.01
    sync_every_s: float = 1.0

    def checked(self) -> Spool:
        """This, if it makes sense. Raises InputError."""
        if self.most_bytes <= 0 or self.free_bytes < 0 or not 0 <= self.free_share < 1 or not self.sync_every_s >= 0:
            raise InputError(
                f"spool: most_bytes {self.most_bytes} must be above 0, free_bytes {self.free_bytes} 0 or more, "
                f"free_share {self.free_share} a share of the disk below 1, sync_every_s {self.sync_every_s} 0 or more"
            )
        return self


def spool_root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of all spools: the one that is given, or the environment's. Raises RuntimeError: no home."""
    given = folder or os.environ.get(SPOOL)
    if given:
        return Path(given).expanduser().absolute()
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "driftline" / "spool"


def spool_folder(spool: Spool, endpoint: str, location: str) -> Path:
    """The folder of the writers of this endpoint into the store at this location."""
    return spool_root(spool.folder) / f"{endpoint}-{_mark(location)}"


def spool_folders(root: Path, location: str) -> list[Path]:
    """The spools of all endpoints into the store at this location, by name."""
    return sorted(Path(entry.path) for entry in _entries(root) if entry.name.endswith(f"-{_mark(location)}"))


def located(store: ObjectStore) -> str:
    """The location that tells a store from all others: buckets of one name may be behind different endpoints."""
    return "\0".join(filter(None, (store.location("captured"), store.endpoint())))


def damaged_files(root: Path, location: str) -> list[Path]:
    """The segments that are kept as damaged in the spools of all endpoints into the store at this location."""
    return [Path(entry.path) for spool in spool_folders(root, location) for entry in _entries(spool / DAMAGED)]


def _mark(location: str) -> str:
    return blake2b(location.encode(errors="surrogateescape"), digest_size=6).hexdigest()


class Room:
    """Whether there is room for more. It looks at the disk twice a second, and adds up what lies there every 5 s."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self._spool = spool
        self._folder = folder
        self._looked_s = self._counted_s = self._shut_until_s = float("-inf")
        self.used = 0
        """Bytes that all writers hold in this spool, a few seconds ago at most."""
        self.full = False

    def look(self, now_s: float) -> bool:
        """Whether writing must pause."""
        if now_s - self._counted_s >= _COUNT_S:
            self._counted_s = now_s
            self.used = folder_bytes(self._folder)
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self.full = now_s < self._shut_until_s or self._short()
        return self.full

    def added(self, size: int) -> None:
        """Count what was written since."""
        self.used += size

    def shut(self, now_s: float) -> None:
        """A write found no room, whatever the disk says: a quota, perhaps. Look again in a second."""
        self.full = True
        self._looked_s = now_s
        self._shut_until_s = now_s + 1.0

    def _short(self) -> bool:
        slack = 1 + _SLACK if self.full else 1.0
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return False  # the write will tell
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        needed = max(self._spool.free_bytes, self._spool.free_share * size)
        return free < needed * slack or self.used * slack > self._spool.most_bytes


def folder_bytes(folder: Path) -> int:
    """Bytes of all segments of all writers in a spool. Those that are kept as damaged go of themselves."""
    total = 0
    for writer in _entries(folder):
        for entry in _entries(writer) if writer.name != DAMAGED else ():
            with suppress(OSError):  # uploaded and deleted meanwhile
                total += entry.stat(follow_symlinks=False).st_size if entry.name.endswith(SEGMENT) else 0
    return total


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
