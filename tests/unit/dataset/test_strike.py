"""Striking out touches what it should and nothing else, whatever the ids and the lines are."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.capture.columnar import parquet
from driftline.capture.record import Payload, Record
from driftline.dataset.strike import Hits, key_in, quoted, struck, struck_letters
from driftline.errors import Corrupt

AT = "2026-03-01T09:00:00Z"
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
events = st.builds(lambda event, inference: {"eventId": event, "inferenceId": inference}, ids, st.none() | ids)


def line(event: dict[str, Any], ascii_only: bool) -> bytes:
    record = {"captureData": {}, "eventMetadata": {**event, "inferenceTime": AT}}
    return json.dumps(record, ensure_ascii=ascii_only).encode()


@given(st.lists(events, max_size=8), st.frozensets(ids, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_a_line_goes_if_and_only_if_it_has_one_of_the_ids(
    many: list[dict[str, Any]], asked: frozenset[str], ascii_only: bool, packed: bool
) -> None:
    lines = [line(event, ascii_only) for event in many]
    data = b"".join(each + b"\n" for each in lines)
    key = "a.jsonl.gz" if packed else "a.jsonl"
    found = struck(gzip.compress(data) if packed else data, key, asked)
    hit = [bool({event["eventId"], event["inferenceId"]} & asked) for event in many]
    if not any(hit):
        assert found is None
        return
    assert found is not None
    left = gzip.decompress(found.data) if packed else found.data
    assert left == b"".join((b"" if gone else each) + b"\n" for each, gone in zip(lines, hit, strict=True))
    assert found.lines == frozenset(number for number, gone in enumerate(hit, 1) if gone)
    assert found.found == {each for event in many for each in event.values() if each in asked}
    assert struck(found.data, key, asked) is None


@given(st.lists(st.tuples(ids, st.none() | ids), max_size=8), st.frozensets(ids, min_size=1, max_size=3))
def test_columns_lose_what_lines_lose(many: list[tuple[str, str | None]], asked: frozenset[str]) -> None:
    from datetime import UTC, datetime

    records = [
        Record(event_id=event, inference_id=inference, inferred_at=datetime(2026, 3, 1, tzinfo=UTC),
               input=Payload("1", "CSV"), output=None)
        for event, inference in many
    ]  # fmt: skip
    lines = [record.encode() for record in records]
    one = struck(b"".join(each + b"\n" for each in lines), "a.jsonl", asked)
    other = struck(parquet(lines), "a.parquet", asked)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (one.found, one.records, one.lines) == (other.found, other.records, other.lines)
        assert struck(other.data, "a.parquet", asked) is None


def test_an_id_within_a_payload_or_within_another_id_is_no_hit() -> None:
    data = b'{"captureData":{"endpointInput":{"data":"7,x","encoding":"CSV"}},"eventMetadata":{"eventId":"77"}}\n'
    assert struck(data, "a.jsonl", {"7"}) is None


def test_what_cannot_be_looked_into_is_told() -> None:
    for key in ("a.jsonl.gz", "a.parquet"):
        with pytest.raises(Corrupt, match="delete it"):
            struck(b"neither nor", key, {"x"})


def test_a_letter_is_found_by_its_place_or_by_the_id_in_it_and_stays_counted() -> None:
    hits = Hits(frozenset({'odd "id"'}), {"captured/shop/v/2026/03/01/09/a.jsonl": frozenset({3})})
    letters = [
        {"file": "/home/objects/captured/shop/v/2026/03/01/09/a.jsonl", "line": 3, "reason": "r", "record": "cut off"},
        {"file": "/home/objects/captured/shop/v/2026/03/01/09/a.jsonl", "line": 4, "reason": "r", "record": "other"},
        {
            "file": "s3/b/captured/shop/v/2026/03/01/09/b.jsonl",
            "line": 3,
            "reason": "r",
            "record": '{"a": "odd \\"id\\""',
        },
    ]
    data = b"".join(json.dumps(letter).encode() + b"\n" for letter in letters) + b"no letter\n"
    left, count = struck_letters(data, hits)
    told = left.split(b"\n")
    assert (count, len(told), told[3]) == (2, 5, b"no letter")
    assert [json.loads(each)["record"] for each in told[:3]] == ["", "other", ""]
    assert struck_letters(left, hits) == (left, 0)


def test_a_key_is_known_by_the_end_of_a_path() -> None:
    keys = {"captured/a/b.jsonl"}
    assert key_in("/home/objects/captured/a/b.jsonl", keys) == "captured/a/b.jsonl"
    assert key_in("cache/mirror/s3/bucket/captured/a/b.jsonl", keys) is not None
    assert key_in("captured/a/b.jsonl.gz", keys) is None
    assert key_in("/x/notcaptured/a/b.jsonl", keys) is None
    assert quoted('{"a": "x\\u0079"', {"xy"}) == {"xy"}
