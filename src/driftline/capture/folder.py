"""The folder of one writer in the spool: a lock that says whether it lives, its segments, a journal of its counts."""

from __future__ import annotations

import fcntl
import fnmatch
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

import msgspec
from msgspec import Struct

from driftline.capture import cells
from driftline.capture.buffer import complain
from driftline.capture.counters import Counters
from driftline.capture.frames import frame, unframe
from driftline.capture.in_force import InForce
from driftline.capture.segments import Head, Segment, append, found, sync
from driftline.capture.spool import DAMAGED, SEGMENT
from driftline.capture.tallies import Counted, Place, Tallies
from driftline.errors import Corrupt

LOCK = "lock"
JOURNAL = "journal"
IN_FORCE = "in_force.json"
_NEW = ".new-"
_GONE = ".gone-"
_TRIES = 10
_ASKED_S = 0.005
_LONGEST_JOURNAL = 1 << 20
_DAMAGED_S = 7 * 86_400
_BEGUN_S = 60  # by then a writer's folder has its name, unless its process is dead


class Note(Struct, frozen=True, omit_defaults=True):
    """One line of the journal: the counts of a place, which replace those of the lines before."""

    endpoint: str
    variant: str
    hour: datetime
    part: int
    seen: int
    sampled: int
    written: int
    dropped: dict[str, int]
    withheld: dict[str, int] = {}
    done: str | None = None
    """A segment that is in the store, and in these counts."""

    @classmethod
    def of(cls, counted: Counted, done: str | None = None) -> Note:
        """The note of these counts."""
        (endpoint, variant, hour), part, (seen, sampled, written, dropped, withheld) = counted
        return cls(endpoint, variant, hour, part, seen, sampled, written, dict(dropped), dict(withheld), done)

    @property
    def counted(self) -> Counted:
        """The counts."""
        place = Place(self.endpoint, self.variant, self.hour.astimezone(UTC))
        counters = Counters(self.seen, self.sampled, self.written, self.dropped, self.withheld)
        return Counted(place, self.part, counters)


class WriterFolder:
    """A folder that this process holds the lock of. No other process touches it while this one lives."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.id = path.name
        self.lock = RLock()
        """Held while counts are read and noted, so that the notes are in the order of the counts."""
        self._held: int | None = lock
        self._segments = 0
        self._journal = path / JOURNAL
        self._journal_bytes = 0
        self._unsynced: set[Path] = set()
        self._new = True

    @classmethod
    def open(cls, spool: Path, writer: str) -> WriterFolder:
        """A new folder, locked before it has its name. Raises OSError."""
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        hidden = spool / f"{_NEW}{writer}"
        for _ in range(_TRIES):
            hidden.mkdir(exist_ok=True, mode=0o700)
            with suppress(FileNotFoundError):  # taken for one that a dead process had begun, before it was locked
                lock = _lock(hidden)
                if lock is not None:
                    hidden.rename(spool / writer)
                    return cls(spool / writer, lock)
                time.sleep(_ASKED_S)
        raise BlockingIOError(f"somebody else holds {hidden}")

    @classmethod
    def adopt(cls, path: Path) -> WriterFolder | None:
        """The folder of a writer that is dead; None where it lives, or somebody else has adopted it."""
        try:
            lock = _lock(path)
        except OSError:
            return None
        return None if lock is None else cls(path, lock)

    def segment(self, head: Head, now_s: float) -> Segment:
        """A new segment: their names are in the order in which they were begun."""
        self._segments += 1
        return Segment(head, self.path / f"{self._segments:08d}{SEGMENT}", now_s)

    def note(self, news: Iterable[Counted], done: str | None = None) -> None:
        """Write counts into the journal. Raises OSError."""
        data = b"".join(frame(msgspec.json.encode(Note.of(each, done))) for each in news)
        with self.lock:
            append(self._journal, data)
            self._journal_bytes += len(data)
            self._unsynced.add(self._journal)

    def note_in_force(self, in_force: InForce) -> None:
        """Keep how was sampled and what was taken out, beside the counts. Raises OSError."""
        new = self.path / f".{IN_FORCE}"
        new.write_bytes(msgspec.json.encode(in_force.all_told()))
        new.replace(self.path / IN_FORCE)

    def in_force(self) -> InForce:
        """What the owner noted. Raises OSError, msgspec.MsgspecError, InputError, KeyError, TypeError, ValueError."""
        try:
            return InForce.of(msgspec.json.decode((self.path / IN_FORCE).read_bytes(), type=dict[str, Any]))
        except FileNotFoundError:
            return InForce()

    def shorten(self, tallies: Tallies) -> None:
        """Write the journal anew once it is long: only the last note of a place counts. Raises OSError."""
        if self._journal_bytes < _LONGEST_JOURNAL:
            return
        with self.lock:
            data = b"".join(frame(msgspec.json.encode(Note.of(each))) for each in tallies.open_counts())
            short = self.path / f".{JOURNAL}"
            short.write_bytes(data)
            sync(short)
            short.replace(self._journal)
            self._journal_bytes = len(data)

    def saved(self, segment: Segment) -> None:
        """Remember that the segment has to be synced."""
        if segment.file is not None and segment.size:
            with self.lock:
                self._unsynced.add(segment.file)

    def sync(self) -> None:
        """Have what was written outlive a power cut. Raises OSError."""
        with self.lock:
            files, self._unsynced = self._unsynced, set()
        if not files:
            return
        try:
            for file in (*files, self.path, *([self.path.parent] if self._new else [])):
                with suppress(FileNotFoundError):  # it is in the store, or somebody deleted it: nothing is to be kept
                    sync(file)
            self._new = False
        except OSError:
            with self.lock:
                self._unsynced |= files
            raise

    def left(self, tallies: Tallies, now_s: float) -> Iterator[Segment]:
        """Restore the counts that the dead owner noted; the segments that are not in the store yet, in order."""
        done: set[str] = set()
        _mend(self._journal)
        for line in _lines(self._journal):
            note = msgspec.json.decode(line, type=Note)
            tallies.restore(note.counted)
            if note.done is not None:
                done.add(note.done)
        for counted in cells.left(self.id):
            tallies.rose(counted)
        for file in sorted(self.path.glob(f"*{SEGMENT}")):
            if file.name in done:
                file.unlink(missing_ok=True)
                continue
            try:
                segment = found(file, now_s)
            except Corrupt as why:
                aside = self.path.parent / DAMAGED / f"{self.id}-{file.name}"
                complain("%s; it is kept as %s for %d days", why, aside, _DAMAGED_S // 86_400)
                aside.parent.mkdir(exist_ok=True, mode=0o700)
                file.touch()  # the days count from now
                file.rename(aside)
                continue
            if segment is None:
                file.unlink(missing_ok=True)
            else:
                yield segment

    def remove(self) -> None:
        """Delete the folder: all of it is in the store."""
        # Under another name first: one that is killed meanwhile must not leave a folder without its journal, whose
        # requests would all be counted as lost.
        with suppress(FileNotFoundError):
            self.path.rename(self.path.with_name(f"{_GONE}{self.id}"))
        sweep(self.path.parent, self.id)
        self.release()

    def release(self) -> None:
        """Let others adopt what is left here. Also for a forked child, which must not keep its parent's lock."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)


