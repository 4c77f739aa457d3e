from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.capture.buffer import Exchange
from driftline.capture.lines import PlainLines, line_of, record_of
from driftline.capture.record import ContentTypes

AT = datetime(2026, 3, 1, 9, 14, 7, 999_999, tzinfo=UTC)
PLAIN = Exchange(AT, "e", None, b"34,0.5,yes", b"0.8125", "text/csv", b"text/csv; charset=utf-8")
KINDS = ContentTypes()

bodies = st.binary(max_size=20) | st.text(max_size=20).map(str.encode)
content_types = st.sampled_from([
    None, "text/csv", b"text/csv", b"application/json", b" Text/CSV ;a=b", b"text/\xe9", "text/\ud800", "image/png",
])  # fmt: skip
exchanges = st.builds(
    Exchange,
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))])),
    st.just("3c2f0e1a-6a59-4d6e-9d0b-1a2b3c4d5e6f"),
    st.none() | st.text(min_size=1, max_size=8) | st.just("\ud800"),
    bodies | st.none() | st.just("text"),
    bodies | st.none(),
    content_types,
    content_types,
    st.sampled_from([(), ("tier=gold",)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 200, 500]),
    st.sampled_from([1.0, 0.25, 1 / 3]),
)


@given(st.lists(exchanges, max_size=5))
def test_a_plain_line_is_the_line_of_the_record(given: list[Exchange]) -> None:
    plain = PlainLines(KINDS)
    for exchange in given:
        line = plain.line(exchange)
        assert line is None or line == line_of(record_of(exchange, KINDS))


@pytest.mark.parametrize(
    "changed",
    [
        {"inference_id": "order-17"},
        {"probability": 0.25},
        {"status": 200},
        {"request": "é\n".encode()},
        {"at": AT - timedelta(1)},
    ],
    ids=["an id", "a share", "a status", "text that is escaped", "another day"],
)
def test_most_exchanges_are_plain(changed: dict[str, Any]) -> None:
    plain, exchange = PlainLines(KINDS), PLAIN._replace(**changed)
    assert plain.line(PLAIN) == line_of(record_of(PLAIN, KINDS))
    assert plain.line(exchange) == line_of(record_of(exchange, KINDS))


def test_content_types_that_callers_make_up_do_not_fill_the_memory() -> None:
    plain = PlainLines(KINDS)
    for number in range(1000):
        assert plain.line(PLAIN._replace(request_content_type=b"text/csv; n=%d" % number)) is not None
    assert len(plain._kinds) < 300
