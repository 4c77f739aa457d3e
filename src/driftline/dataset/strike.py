"""Records and letters of named requests are struck out of files; everything else stays as it is, line for line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.columnar import ENDING, NotRecords, rows_of, struck_rows
from driftline.errors import Corrupt

_BOM: Final = b"\xef\xbb\xbf"
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_ERASED: Final = "erased on request"


@dataclass(frozen=True, slots=True)
class Struck:
    """What is left of a file, and what was struck out of it."""

    data: bytes
    found: frozenset[str]
    """The ids that were there."""
    records: int
    lines: frozenset[int] | None
    """Where they stood, from 1; None where all places of the file have changed."""


class _Metadata(msgspec.Struct, rename="camel"):
    event_id: Any = None
    inference_id: Any = None


class _Named(msgspec.Struct, rename="camel"):
    event_metadata: _Metadata | None = None


_named = msgspec.json.Decoder(_Named)
_array = msgspec.json.Decoder(list[msgspec.Raw])


def struck(data: bytes, key: str, ids: Collection[str]) -> Struck | None:
    """A file of captured records or labels without those of the ids; None where it has none of them.

    A record counts that has one of them as its inference id or its event id; one that is broken counts if one stands in
    it as a JSON text. A line that goes leaves an empty one, and a row of columns an empty row, so that the others keep
    their numbers.

    Raises:
        Corrupt: the file cannot be unpacked, or is no Parquet file of captured records.
    """
    if key.lower().endswith(ENDING):
        return _of_columns(data, key, ids)
    packed = key.lower().endswith(".gz")
    try:
        text = gzip.decompress(data) if packed else data
    except (EOFError, OSError, zlib.error) as why:
        raise Corrupt(f"object {key!r} is not whole gzip ({why}): nothing in it can be erased; delete it") from why
    found = _of_array(text, ids) or _of_lines(text, ids)
    if found is None or not packed:
        return found
    return Struck(gzip.compress(found.data, 6), found.found, found.records, found.lines)


def _of_columns(data: bytes, key: str, ids: Collection[str]) -> Struck | None:
    asked = pa.array(sorted(ids), pa.string())
    found: set[str] = set()
    lines: list[int] = []
    row = 0
    try:
        for batch in rows_of(data, "event_id", "inference_id"):
            hits = [pc.is_in(column, asked) for column in batch.columns]
            at = np.flatnonzero(pc.or_(*hits).to_numpy(zero_copy_only=False))
            lines += (at + (row + 1)).tolist()
            found.update(one for hit, c in zip(hits, batch.columns, strict=True) for one in c.filter(hit).to_pylist())
            row += batch.num_rows
    except NotRecords as why:
        raise Corrupt(f"object {key!r} cannot be looked into: {why}; delete it if need be") from why
    if not lines:
        return None
    return Struck(struck_rows(data, np.asarray(lines) - 1), frozenset(found), len(lines), frozenset(lines))


def _of_array(text: bytes, ids: Collection[str]) -> Struck | None:
    """For a file of one JSON array."""
    if not text.removeprefix(_BOM).lstrip().startswith(b"["):
        return None
    try:
        items = _array.decode(text.removeprefix(_BOM))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    hits = [_ids_of(bytes(item), ids) for item in items]
    if not any(hits):
        return None
    kept = [bytes(item) for item, hit in zip(items, hits, strict=True) if not hit]
    return Struck(b"[" + b",\n".join(kept) + b"]", frozenset().union(*hits), sum(map(bool, hits)), None)


def _of_lines(text: bytes, ids: Collection[str]) -> Struck | None:
    lines = text.split(b"\n")
    found: dict[int, frozenset[str]] = {}
    for number, line in enumerate(lines):
        if line and (hit := _ids_of(line, ids)):
            lines[number] = b""
            found[number + 1] = hit
    if not found:
        return None
    return Struck(b"\n".join(lines), frozenset().union(*found.values()), len(found), frozenset(found))


def _ids_of(line: bytes, ids: Collection[str]) -> frozenset[str]:
    try:
        metadata = _named.decode(line.removeprefix(_BOM)).event_metadata or _Metadata()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return quoted(line.decode(errors="replace"), ids)
    return frozenset(
        str(one) for one in (metadata.inference_id, metadata.event_id) if one is not None and str(one) in ids
    )


def quoted(text: str, ids: Collection[str]) -> frozenset[str]:
    """Which of the ids stand in the text as a whole JSON text, however it is spelled."""
    return frozenset(one for each in _QUOTED.findall(text) if (one := _spoken(each)) in ids)


def _spoken(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


@dataclass(frozen=True, slots=True)
class Hits:
    """The requests that are looked for, and where their records stand."""

    ids: frozenset[str]
    places: Mapping[str, frozenset[int] | None]
    """By key: the lines, or None: anywhere in it."""

    def letter(self, line: bytes) -> dict[str, Any] | None:
        """The dead letter in the line, if it is about one of the requests.

        An excerpt may end before the id comes: such a letter is known by the place of its record.
        """
        try:
            letter = json.loads(line)
            key = key_in(str(letter.get("file", "")), self.places)
            lines = frozenset() if key is None else self.places[key]
            named = lines is None or letter.get("line") in lines or quoted(str(letter.get("record", "")), self.ids)
        except (ValueError, AttributeError):
            return None
        return letter if named and letter.get("reason") != _ERASED else None


def struck_letters(data: bytes, hits: Hits) -> tuple[bytes, int]:
    """Dead letters without what they told of the requests, and how many did; that there was a letter stays known."""
    lines = data.split(b"\n")
    count = 0
    for number, line in enumerate(lines):
        if line and (letter := hits.letter(line)) is not None:
            told = {"file": letter.get("file"), "line": letter.get("line"), "reason": _ERASED, "record": ""}
            lines[number] = json.dumps(told).encode()
            count += 1
    return b"\n".join(lines), count


def key_in(path: str, keys: Container[str]) -> str | None:
    """The one of the keys by which the path of a file, or of a copy of it, ends."""
    parts = path.split("/")
    return next((key for at in range(len(parts)) if (key := "/".join(parts[at:])) in keys), None)
