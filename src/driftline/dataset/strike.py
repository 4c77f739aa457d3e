"""Records and letters of named requests are struck out of files; everything else stays as it is, line for line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import msgspec

from driftline.errors import Corrupt

_BOM: Final = b"\xef\xbb\xbf"
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_TAIL: Final = 5
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
    it as a JSON text. A line that goes leaves an empty one, so that the others keep their numbers.

    Raises:
        Corrupt: the file is packed and cannot be unpacked.
    """
    packed = key.lower().endswith(".gz")
    try:
        text = gzip.decompress(data) if packed else data
    except (EOFError, OSError, zlib.error) as why:
        raise Corrupt(f"object {key!r} is not whole gzip ({why}): nothing in it can be erased; delete it") from why
    found = _of_array(text, ids) or _of_lines(text, ids)
    if found is None or not packed:
        return found
    return Struck(gzip.compress(found.data, 6), found.found, found.records, found.lines)


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
    """By `tail` of the object: the lines, or None: anywhere in it."""

    def letter(self, line: bytes) -> dict[str, Any] | None:
        """The dead letter in the line, if it is about one of the requests.

        An excerpt may end before the id comes: such a letter is known by the place of its record.
        """
        try:
            letter = json.loads(line)
            place = self.places.get(tail(str(letter.get("file", ""))), frozenset())
            named = place is None or letter.get("line") in place or quoted(str(letter.get("record", "")), self.ids)
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


def tail(path: str) -> str:
    """The hour and the name of an object, by which its copies are known too."""
    return "/".join(PurePath(path).parts[-_TAIL:])
