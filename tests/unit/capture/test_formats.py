"""What a segment becomes in the store: lines or columns, and recognised when it is uploaded once more."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from driftline.capture import Capture, Counters
from driftline.capture.columnar import parquet
from driftline.capture.formats import FORMATS, same_lines
from driftline.dataset.columnar import opened, struck_rows
from driftline.errors import InputError, Unavailable
from driftline.objects.directory import Directory

from .conftest import Clock


class Killed(Directory):
    """A folder that stores once, and then is silent for as long as the process lives."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        if key.endswith(".parquet"):
            if not (self.root / key).exists():
                super().put(key, data, if_absent=if_absent, durable=durable)
            raise Unavailable("no answer")
        super().put(key, data, if_absent=if_absent, durable=durable)


def test_capture_in_columns_has_the_names_of_the_lines_but_for_their_end(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock, format="parquet", sampling=0.999) as capture:
        capture.log(b"1,2", "0.5", inference_id="order-17", custom_attributes=["a=b"])
        capture.log("\xff" * 3, None, request_content_type="image/png", status=503)
    (key,) = [entry.key for entry in store.list("captured/") if "/_counters/" not in entry.key]
    assert key.startswith("captured/flights/AllTraffic/2026/03/01/09/59-58-000-")
    assert key.endswith(".parquet")
    table = pq.read_table(io.BytesIO(store.get(key))).to_pylist()
    assert [(row["inference_id"], row["status"], row["request"], row["response"]) for row in table] == [
        ("order-17", None, "1,2", "0.5"), (None, 503, "w7/Dv8O/", None),
    ]  # fmt: skip
    assert [row["inferred_at"] for row in table] == [clock.at] * 2
    assert table[0]["custom_attributes"] == ["a=b"]
    assert capture.counters == Counters(seen=2, sampled=2, written=2)
    first = json.loads(opened(Path(store.location(key))).readline())
    assert first["eventMetadata"]["inclusionProbability"] == 0.999


def test_an_upload_that_is_repeated_does_not_bring_back_what_was_erased_meanwhile(tmp_path: Path) -> None:
    dying = Killed(tmp_path / "objects")
    capture = Capture("flights", dying, format="parquet", roll_after_s=0.1)
    for name in ("him", "her"):
        capture.log("1", "0", inference_id=name)
    assert not capture.close(timeout_s=1)
    store = Directory(tmp_path / "objects")
    (key,) = [entry.key for entry in store.list("captured/") if entry.key.endswith(".parquet")]
    store.put(key, struck_rows(store.get(key), np.asarray([0])))
    with Capture("flights", store) as after:
        assert after.flush()
        keys = [entry.key for entry in store.list("captured/") if entry.key.endswith((".parquet", ".jsonl"))]
    assert keys == [key]
    assert [row["inference_id"] for row in pq.read_table(io.BytesIO(store.get(key))).to_pylist()] == [None, "her"]


@pytest.mark.parametrize(
    ("stored", "made", "same"),
    [
        (b"a\nb\n", b"a\nb\n", True),
        (b"\nb\n", b"a\nb\n", True),
        (b"\n\n", b"a\nb\n", True),
        (b"a\n", b"a\nb\n", False),
        (b"a\nc\n", b"a\nb\n", False),
        (b"", b"a\n", False),
    ],
)
def test_lines_are_the_same_but_for_those_that_were_erased(stored: bytes, made: bytes, same: bool) -> None:
    assert same_lines(stored, made) is same


def test_a_format_that_is_none_is_refused(store: Directory) -> None:
    wrong: Any = "csv"
    with pytest.raises(InputError, match="jsonl or parquet"):
        Capture("flights", store, format=wrong)


def test_every_format_recognises_its_own_object() -> None:
    metadata = {"eventId": "e", "inferenceTime": "2026-03-01T00:00:00Z", "statusCode": 500}
    lines = [json.dumps({"captureData": {}, "eventMetadata": metadata, "eventVersion": "0"}).encode()]
    for name, kept in FORMATS.items():
        assert kept.same(kept.convert(lines), kept.convert(lines)), name
    assert parquet(lines)


def test_what_is_logged_just_before_the_end_of_the_process_is_stored_in_columns(tmp_path: Path) -> None:
    code = """
import sys
from driftline.capture import Capture
Capture("flights", sys.argv[1], format="parquet", spool=False).log("1,2", "0.5")
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