def sweep(spool: Path, writer: str = "*") -> None:
    """Delete what killed processes had begun to make, or to delete, and what was kept as damaged for long enough."""
    try:
        names = fnmatch.filter(os.listdir(spool), f".*-{writer}")  # noqa: PTH208  names are all it needs
    except OSError:
        return
    for path in (spool / name for name in names):
        if path.name.startswith(_GONE):
            cells.forget(path.name.removeprefix(_GONE))
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            lock = _lock(path) if path.name.startswith(_NEW) and _age_s(path) > _BEGUN_S else None
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
    with suppress(OSError):
        for file in (spool / DAMAGED).iterdir():
            if _age_s(file) > _DAMAGED_S:
                file.unlink(missing_ok=True)


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime  # noqa: TID251  a file has the system's time


def is_held(path: Path) -> bool:
    """Whether the owner of this writer's folder lives."""
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _owned(lock)
    finally:
        os.close(lock)


def writer_folders(spool: Path) -> list[Path]:
    """The folders of all writers in a spool, the oldest first."""
    try:
        with os.scandir(spool) as entries:
            return [Path(path) for _, path in sorted(_aged(entries))]
    except OSError:
        return []


def _aged(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[int, str]]:
    for entry in entries:
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                # There may be thousands, and a Path for each takes several times as long.
                yield os.stat(os.path.join(entry.path, LOCK)).st_mtime_ns, entry.path  # noqa: PTH116,PTH118


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the lock; None where somebody else does. Raises OSError."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The one who held it may have deleted it as it was opened here.
        if _taken(lock) and os.path.samestat(os.fstat(lock), (folder / LOCK).stat()):
            return lock
    except OSError:
        os.close(lock)
        raise
    os.close(lock)
    return None


def _taken(lock: int) -> bool:
    """Whether the lock is this process's now. Who only asks whether it is held (`is_held`) is waited for."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if _owned(lock):
                return False
        time.sleep(_ASKED_S)
    return False


def _owned(lock: int) -> bool:
    """Whether an owner holds the lock. It is shared for a moment by all who ask."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _mend(file: Path) -> None:
    """Cut off a line that was torn by a kill or a power cut: the next one would be torn with it."""
    with suppress(FileNotFoundError):
        data = file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(file, whole)


def _lines(file: Path) -> list[bytes]:
    try:
        return unframe(file.read_bytes()).lines
    except FileNotFoundError:
        return []
