"""Field policies: nothing of what is dropped is stored, whatever the payload, and masking twice is masking once."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.capture.actions import Mask, RoundDate, RoundNumber, Unprotected
from driftline.capture.privacy import Policy, Rule
from driftline.capture.record import Payload, Record

HIDDEN = "S3cr3t"
AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
keys = texts.filter(lambda key: key not in ("secret", "name", "data", "columns"))
secrets = st.just(HIDDEN) | st.lists(st.just(HIDDEN)) | st.dictionaries(st.just(HIDDEN), st.just([HIDDEN]))


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    plain = st.dictionaries(keys, inner, max_size=3)
    secret = st.tuples(plain, secrets).map(lambda pair: {**pair[0], "secret": pair[1]})
    tensor = secrets.map(lambda data: [{"name": "secret", "shape": [1], "datatype": "BYTES", "data": data}])
    table = st.lists(scalars, max_size=3).map(
        lambda values: {"columns": ["a", "secret"], "data": [[value, HIDDEN] for value in values]}
    )
    return plain | secret | tensor | table | st.lists(inner, max_size=3)


documents = st.recursive(scalars, _grown, max_leaves=12)


def stored(policy: Policy, text: str, encoding: Any) -> bytes:
    record = Record(event_id="e", inferred_at=AT, input=Payload(text, encoding), output=None)
    return policy.apply(record).encode()


@given(document=documents, ascii_only=st.booleans())
def test_no_byte_of_a_dropped_field_is_in_the_record(document: Any, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only)
    for policy in (
        Policy([Rule("drop", name="secret")]),
        Policy([Rule("drop", name="secret")], input_columns=["secret"]),
    ):
        assert HIDDEN.encode() not in stored(policy, text, "JSON")


fields = st.lists(st.just(HIDDEN) | st.text('ab, "\n\r', max_size=4), min_size=1, max_size=4)


@given(rows=st.lists(fields, max_size=4), at=st.integers(0, 3), sound=st.booleans(), end=st.sampled_from(["", "\n"]))
def test_no_byte_of_a_dropped_column_is_in_the_record(rows: list[list[str]], at: int, sound: bool, end: str) -> None:
    def written(field: str) -> str:
        return '"' + field.replace('"', '""') + '"' if sound and re.search('[,"\n\r]', field) else field

    placed = [[HIDDEN if i == at else field.replace(HIDDEN, "x") for i, field in enumerate(row)] for row in rows]
    text = "\n".join(",".join(map(written, row)) for row in placed) + end
    if sound:
        assert HIDDEN.encode() not in stored(Policy([Rule("drop", index=at, on="input")]), text, "CSV")
    names = [f"c{i}" for i in range(4)]
    if all(len(row) == 4 for row in placed) and sound:
        policy = Policy([Rule("drop", name=f"c{at}")], input_columns=names)
        assert HIDDEN.encode() not in stored(policy, text, "CSV")


@settings(deadline=None)
@given(
    pattern=st.sampled_from([r"\d{4,}", "ab", "a+b?", r"(\w)\1", "^.", r"\b\w+@\w+\b"]),
    replacement=st.sampled_from(["", "*", "b", "a", "(mail)", "1"]),
    text=st.text("ab1x@ .", max_size=20),
)
def test_masking_twice_is_masking_once(pattern: str, replacement: str, text: str) -> None:
    mask = Mask(re.compile(pattern), replacement)
    try:
        once = mask.text(text)
    except Unprotected:  # it does not end: such a payload is left out
        return
    assert mask.text(once) == once


@given(
    number=st.integers() | st.decimals(allow_nan=False, allow_infinity=False), width=st.sampled_from([1, 7, 10, 1000])
)
def test_rounding_twice_is_rounding_once(number: Any, width: int) -> None:

    bucket = RoundNumber(width=Decimal(width))
    once = bucket.scalar(number)
    assert once is None or bucket.scalar(once) == once
    if isinstance(number, int) and isinstance(once, int) and abs(number) < 10**25:
        assert once <= number < once + width


@given(at=st.dates(), to=st.sampled_from(["day", "month", "year"]))
def test_rounding_a_date_twice_is_rounding_it_once(at: Any, to: Any) -> None:
    once = RoundDate(to).scalar(at.isoformat())
    assert once is not None
    assert at.isoformat().startswith(once)
    assert RoundDate(to).scalar(once) == once
