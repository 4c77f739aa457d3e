"""Objects as plain files below one folder: a file appears whole, under its own name, or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final

from driftline.errors import Conflict, InputError, NotFound, Unavailable
from driftline.objects.keys import checked
from driftline.objects.store import Entry

_BLOCK: Final = 8 << 20


class Directory:
    """An object store in a local folder; it is made where it does not exist.

    A key is the path below the root. No part of a key may begin with a dot (such names belong to files that are still
    being written), and no object is reached through a symbolic link below the root: a key never leads out of it.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(os.path.realpath(root))

    def __repr__(self) -> str:
        return f"Directory({str(self.root)!r})"

    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        """Write the object. It is on the disk, whole, when this returns; if not `durable`, a little later."""
        self._put(key, io.BytesIO(data), if_absent, durable)

    def put_file(self, key: str, path: Path, *, if_absent: bool = False, durable: bool = True) -> None:
        """Write what is in the file, as `put` does."""
        with path.open("rb") as file:
            self._put(key, file, if_absent, durable)

    def enforces_conditions(self) -> bool:
        """A file system does."""
        return True

    def _put(self, key: str, data: BinaryIO, if_absent: bool, durable: bool) -> None:
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not _publish_nameless(path, data, if_absent, durable):
                _publish(path, data, if_absent, durable)
            if durable:
                # The folders above it that are new go to the disk with it: they stand before it in the journal.
                _sync_folder(path.parent)
        except OSError as why:
            raise self._refusal(key, path, why) from why

    def get(self, key: str) -> bytes:
        """The object. Raises NotFound."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as why:
            raise NotFound(f"there is no object {key!r} in {self.root}") from why
        except OSError as why:
            raise Unavailable(f"cannot read object {key!r} in {self.root}: {why}") from why

    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects whose key starts with `prefix`, in byte order of their keys."""
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder or prefix.startswith("/") else self.root
        return self._walk(start, f"{folder}/" if folder else "", prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below `prefix`, in byte order."""
        folder = prefix.removesuffix("/")
        inside = self._inside(self._path(folder) if folder else self.root)
        return iter(sorted((entry.name for entry in inside if entry.is_dir()), key=os.fsencode))

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        try:
            self._path(key).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as why:
            raise Unavailable(f"cannot delete object {key!r} in {self.root}: {why}") from why

    def endpoint(self) -> str:
        """Empty: a folder has one path."""
        return ""

    def location(self, key: str) -> str:
        """The path of the object's file."""
        return str(self._path(key))

    def fetch(self, entries: Sequence[Entry], mirror: Path) -> tuple[Path, ...]:
        """The files of the objects, where they are."""
        return tuple(self._path(entry.key) for entry in entries)

    def _walk(self, folder: Path, above: str, prefix: str) -> Iterator[Entry]:
        # A folder sorts as its name with the slash: in byte order, the key "a-b" comes before "a/b".
        named = sorted(
            ((f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in self._inside(folder)),
            key=lambda pair: os.fsencode(pair[0]),
        )
        for name, entry in named:
            key = above + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(folder / entry.name, key, prefix)
            elif key.startswith(prefix):
                # The file may have been deleted since the folder was read: then it is not in the listing.
                with suppress(FileNotFoundError):
                    yield _entry(key, entry.stat(follow_symlinks=False))

    def _inside(self, folder: Path) -> Sequence[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                return [entry for entry in found if not entry.name.startswith(".") and not entry.is_symlink()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as why:
            raise Unavailable(f"cannot list {folder}: {why}") from why

    def _path(self, key: str) -> Path:
        path = str(self.root)
        for part in checked(key).split("/"):
            path = f"{path}/{part}"
            if os.path.islink(path):  # noqa: PTH114  Path's raises for a name that is too long
                raise InputError(f"key {key!r} leads through a symbolic link below {self.root}; links are not followed")
        return Path(path)

    def _refusal(self, key: str, path: Path, why: OSError) -> Exception:
        if isinstance(why, FileExistsError) and path.is_file():
            return Conflict(f"object {key!r} is already there in {self.root}")
        if isinstance(why, (FileExistsError, IsADirectoryError, NotADirectoryError)):
            return InputError(f"key {key!r} cannot be an object in {self.root}: a file and a folder share that name")
        return Unavailable(f"cannot write object {key!r} in {self.root}: {why}")


def _publish_nameless(path: Path, data: BinaryIO, if_absent: bool, durable: bool) -> bool:
    """Write a file that has no name before it is whole: of one who is killed meanwhile nothing is left.

    Returns:
        False, and the data is to be read again, where that cannot be done.
    """
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except (AttributeError, OSError):
        return False  # not on this system, or not on this file system; what else is wrong will show
    with open(handle, "wb", buffering=0) as file:  # noqa: PTH123
        nameless = Path(f"/proc/self/fd/{handle}")
        if not nameless.exists():
            return False
        _write(file, data, durable)
        try:
            _link(nameless, path)
            return True
        except FileExistsError:
            if if_absent:
                raise
        # To replace a file takes a name. It is always the same, so that those of killed processes do not pile up.
        beside = path.with_name(f".{blake2b(os.fsencode(path.name), digest_size=8).hexdigest()}.tmp")
        try:
            beside.unlink(missing_ok=True)
            _link(nameless, beside)
            beside.replace(path)
        except (FileExistsError, FileNotFoundError):  # another one is just replacing it, too
            data.seek(0)
            return False
        return True


def _link(nameless: Path, path: Path) -> None:
    # With a folder for the source the link in /proc is followed, without one it is not.
    os.link(nameless, path, src_dir_fd=0)


def _publish(path: Path, data: BinaryIO, if_absent: bool, durable: bool) -> None:
    temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
    try:
        with temporary.open("xb", buffering=0) as file:
            _write(file, data, durable)
        if if_absent:
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(file: io.RawIOBase, data: BinaryIO, durable: bool) -> None:
    while block := data.read(_BLOCK):
        rest = memoryview(block)
        while rest:
            rest = rest[file.write(rest) or 0 :]
    if durable:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entry(key: str, status: os.stat_result) -> Entry:
    # The inode as well: two writes of the same size within one tick of the file system's clock are two versions.
    return Entry(key, status.st_size, f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}")
