"""Scored records on their way into the layout of captured ones, each once however often its source is imported.

Records are kept in parts. A part is known by a digest of its records and of all parts of its file before it, and what
is in the store stands in `_imports/` beside the hours: a source that is imported again, or has grown since, goes on
behind the last part that is known. What a broken import had stored gets the same keys again: it is not stored twice.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, TypeAlias

from driftline.capture.layout import captured_key, captured_prefix
from driftline.capture.record import Record
from driftline.dataset.labels import put_labels
from driftline.errors import Conflict
from driftline.objects.store import ObjectStore

_PART: Final = 10_000
_PART_BYTES: Final = 8 << 20
_FLUSH_BYTES: Final = 32 << 20
_Hour: TypeAlias = tuple[int, int, int, int]


def uuid_of(*parts: bytes) -> str:
    """An id in the form of a UUID that follows from the parts, and from nothing else; it will never change."""
    whole = blake2b(digest_size=16, person=b"driftline.import")
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    digits = whole.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-b{digits[17:20]}-{digits[20:]}"


class Importer:
    """Puts records under their endpoint, variant and hour; memory stays within some tens of megabytes.

    Args:
        now: when labels that come with the records are uploaded.
    """

    def __init__(self, store: ObjectStore, endpoint: str, variant: str, *, now: datetime) -> None:
        self._store, self._endpoint, self._variant, self._now = store, endpoint, variant, now
        self._ledger = f"{captured_prefix(endpoint, variant)}_imports/"
        self._known = {line for entry in store.list(self._ledger) for line in store.get(entry.key).split()}
        self._waiting: defaultdict[_Hour, list[tuple[datetime, bytes]]] = defaultdict(list)
        self._waiting_bytes = 0
        self._labels: list[tuple[str, object]] = []
        self._ended: list[bytes] = []
        self.imported = self.already = self.objects = self.labels = 0
        self.hours: set[datetime] = set()
        self._begin(b"")

    def add(self, record: Record, label: object = None) -> None:
        """Import the record, and its label where there is one."""
        line = record.encode()
        self._part.append((record, line, label))
        self._part_bytes += len(line)
        self._digest.update(line + b"\n")
        digest = self._digest.hexdigest().encode()
        if digest in self._known:
            self.already += len(self._part)
            self._begin(digest)
        elif len(self._part) >= _PART or self._part_bytes >= _PART_BYTES:
            self._end(digest)

    def end_file(self) -> None:
        """The next record is the first of another file."""
        if self._part:
            self._end(self._digest.hexdigest().encode())
        self._begin(b"")

    def close(self) -> None:
        """Store what waits."""
        self.end_file()
        self._flush()

    def _begin(self, before: bytes) -> None:
        self._digest = blake2b(before, digest_size=16)
        self._part: list[tuple[Record, bytes, object]] = []
        self._part_bytes = 0

    def _end(self, digest: bytes) -> None:
        for record, line, label in self._part:
            at = record.inferred_at
            self._waiting[at.year, at.month, at.day, at.hour].append((at, line))
            if label is not None:
                self._labels.append((record.join_id, label))
        self.imported += len(self._part)
        self._waiting_bytes += self._part_bytes
        self._known.add(digest)
        self._ended.append(digest)
        self._begin(digest)
        if self._waiting_bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._ended:
            return
        for hour, lines in sorted(self._waiting.items()):  # hours of inference, in UTC
            data = b"\n".join([*(line for _, line in lines), b""])
            with suppress(Conflict):  # an import that was broken off has stored it
                key = captured_key(self._endpoint, self._variant, lines[0][0], uuid_of(data))
                self._store.put(key, data, if_absent=True)
            self.objects += 1
            self.hours.add(datetime(*hour, tzinfo=UTC))
        if self._labels:
            self.labels += put_labels(self._store, self._endpoint, self._labels, now=self._now).written
        # Last: what stands here is in the store.
        ended = b"\n".join([*self._ended, b""])
        with suppress(Conflict):
            self._store.put(f"{self._ledger}{uuid_of(ended)}.txt", ended, if_absent=True)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._labels, self._ended = [], []
