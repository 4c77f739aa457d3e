from __future__ import annotations

import gzip
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from driftline.dataset.bodies import CUT, REASON, read_bodies
from driftline.dataset.dataset import Captured
from driftline.dataset.decode import decode
from driftline.dataset.shapes import BINARY
from driftline.schema import Shape


def read(body: bytes, content_type: str | None, shape: Shape | None = None) -> tuple[str, str]:
    kind = pa.array([content_type], pa.string())
    data, encoding = read_bodies(pa.array([b64encode(body).decode()]), pa.array(["BASE64"]), kind, shape)
    return data[0].as_py(), encoding[0].as_py()


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (gzip.compress(b"1,2", mtime=0), "text/csv; charset=utf-8", ("1,2", "CSV")),
        (gzip.compress(b'{"a": 1}', mtime=0), "application/json", ('{"a": 1}', "JSON")),
        (b'{"a": 1}\n{"a": 2}\n', "application/jsonlines", ('{"a": 1}\n{"a": 2}\n', "JSON")),
        (b'{"a": 1}', "application/vnd.acme+json", ('{"a": 1}', "JSON")),
        (b'{"a": 1}', None, ('{"a": 1}', "JSON")),
        (b'{"a": 1}', "application/x-www-form-urlencoded", ('{"a": 1}', "JSON")),
        (b"[1, 2]", "text/html; charset=utf-8", ("[1, 2]", "JSON")),
        ("gr\u00fcn,1".encode("latin-1"), "text/csv; charset=ISO-8859-1", ("gr\u00fcn,1", "CSV")),
        (b"\xef\xbb\xbf1,2", "text/csv", ("1,2", "CSV")),
    ],
    ids=["gzip'd CSV", "gzip'd JSON", "JSON lines", "+json", "untyped", "curl", "Flask", "another charset", "a BOM"],
)
def test_bytes_that_say_what_they_are_are_read(body: bytes, content_type: str, expected: tuple[str, str]) -> None:
    assert read(body, content_type) == expected


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"1,\xff", "text/csv", "the body is not UTF-8"),
        (b"1,\xff", "text/csv; charset=ascii", "the body is not text of its charset"),
        (b"1,2", "text/csv; charset=nonsense", "the body is not text of its charset"),
        (b"0.5", "text/html", "BASE64 data of type text/html; a preprocess script must decode it"),
        (b"\x89PNG\xff", "image/png", "BASE64 data of type image/png; a preprocess script must decode it"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "multipart/form-data; a preprocess script must decode it"),
        (gzip.compress(b"1,2", mtime=0)[:-4], "text/csv", "the gzip'd body is broken off"),
        (b"\x1f\x8b\x00\x00", "text/csv", "the gzip'd body is broken"),
        (gzip.compress(bytes(17 << 20), mtime=0), "text/csv", "the gzip'd body holds more than 16 MB"),
        (b'{"inputs":[{"parameters":{"binary_data_size":4}}]}\x00\xff', "application/octet-stream", BINARY),
    ],
)
def test_bytes_that_cannot_be_read_say_why(body: bytes, content_type: str, reason: str) -> None:
    assert read(body, content_type)[1] == REASON + reason


def test_what_is_declared_counts_more_than_the_type() -> None:
    assert read(b"0.5", "text/html", "csv") == ("0.5", "CSV")
    assert read(b'{"a": 1}', "image/png", "document") == ('{"a": 1}', "JSON")
    text = pa.array(["1,2", "[1]", "x"])
    _, encoding = read_bodies(text, pa.array(["JSON", "CSV", CUT]), pa.nulls(3, pa.string()), "csv")
    assert encoding.to_pylist() == ["CSV", "CSV", f"{REASON}only the beginning of the body was captured"]


def test_what_is_said_to_be_base64_and_is_not_says_so() -> None:
    one = pa.array(["\u00e9?"]), pa.array(["BASE64"]), pa.array(["text/csv"])
    assert read_bodies(*one, None)[1][0].as_py() == f"{REASON}the data is not BASE64, though its encoding says so"


def side(body: bytes, content_type: str, **more: Any) -> dict[str, Any]:
    return {"data": b64encode(body).decode(), "encoding": "BASE64", "observedContentType": content_type, **more}


def test_a_body_of_which_only_the_beginning_is_there_is_never_taken_for_the_whole(tmp_path: Path) -> None:
    whole = side(gzip.compress(b"1,2\n3,4", mtime=0), "text/csv")
    sides = [(whole, side(b"0.5\n0.25\n", "text/csv")), (whole, side(b"0.5\n0.2", "text/csv", truncated=True))]
    lines = [
        json.dumps({
            "captureData": {"endpointInput": i, "endpointOutput": o},
            "eventMetadata": {"eventId": str(at), "inferenceTime": "2026-03-01T09:00:00Z"},
        })
        for at, (i, o) in enumerate(sides)
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = decode(Captured((tmp_path / "a.jsonl",)), tmp_path / "out")
    assert (found.intake.rows, found.table.columns) == (2, ("_c0", "_c1", "_c2"))
    assert found.intake.reasons == {"endpointOutput: only the beginning of the body was captured": 1}
