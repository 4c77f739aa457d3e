from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from driftline.capture.cloudevents import Event, in_batch, in_document, in_headers
from driftline.errors import InputError

HEAD = {"Ce-Specversion": "1.0", "Ce-Id": "17", "Ce-Source": "http://localhost:9081/", "Ce-Type": "asked"}
DOCUMENT = {"specversion": "1.0", "id": "17", "source": "/x", "type": "asked"}


def binary(**more: str) -> Event:
    return in_headers({**HEAD, **{f"Ce-{name}": value for name, value in more.items()}}.items(), b"1,2")


def document(**more: Any) -> Event:
    return in_document(json.dumps({**DOCUMENT, **more}).encode())


def test_headers_hold_the_attributes_and_the_body_is_the_data() -> None:
    event = in_headers({**HEAD, "Content-Type": "text/csv", "Accept": "*/*"}.items(), b"1,2")
    assert (event.id, event.type, event.content_type, event.data) == ("17", "asked", "text/csv", b"1,2")
    assert event.attributes == {"specversion": "1.0", "id": "17", "source": "http://localhost:9081/", "type": "asked"}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ('"a \\"quoted\\" text"', 'a "quoted" text'),
        ("100%", "100%"),
        ('{"X-Tenant":["acme"]}', '{"X-Tenant":["acme"]}'),
    ],
    ids=["percent-encoded", "quoted, as older senders do", "a percent sign alone", "JSON as KServe writes it"],
)
def test_a_header_is_decoded_once(sent: str, meant: str) -> None:
    assert binary(Metadata=sent).attributes["metadata"] == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-03-01T09:14:07.123456789Z", datetime(2026, 3, 1, 9, 14, 7, 123456, UTC)),
        ("2026-03-01T10:14:07+01:00", datetime(2026, 3, 1, 9, 14, 7, 0, UTC)),
        ("", None),
    ],
    ids=["nanoseconds", "another zone", "no time"],
)
def test_the_time_is_utc(said: str, meant: datetime | None) -> None:
    assert binary(Time=said).time == meant


@pytest.mark.parametrize(
    ("data", "content_type", "meant"),
    [
        ({"a": 1}, None, b'{"a": 1}'),
        ("text", "application/json", b'"text"'),
        ("1,2\n", "text/csv", b"1,2\n"),
        (None, "application/json", b"null"),
        ([1.50], "application/vnd.x+json; charset=utf-8", b"[1.5]"),
    ],
    ids=["an object", "a text that is JSON", "a text", "null", "a list"],
)
def test_data_in_a_document_is_what_its_content_type_says(data: Any, content_type: str | None, meant: bytes) -> None:
    more = {} if content_type is None else {"datacontenttype": content_type}
    event = document(data=data, **more)
    assert (event.data, event.content_type) == (meant, content_type or "application/json")


def test_data_may_be_base64() -> None:
    assert document(data_base64=b64encode(b"\xff\x00").decode(), datacontenttype="image/png").data == b"\xff\x00"


def test_extensions_are_texts_whatever_they_were() -> None:
    event = document(statuscode=422, retried=True, namespace="prod", nothing=None)
    assert [event.attributes[name] for name in ("statuscode", "retried", "namespace", "nothing")] == [
        "422",
        "true",
        "prod",
        "",
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"Ce-Specversion": "0.3"}, "only CloudEvents 1.0"),
        ({"Ce-Id": ""}, "needs the attribute 'id'"),
        ({"Ce-Time": "yesterday"}, "is not a time"),
        ({"Ce-Time": "2026-03-01T09:14:07"}, "has no zone"),
        ({"Ce-Time": "0001-01-01T00:00:00Z"}, "lies outside"),
        ({"Ce-Id": "%C0%A0"}, "is not UTF-8"),
        ({"Ce-Id": "\udcff"}, "is not UTF-8"),
    ],
    ids=[
        "an old version",
        "no id",
        "no time",
        "no zone",
        "before all time",
        "overlong UTF-8",
        "a byte that is no text",
    ],
)
def test_headers_that_hold_no_event_are_refused(change: dict[str, str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        in_headers({**HEAD, **change}.items(), b"")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"{",
        b'{"specversion": "1.0"}',
        json.dumps({**DOCUMENT, "id": [1]}).encode(),
        json.dumps({**DOCUMENT, "id": 1.5}).encode(),
        json.dumps({**DOCUMENT, "data_base64": "!"}).encode(),
        json.dumps({**DOCUMENT, "data_base64": 7}).encode(),
        json.dumps({**DOCUMENT, "datacontenttype": 7}).encode(),
        b'{"specversion": "1.0", "id": "\xff"}',
        b"[" * 100_000,
    ],
    ids=[
        "nothing",
        "a list",
        "half",
        "no id",
        "a list as id",
        "a fraction as id",
        "no base64",
        "a number as base64",
        "a number as content type",
        "no UTF-8",
        "too deep",
    ],
)
def test_a_document_that_is_no_event_is_refused(broken: bytes) -> None:
    with pytest.raises(InputError):
        in_document(broken)


def test_one_bad_event_leaves_the_others_of_its_batch() -> None:
    batch = [{**DOCUMENT, "id": "1"}, {"id": "2"}, {**DOCUMENT, "id": "3"}]
    first, wrong, last = in_batch(json.dumps(batch).encode())
    assert isinstance(first, Event)
    assert isinstance(last, Event)
    assert (first.id, last.id) == ("1", "3")
    assert isinstance(wrong, InputError)
    assert list(in_batch(b"[]")) == []
    with pytest.raises(InputError):
        list(in_batch(b'{"id": "1"}'))
