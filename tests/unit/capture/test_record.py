from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.capture.ids import Ids, id_hash, new_id
from driftline.capture.record import ContentTypes, Encoding, Payload, Record, decode, payload
from driftline.errors import Corrupt, InputError

# From the reference, section 1.3.
LINE = (
    '{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"34,0.5,yes",'
    '"encoding":"CSV"},"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT",'
    '"data":"0.8125","encoding":"CSV"}},"eventMetadata":{"eventId":"3c2f0e1a-6a59-4d6e-9d0b-1a2b3c4d5e6f",'
    '"inferenceId":"order-17","inferenceTime":"2026-03-01T09:14:07Z"},"eventVersion":"0"}'
)
RECORD = Record(
    event_id="3c2f0e1a-6a59-4d6e-9d0b-1a2b3c4d5e6f",
    inference_id="order-17",
    inferred_at=datetime(2026, 3, 1, 9, 14, 7, tzinfo=UTC),
    input=Payload("34,0.5,yes", "CSV", "text/csv"),
    output=Payload("0.8125", "CSV", "text/csv; charset=utf-8"),
)


def test_a_record_is_model_monitors_line_to_the_byte() -> None:
    assert RECORD.encode().decode() == LINE
    assert decode(LINE) == RECORD


def test_the_inclusion_probability_stands_in_the_metadata_and_is_one_where_absent() -> None:
    line = Record(event_id="e", inferred_at=RECORD.inferred_at, input=RECORD.input, output=None, probability=0.25)
    assert json.loads(line.encode())["eventMetadata"]["inclusionProbability"] == 0.25
    assert decode(line.encode()).probability == 0.25
    assert decode(LINE).probability == 1.0


def test_keys_that_are_not_known_are_written_again_as_they_were() -> None:
    tree = json.loads(LINE)
    tree["groundTruthData"] = {"data": "1", "encoding": "CSV", "deep": [1.5, {"x": None}]}
    tree["eventMetadata"]["region"] = "eu"
    tree["captureData"]["endpointInput"]["size"] = 10
    tree["captureData"]["side"] = {}
    assert json.loads(decode(json.dumps(tree, indent=1)).encode()) == tree
    assert b"\n" not in decode(json.dumps(tree, indent=1)).encode()
    exact = LINE.replace('"eventVersion"', '"price":1.10,"big":123456789012345678901234567890,"eventVersion"')
    assert b'"price":1.10' in decode(exact).encode()
    assert b'"big":123456789012345678901234567890' in decode(exact).encode()


def test_a_batch_transform_record_keeps_its_data() -> None:
    line = (
        '{"eventMetadata":{"eventId":"e","inferenceTime":"2026-03-01T09:14:07Z"},"eventVersion":"0",'
        '"captureData":{"batchTransformOutput":{"data":"34,0.5,yes,0.8125","encoding":"CSV"}}}'
    )
    assert json.loads(decode(line).encode()) == json.loads(line)


sides = st.none() | st.builds(
    lambda body, kind: payload(body, kind, ContentTypes().encoding(kind)),
    st.binary(max_size=20) | st.text(max_size=20),
    st.sampled_from(["text/csv", "application/json; x=y", "image/png", None]),
)


@settings(max_examples=100)
@given(
    side=sides,
    event_id=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    inference_id=st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
    attributes=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=2),
    at=st.datetimes(timezones=st.just(UTC)),
    probability=st.floats(0, 1, exclude_min=True),
)
def test_what_is_encoded_is_decoded(
    side: Payload | None,
    event_id: str,
    inference_id: str | None,
    attributes: list[str],
    at: datetime,
    probability: float,
) -> None:
    record = Record(
        event_id=event_id,
        inferred_at=at,
        input=side,
        output=RECORD.output,
        inference_id=inference_id,
        custom_attributes=tuple(attributes),
        probability=probability,
    )
    line = record.encode()
    assert b"\n" not in line
    assert decode(line) == record
    assert decode(line).encode() == line


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("text/csv", "CSV"),
        ("Text/CSV ; charset=utf-8", "CSV"),
        ("application/json", "JSON"),
        ("application/jsonlines", "BASE64"),
        ("image/png", "BASE64"),
        ("", "BASE64"),
        (None, "BASE64"),
    ],
)
def test_the_content_type_decides_the_encoding(content_type: str | None, encoding: Encoding) -> None:
    assert ContentTypes().encoding(content_type) == encoding


