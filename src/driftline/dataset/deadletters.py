"""Dead letters: what could not be decoded, with file, line and reason, so that nothing is lost uncounted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Final

EXCERPT: Final = 1000
"""Characters of a record that its letter keeps; file, line and offset lead to the rest."""
_REASONS: Final = 100
_MORE: Final = "another reason (see the dead-letter file)"


class DeadLetters:
    """A JSON-lines file that exists once there is a letter in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reasons: Counter[str] = Counter()
        self.lines = 0
        """Letters about lines that never became records: too long, not text, broken off."""
        self._first: dict[str, tuple[int, str]] = {}
        self._file: IO[str] | None = None

    def add(self, file: Path | str, line: int, reason: str, record: bytes | str, offset: int | None = None) -> None:
        """Keep one record: `line` counts from 1, `offset` is the byte at which the record begins."""
        if isinstance(record, bytes):
            record = record[: 4 * EXCERPT].decode("utf-8", errors="backslashreplace")
        letter: dict[str, object] = {"file": str(file), "line": line, "reason": reason, "record": record[:EXCERPT]}
        if offset is not None:
            letter["offset"] = offset
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
        # A lone surrogate (from "\ud800" in JSON) has no UTF-8: escape all that is not ASCII.
        self._file.write(json.dumps(letter) + "\n")
        known = reason in self.reasons or len(self.reasons) < _REASONS
        self.reasons[reason if known else _MORE] += 1

    def unread(self, file: Path | str, line: int, reason: str, record: bytes | str, offset: int | None = None) -> None:
        """Keep a line that never became a record."""
        self.lines += 1
        self._first.setdefault(str(file), (line, reason))
        self.add(file, line, reason, record, offset)

    def first(self, file: Path) -> tuple[float, str]:
        """The first line of the file that never became a record, and why; infinity if there is none."""
        return self._first.get(str(file), (float("inf"), ""))

    @property
    def count(self) -> int:
        """Letters so far."""
        return self.reasons.total()

    def __enter__(self) -> DeadLetters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
