"""CloudEvents 1.0 as HTTP carries them: one in the headers, or one or many in a JSON document."""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from driftline.errors import InputError

FRAMED = "application/cloudevents"
"""What the content type of a message begins with that holds its attributes too."""
BATCH = "application/cloudevents-batch+json"
_NEEDED = ("id", "source", "type")
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_batch = msgspec.json.Decoder(list[Raw])
_document = msgspec.json.Decoder(dict[str, Raw])


class Event(NamedTuple):
    """One event."""

    id: str
    type: str
    attributes: Mapping[str, str]
    """All of them but for the data's content type, by name: extensions too."""
    time: datetime | None
    """When it happened, aware; None where it does not say."""
    content_type: str | None
    data: bytes


def in_headers(headers: Iterable[tuple[str, str]], data: bytes) -> Event:
    """The event of a message in binary mode: its attributes stand in headers, its data is the body.

    Raises:
        InputError: it is none.

    >>> head = {"ce-specversion": "1.0", "Ce-Id": "a%20b", "ce-source": "/x", "ce-type": "asked"}
    >>> in_headers(head.items(), b"1,2").id
    'a b'
    """
    attributes: dict[str, str] = {}
    content_type = None
    for name, value in headers:
        known = name.lower()
        if known.startswith("ce-"):
            attributes[known[3:]] = _header(name, value)
        elif known == "content-type":
            content_type = value
    return _event(attributes, content_type, data)


def in_document(document: bytes | Raw) -> Event:
    """The event of a message in structured mode: a JSON object holds attributes and data.

    Raises:
        InputError: it is none.

    >>> in_document(b'{"specversion": "1.0", "id": "7", "source": "/x", "type": "asked", "data": {"a": [1.50]}}').data
    b'{"a": [1.50]}'
    """
    try:
        members = _document.decode(document)
        attributes = {name: _text(name, value) for name, value in members.items() if not name.startswith("data")}
        content_type = msgspec.json.decode(members.get("datacontenttype", Raw(b"null")), type=str | None)
        data = _data(members, content_type)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, Base64Error) as why:
        raise InputError(f"the event is not one in JSON: {why}") from why
    return _event(attributes, content_type or "application/json", data)


def in_batch(document: bytes) -> Iterator[Event | InputError]:
    """The events of a message in batched mode, a JSON list, in order; for each that is none, what is wrong with it.

    Raises:
        InputError: it is no list.
    """
    try:
        events = _batch.decode(document)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as why:
        raise InputError(f"the batch is not a list of events in JSON: {why}") from why
    for each in events:
        try:
            yield in_document(each)
        except InputError as why:
            yield why


def _event(attributes: Mapping[str, str], content_type: str | None, data: bytes) -> Event:
    version = attributes.get("specversion")
    if version != "1.0":
        raise InputError(f"specversion is {version!r}; only CloudEvents 1.0 are understood")
    for name in _NEEDED:
        if not attributes.get(name):
            raise InputError(f"an event needs the attribute {name!r}; it has {sorted(attributes)}")
    time = attributes.get("time")
    return Event(attributes["id"], attributes["type"], attributes, _time(time) if time else None, content_type, data)


def _header(name: str, value: str) -> str:
    """The value as it was before it became a header: without quotes and escapes, percent-encoding undone."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        text = unquote(value, errors="strict")
        text.encode()
    except UnicodeError as why:
        raise InputError(f"header {name!r} is not UTF-8 in percent-encoding: {why}") from why
    return text


def _text(name: str, value: Raw) -> str:
    found: Any = msgspec.json.decode(value)
    if isinstance(found, bool):
        return "true" if found else "false"
    if not isinstance(found, (str, int, type(None))):
        raise InputError(f"attribute {name!r} of an event is a list, an object or a fraction; it must be a text")
    return "" if found is None else str(found)


def _data(members: Mapping[str, Raw], content_type: str | None) -> bytes:
    packed = members.get("data_base64")
    if packed is not None:
        return a2b_base64(msgspec.json.decode(packed, type=str).encode(), strict_mode=True)
    data = bytes(members.get("data", b""))
    if data.startswith(b'"') and not _is_json(content_type):
        return msgspec.json.decode(data, type=str).encode()
    return data


def _is_json(content_type: str | None) -> bool:
    kind = (content_type or "application/json").partition(";")[0].strip().lower()
    return kind.endswith(("/json", "+json"))


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None and _EARLIEST <= time < _LATEST:
            return time.astimezone(UTC)
    except (ValueError, OverflowError) as why:
        raise InputError(f"time {text!r} of an event is not a time such as 2026-03-01T09:14:07Z") from why
    raise InputError(f"time {text!r} of an event has no zone, or lies outside of the years 1970 to 9998")