def test_a_content_type_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="type/subtype"):
        ContentTypes(csv=("csv",))


@given(st.binary(max_size=50))
@settings(max_examples=50)
def test_no_byte_of_a_body_is_lost(body: bytes) -> None:
    for encoding in ("CSV", "JSON", "BASE64"):
        kept = payload(body, "text/csv", encoding)
        assert kept.body == body


@pytest.mark.parametrize("encoding", ["CSV", "JSON"])
def test_text_that_is_not_utf8_is_kept_as_base64(encoding: Encoding) -> None:
    assert payload(b"1,\xff", "text/csv", encoding).encoding == "BASE64"
    assert payload("1,\ud800", "text/csv", encoding).encoding == "BASE64"
    assert payload(b"", "text/csv", encoding) == Payload("", encoding, "text/csv")


def test_the_beginning_of_a_body_is_never_taken_for_the_whole() -> None:
    kept = payload(b"1,2", "text/csv", "CSV", truncated=True)
    assert kept == Payload("MSwy", "BASE64", "text/csv", truncated=True)
    record = Record(event_id="e", inferred_at=RECORD.inferred_at, input=kept, output=None)
    assert decode(record.encode()).input == kept


def test_times_are_normalised_to_utc() -> None:
    east = RECORD.inferred_at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    line = Record(event_id="e", inferred_at=east, input=RECORD.input, output=None).encode()
    assert b'"inferenceTime":"2026-03-01T09:14:07Z"' in line
    assert decode(LINE.replace("09:14:07Z", "10:14:07+01:00")) == RECORD


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (LINE, "", "truncated"),
        (LINE, LINE[:200], "truncated"),
        (LINE, "[1]", "Expected `object`"),
        (LINE, "[" * 100_000, "not a capture record"),
        ('"CSV"', '"XML"', "Invalid enum value 'XML'"),
        ('"data":"34,0.5,yes"', '"data":34', r"Expected `str`, got `int` - at `\$.captureData.endpointInput.data`"),
        ('"eventId":"3c2f0e1a-6a59-4d6e-9d0b-1a2b3c4d5e6f",', "", "missing required field `eventId`"),
        ('"2026-03-01T09:14:07Z"', '"yesterday"', "'yesterday' is not a time"),
        ('"2026-03-01T09:14:07Z"', '"2026-03-01T09:14:07"', "no time zone"),
        ('"2026-03-01T09:14:07Z"', '"0001-01-01T00:00:00+12:00"', "is not a time"),
        ('"eventVersion"', '"x":{},"eventVersion"', None),
        ('"inferenceId"', '"inclusionProbability":0,"inferenceId"', "above 0"),
        ('"inferenceId"', '"inclusionProbability":1.5,"inferenceId"', "at most 1"),
        ("endpointInput", "endpointThroughput", None),
        ("endpoint", "point", "neither endpointInput nor endpointOutput"),
    ],
)
def test_a_line_that_is_no_record_is_corrupt_with_its_reason(old: str, new: str, reason: str | None) -> None:
    line = LINE.replace(old, new)
    if reason is None:
        decode(line)
    elif reason.startswith("neither"):
        bare = json.loads(line)
        bare["captureData"] = {}
        with pytest.raises(Corrupt, match=reason):
            decode(json.dumps(bare))
    else:
        with pytest.raises(Corrupt, match=reason):
            decode(line)


def test_a_line_that_is_not_utf8_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="not a capture record"):
        decode(LINE.encode().replace(b"yes", b"\xff"))


def test_a_payload_that_is_not_base64_though_it_says_so_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="BASE64"):
        _ = Payload("é?", "BASE64").body


def test_ids_are_uuids_of_version_4_and_differ() -> None:
    from uuid import UUID

    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(UUID(each).version == 4 and UUID(each).variant == "specified in RFC 4122" for each in ids)


def test_ids_drawn_many_at_once_are_no_other_and_come_with_their_digests() -> None:
    from uuid import UUID

    ids = Ids()
    drawn = [ids.drawn() for _ in range(1000)]
    assert len({each for each, _ in drawn}) == 1000
    assert all(UUID(each).version == 4 and UUID(each).variant == "specified in RFC 4122" for each, _ in drawn)
    assert all(int.from_bytes(digest, "big") == id_hash(each) for each, digest in drawn)
