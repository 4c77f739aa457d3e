"""Files as blocks of whole lines, for a parser that finds the lines itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from driftline.dataset import lines
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.lines import Lines, Reader, Unpacked, texts_of


class Block:
    """Whole lines of one file, as bytes."""

    def __init__(self, reader: BlockReader, data: bytes | bytearray, length: int) -> None:
        self.index, self.path, self.dead, self.offset = reader.index, reader.path, reader.dead, reader.offset
        self.data = data
        self.length = length
        """Bytes of the lines; `data` may be longer."""
        self._first = 1 + reader.extra
        self._before = reader.before
        self._lines: int | None = None

    @property
    def line(self) -> int:
        """Number of the first line."""
        if self._before is not None:
            self._first += self._before.line + self._before.count - 1
            self._before = None  # so that not all blocks are kept
        return self._first

    @property
    def count(self) -> int:
        """How many lines there are."""
        if self._lines is None:
            self._lines = self.data.count(b"\n", 0, self.length)
        return self._lines

    @count.setter
    def count(self, number: int) -> None:
        self._lines = number

    def release(self, spare: list[bytearray]) -> None:
        """Give the bytes back: the block has been read."""
        self.line, self.count  # noqa: B018  both are found out now
        if isinstance(self.data, bytearray):
            spare.append(self.data)
        self.data = b""

    def lines(self, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], number: npt.NDArray[np.int64]) -> Lines:
        """Some of the lines, by their place in the block and their number in it."""
        data = b"".join(self.data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True))
        cuts = np.concatenate([[0], np.cumsum(ends - starts)])
        return texts_of(data, cuts, self.line + number, self.offset + starts, self)


class BlockReader(Reader):
    """One pass over one file that leaves its lines together.

    `spare` lends it the memory for its blocks; who has read a block of a plain file may put its bytes back there.
    """

    def __init__(self, index: int, path: Path, dead: DeadLetters, spare: list[bytearray]) -> None:
        self.before: Block | None = None
        self.extra = 0
        """Lines that were skipped since the last block."""
        self._spare = spare
        super().__init__(index, path, dead, _last_end)

    @property
    def line(self) -> int:
        """Number of the next line; it is counted only when somebody wants to know."""
        return self.extra + (1 if self.before is None else self.before.line + self.before.count)

    @line.setter
    def line(self, number: int) -> None:
        self.extra += number - self.line

    def _blocks(self, file: IO[bytes]) -> Iterator[Block]:
        if isinstance(file, Unpacked):
            yield from super()._blocks(file)
            return
        while True:
            start, size = len(self.rest), len(self.rest) + lines.BLOCK
            data = self._spare.pop() if self._spare else bytearray(size)
            if len(data) < size:
                data = bytearray(size)
            data[:start] = self.rest
            with memoryview(data) as view:
                size = start + cast("io.BufferedReader", file).readinto(view[start:])
            if size == start:
                break
            end = data.rfind(b"\n", 0, size) + 1
            self.rest = bytes(data[end:size])
            if end:
                yield self._block(data, end)
            if len(self.rest) > lines.LONGEST:
                self._skip(file)
        yield from self._last(file)

    def _lines(self, data: bytes, ends: npt.NDArray[np.int64]) -> Any:
        return self._block(data, int(ends[-1]))

    def _block(self, data: bytes | bytearray, length: int) -> Block:
        block = Block(self, data, length)
        self.before, self.extra = block, 0
        self.offset += length
        return block


def _last_end(block: bytes) -> npt.NDArray[np.int64]:
    end = block.rfind(b"\n") + 1
    return np.asarray([end] if end else [], np.int64)
