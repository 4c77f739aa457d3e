"""Files as lines: read in bounded blocks, whatever is in them; what is not text or far too long is a dead letter."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset import columnar
from driftline.dataset.columnar import NotRecords
from driftline.dataset.dataset import Progress
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.stamps import stamp_of, unchanged
from driftline.errors import InputError, Unavailable

LONGEST: Final = 16 << 20
"""Bytes of one line (or quoted CSV record); a longer one is a dead letter and is never in memory as a whole."""
BLOCK: Final = 8 << 20
_PACKED: Final = 5
"""How much smaller captured lines are in gz files and in columns."""
ENDINGS: Final = {
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz"),
    "parquet": (".parquet", ".pq"),
    "captured": (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz", columnar.ENDING),
}
"""How the names of the files of a format end; captured records are JSON lines or columns, labels are JSON lines."""
BROKEN_GZ: Final = (EOFError, gzip.BadGzipFile, zlib.error)
BROKEN: Final = (*BROKEN_GZ, NotRecords)
"""What reading tells of files that are not what their name says."""
_MANY: Final = 1 << 17
_BOM: Final = b"\xef\xbb\xbf"

Cutter = Callable[[bytes], "npt.NDArray[np.int64]"]
"""Where the records of a block end, newline included; the block starts with one, and may break off in its last."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines (or CSV records) in the order of the files, without their line ends; never empty ones."""

    file: npt.NDArray[np.int32]
    """Index into the list of files."""
    line: npt.NDArray[np.int64]
    """Number of the (first) line in its file, from 1."""
    offset: npt.NDArray[np.int64]
    """Byte at which it begins."""
    text: pa.Array
    """string, valid UTF-8."""

    def __len__(self) -> int:
        return len(self.text)

    def where(self, mask: npt.NDArray[np.bool_]) -> Lines:
        """Only the lines at which `mask` is true."""
        return Lines(self.file[mask], self.line[mask], self.offset[mask], self.text.filter(pa.array(mask)))


def files_below(paths: Iterable[Path], *suffixes: str) -> tuple[Path, ...]:
    """The files themselves, and those below folders whose name ends with one of `suffixes`; sorted within each folder.

    Below a folder, what starts with "." or "_" (or lies in such a folder) is left out.

    Raises:
        InputError: a path does not exist.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = (p for p in path.rglob("*") if p.name.lower().endswith(suffixes) and p.is_file())
            found.extend(sorted(p for p in below if not _hidden(p.relative_to(path))))
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"there is no file or folder {str(path)!r}; check the path")
    return tuple(dict.fromkeys(found))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of all files together; one that has vanished counts nothing here, and is reported when it is read."""
    return sum(p.stat().st_size for p in paths if p.exists())


def unpacked_size(paths: Iterable[Path]) -> int:
    """About how many bytes the lines of all files are together."""
    return sum(
        size_of([path]) * (1 if path.suffix.lower() not in (".gz", columnar.ENDING) else _PACKED) for path in paths
    )


def plain_ends(block: bytes) -> npt.NDArray[np.int64]:
    """Cutter of plain lines."""
    return cast("npt.NDArray[np.int64]", np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + 1)


_FIELD: Final = rb'(?:"[^"]*+(?:""[^"]*+)*+"[^,\n]*+|[^",\n][^,\n]*+|)'
_RECORD: Final = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*+\n")


def csv_ends(block: bytes) -> npt.NDArray[np.int64]:
    """Cutter of CSV records: a newline within quotes does not end one."""
    if b'"' not in block:
        return plain_ends(block)
    ends: list[int] = []
    at = 0
    while (found := _RECORD.match(block, at)) is not None:
        at = found.end()
        ends.append(at)
    return np.asarray(ends, dtype=np.int64)


def read_lines(
    files: tuple[Path, ...], dead: DeadLetters, *, cut: Cutter = plain_ends, progress: Progress | None = None
) -> Iterator[Lines]:
    """All lines of the files, in batches of some megabytes; small files share a batch.

    A line that is longer than `LONGEST`, is not UTF-8, or opens a quote that is never closed goes to `dead`. Empty
    lines are skipped. A file that ends in `.gz` is unpacked.

    Raises:
        Unavailable: a file cannot be read (any more).
    """
    total, done = size_of(files), 0
    waiting: list[Lines] = []
    weight = 0
    for index, path in enumerate(files):
        for lines in Reader(index, path, dead, cut).batches():
            waiting.append(lines)
            weight += lines.text.nbytes
            if weight >= BLOCK or sum(map(len, waiting)) >= _MANY:
                yield together(waiting)
                waiting, weight = [], 0
        if progress is not None:
            done += path.stat().st_size if path.exists() else 0
            progress(done, total, "bytes")
    if waiting:
        yield together(waiting)


