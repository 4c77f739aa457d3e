from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from driftline.capture.values import body_of


@dataclass
class Flight:
    carrier: str
    delay: float | None


class Point(NamedTuple):
    x: int
    y: int


FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": ["x", "y"]})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, b"0.5"),
        (True, b"true"),
        ([1, "a", None], b'[1,"a",null]'),
        ({"a": {"b": (1, 2)}}, b'{"a":{"b":[1,2]}}'),
        (Flight("AA", None), b'{"carrier":"AA","delay":null}'),
        (Point(1, 2), b"[1,2]"),
        (datetime(2026, 3, 1, tzinfo=UTC), b'"2026-03-01T00:00:00Z"'),
        (Decimal("1.50"), b'"1.50"'),
        (float("nan"), b"null"),
        (np.float32(0.5), b"0.5"),
        (np.int64(7), b"7"),
        (np.bool_(True), b"true"),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), b"[[1.0,null],[2.0,3.0]]"),
        ({"score": np.array([0.25])}, b'{"score":[0.25]}'),
        (pd.Series([1, 2]), b"[1,2]"),
        (FRAME, b'{"columns":["a","b","c"],"data":[[1,0.5,"x"],[2,null,"y"]]}'),
        (FRAME[["a", "c"]].iloc[:0], b'{"columns":["a","c"],"data":[]}'),
        (pd.Timestamp("2026-03-01"), b'"2026-03-01T00:00:00"'),
        (pa.array([1, None]), b"[1,null]"),
        (pa.chunked_array([[1], [2]]), b"[1,2]"),
        (pa.table({"a": [1, 2], "b": ["x", None]}), b'{"columns":["a","b"],"data":[[1,"x"],[2,null]]}'),
        (pa.record_batch({"day": [date(2026, 3, 1)]}), b'{"columns":["day"],"data":[["2026-03-01"]]}'),
    ],
    ids=lambda value: None if isinstance(value, bytes) else type(value).__name__,
)
def test_a_value_becomes_json(value: Any, text: bytes) -> None:
    body = body_of(value, "text/csv")
    assert body is not None
    assert body == (text, "application/json", True)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("1,2é", "1,2é".encode()),
        (b"\xff", b"\xff"),
        (bytearray(b"1"), b"1"),
        (memoryview(b"12"), b"12"),
        ("\ud800", b"\xed\xa0\x80"),
    ],
    ids=["text", "bytes", "bytearray", "memoryview", "half a pair"],
)
def test_bytes_and_text_are_bodies_as_they_are(value: Any, content: bytes) -> None:
    assert body_of(value, "text/csv") == (content, "text/csv", False)


def test_nothing_is_no_body() -> None:
    assert body_of(None, "text/csv") is None


@pytest.mark.parametrize("value", [object(), {"a": object()}, iter([1])], ids=["alone", "within", "an iterator"])
def test_what_is_no_value_is_refused_by_its_type(value: object) -> None:
    with pytest.raises(TypeError, match=r"a value of type builtins\.\w+ cannot be written as JSON"):
        body_of(value, "text/csv")