class Reader:
    """One pass over one file."""

    def __init__(self, index: int, path: Path, dead: DeadLetters, cut: Cutter) -> None:
        self.index, self.path, self.dead, self.cut = index, path, dead, cut
        self.line, self.offset = 1, 0
        self.rest = b""

    def batches(self) -> Iterator[Any]:
        """The lines, in the order of the file.

        Raises:
            Unavailable: the file cannot be read, or changed meanwhile.
        """
        stamp = stamp_of(self.path)
        try:
            yield from self._read()
        except NotRecords as why:
            unchanged(self.path, stamp)
            self.dead.unread(self.path, self.line, str(why), b"", self.offset)
        except BROKEN_GZ as why:
            unchanged(self.path, stamp)
            rest = self.rest[:4096] or str(why)
            self.dead.unread(self.path, self.line, "the gz file is broken from here on", rest, self.offset)
        except OSError as why:
            raise Unavailable(f"file {str(self.path)!r} cannot be read: {why.strerror or why}") from why
        unchanged(self.path, stamp)

    def _read(self) -> Iterator[Any]:
        with _opened(self.path) as file:
            start = file.read(len(_BOM))
            if start == _BOM:
                self.offset = len(_BOM)
            else:
                self.rest = start
            yield from self._blocks(file)

    def _blocks(self, file: IO[bytes]) -> Iterator[Any]:
        while block := file.read(BLOCK):
            data = self.rest + block
            ends = self.cut(data)
            if len(ends):
                yield self._lines(data, ends)
                data = data[int(ends[-1]) :]
            self.rest = data
            if len(self.rest) > LONGEST:
                self._skip(file)
        yield from self._last(file)

    def _last(self, file: IO[bytes]) -> Iterator[Any]:
        # The last line may lack its newline; an open quote makes a dead letter of its line, not of all that follows.
        while self.rest:
            data = self.rest + b"\n"
            ends = self.cut(data)
            if len(ends):
                yield self._lines(data, ends)
                data = data[int(ends[-1]) :]
            self.rest = data[:-1]
            if self.rest:
                self._skip(file)

    def _skip(self, file: IO[bytes]) -> None:
        """Leave out one physical line that cannot be a record, reading on until it ends."""
        excerpt, offset = self.rest[:4096], self.offset
        quote = (end := self.rest.find(b"\n")) >= 0
        block = self.rest
        while end < 0 and block:
            self.offset += len(block)
            block = file.read(BLOCK)
            end = block.find(b"\n")
        used = end + 1 if end >= 0 else len(block)
        self.offset += used
        self.rest = block[used:]
        long = f"the line is longer than {LONGEST >> 20} MB"
        quote = quote or offset + LONGEST > self.offset
        self.dead.unread(self.path, self.line, "a quote is opened and never closed" if quote else long, excerpt, offset)
        self.line += 1

    def _lines(self, data: bytes, ends: npt.NDArray[np.int64]) -> Lines:
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        used = int(ends[-1])
        newlines = plain_ends(data[:used]) if b'"' in data else ends
        line = self.line + np.searchsorted(newlines, starts, side="right").astype(np.int64)
        cuts = np.concatenate([starts[:1], ends])
        lines = texts_of(data, cuts, line, starts + self.offset, self)
        self.line += len(newlines)
        self.offset += used
        return lines


def first_lines(path: Path, size: int) -> bytes:
    """The whole lines among the first `size` bytes of a file; of a broken or vanished one those that can be read."""
    try:
        with _opened(path) as file:
            data = file.read(size)
    except (OSError, *BROKEN):
        return b""
    return data[: data.rfind(b"\n") + 1].removeprefix(_BOM)


class Place(Protocol):
    """Whose lines they are, and where those go that are none."""

    index: int
    path: Path
    dead: DeadLetters


def texts_of(data: bytes, cuts: Any, line: Any, offset: Any, of: Place) -> Lines:
    """The lines of `data` between the `cuts`; those that are too long or no text go to the dead letters."""
    count = len(cuts) - 1
    raw = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(cuts.astype(np.int32)), pa.py_buffer(data)])
    file = np.full(count, of.index, dtype=np.int32)
    good = np.diff(cuts) <= LONGEST
    for at in np.flatnonzero(~good):
        _bury(raw, int(at), f"the line is longer than {LONGEST >> 20} MB", line, offset, of)
    try:
        text = raw.cast(pa.string())
    except pa.ArrowInvalid:
        short = good.copy()
        good &= np.fromiter((_is_text(raw[i].as_py()) for i in range(count)), np.bool_, count)
        for at in np.flatnonzero(~good & short):
            _bury(raw, int(at), _no_text(raw[at].as_py()), line, offset, of)
        raw = raw.filter(pa.array(good))
        file, line, offset = file[good], line[good], offset[good]
        good = np.ones(len(raw), np.bool_)
        text = raw.cast(pa.string())
    text = pc.utf8_rtrim(text, "\r\n")
    keep = good & (pc.binary_length(text).to_numpy(zero_copy_only=False) > 0)
    return Lines(file, line, offset, text).where(keep)


def _bury(raw: pa.Array, at: int, reason: str, line: Any, offset: Any, of: Place) -> None:
    record = raw[at].as_buffer()
    excerpt = record[: min(4096, len(record))].to_pybytes()
    of.dead.unread(of.path, int(line[at]), reason, excerpt, int(offset[at]))


def _opened(path: Path) -> IO[bytes]:
    if path.suffix.lower() == columnar.ENDING:
        return columnar.opened(path)
    return cast("IO[bytes]", Unpacked(path)) if path.suffix.lower() == ".gz" else path.open("rb")


class Unpacked(gzip.GzipFile):
    """A gz file that gives all that can be unpacked, and only then tells that it is broken."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._why: Exception | None = None

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, unpacked."""
        pieces: list[bytes] = []
        rest = size or 0
        try:
            while rest > 0 and self._why is None and (piece := self.read1(rest)):
                pieces.append(piece)
                rest -= len(piece)
        except BROKEN_GZ as why:
            self._why = why
        if self._why is not None and not pieces:
            raise self._why
        return b"".join(pieces)


def _no_text(record: bytes) -> str:
    if record.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "not valid UTF-8, but the beginning of UTF-16; convert the file to UTF-8"
    return "not valid UTF-8"


def _is_text(record: bytes) -> bool:
    try:
        record.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def together(batches: list[Lines]) -> Lines:
    """The lines of all batches in a row."""
    if len(batches) == 1:
        return batches[0]
    return Lines(
        np.concatenate([b.file for b in batches]),
        np.concatenate([b.line for b in batches]),
        np.concatenate([b.offset for b in batches]),
        pa.concat_arrays([b.text for b in batches]),
    )
