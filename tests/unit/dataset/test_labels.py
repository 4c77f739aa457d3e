from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.labels import LabelReceipt, put_labels, read_label_file
from driftline.errors import InputError
from driftline.objects.directory import Directory

NOW = datetime(2026, 3, 1, 9, 14, 7, 123456, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "objects")


def records(store: Directory, key: str | None) -> list[dict[str, Any]]:
    assert key is not None
    return [json.loads(line) for line in store.get(key).splitlines()]


def test_labels_are_written_as_model_monitor_writes_ground_truth(store: Directory) -> None:
    receipt = put_labels(store, "flights", [("order-17", 1), ("order-18", "cat")], now=NOW)
    assert receipt == LabelReceipt(2, 0, 0, 0, "labels/flights/2026/03/01/09/14-07-123456-000000.jsonl")
    assert records(store, receipt.key) == [
        {
            "groundTruthData": {"data": "1", "encoding": "CSV"},
            "eventMetadata": {"eventId": "order-17"},
            "eventVersion": "0",
        },
        {
            "groundTruthData": {"data": "cat", "encoding": "CSV"},
            "eventMetadata": {"eventId": "order-18"},
            "eventVersion": "0",
        },
    ]


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(1, "1"), (0.5, "0.5"), (1.0, "1.0"), (Decimal("0.50"), "0.50"), (True, "1"), (False, "0"), ("0.10", "0.10")],
)
def test_a_label_keeps_its_spelling(store: Directory, value: object, spelled: str) -> None:
    receipt = put_labels(store, "flights", [("a", value)], now=NOW)
    assert records(store, receipt.key)[0]["groundTruthData"] == {"data": spelled, "encoding": "CSV"}


def test_labels_of_a_request_with_several_records_are_written_as_json(store: Directory) -> None:
    receipt = put_labels(store, "flights", [("a", {"label": [0, Decimal("0.50")]})], now=NOW)
    assert records(store, receipt.key)[0]["groundTruthData"] == {"data": '{"label":[0,0.50]}', "encoding": "JSON"}


def test_the_last_label_of_an_id_wins_and_the_others_are_counted(store: Directory) -> None:
    receipt = put_labels(store, "flights", [("a", 1), ("b", 0), ("a", 1), ("a", "1"), ("a", 0), ("b", 1)], now=NOW)
    assert (receipt.written, receipt.duplicates, receipt.contradictions) == (2, 2, 2)
    truths = {r["eventMetadata"]["eventId"]: r["groundTruthData"]["data"] for r in records(store, receipt.key)}
    assert truths == {"a": "0", "b": "1"}


def test_uploads_at_the_same_instant_sort_in_the_order_they_were_written(store: Directory) -> None:
    keys = [put_labels(store, "flights", [("a", number)], now=NOW).key for number in range(12)]
    assert [entry.key for entry in store.list("labels/flights/")] == keys


def test_no_labels_write_no_file(store: Directory) -> None:
    assert put_labels(store, "flights", [], now=NOW) == LabelReceipt(0, 0, 0, 0, None)
    assert list(store.list("")) == []


@pytest.mark.parametrize("value", [None, "", " ", float("nan"), float("inf"), object()])
def test_one_bad_label_refuses_the_whole_upload(store: Directory, value: object) -> None:
    with pytest.raises(InputError, match="label 2, id 'b'"):
        put_labels(store, "flights", [("a", 1), ("b", value)], now=NOW)
    assert list(store.list("")) == []


def test_an_upload_without_a_time_zone_or_with_a_bad_endpoint_is_refused(store: Directory) -> None:
    with pytest.raises(InputError, match="no time zone"):
        put_labels(store, "flights", [("a", 1)], now=NOW.replace(tzinfo=None))
    with pytest.raises(InputError, match="is not a name"):
        put_labels(store, "../x", [("a", 1)], now=NOW)


def test_odd_and_long_ids_are_accepted(store: Directory) -> None:
    ids = ["é/\n\"'", "\ud800", "x" * 65, " "]
    receipt = put_labels(store, "flights", [(event_id, 1) for event_id in ids], now=NOW)
    assert receipt.long_ids == 1
    written = [r["eventMetadata"]["eventId"] for r in records(store, receipt.key)]
    assert written == ["é/\n\"'", "\\ud800", "x" * 65, " "]


def test_the_three_formats_give_the_same_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes('\ufeffwhen,key,truth\r\n1,a,1\r\n\r\n2,"b,\nc",0.50\r\n'.encode())
    (tmp_path / "labels.jsonl").write_text('{"key": "a", "truth": 1}\n\n{"truth": 0.50, "key": "b,\\nc"}')
    (tmp_path / "labels.json").write_text('[{"key": "a", "truth": 1}, {"truth": 0.50, "key": "b,\\nc"}]')
    pq.write_table(
        pa.table({"key": ["a", "b,\nc"], "truth": ["1", "0.50"]}),
        tmp_path / "labels.parquet",
    )
    for suffix in ("csv", "jsonl", "json", "parquet"):
        found = [(key, str(label)) for key, label in read_label_file(tmp_path / f"labels.{suffix}", "key", "truth")]
        assert found == [("a", "1"), ("b,\nc", "0.50")]


@pytest.mark.parametrize(
    ("column", "spelled"),
    [
        (pa.array([1, 0], pa.int64()), ["1", "0"]),
        (pa.array([0.1, 2.0], pa.float32()), ["0.1", "2"]),
        (pa.array([0.1, 1.0], pa.float64()), ["0.1", "1.0"]),
        (pa.array([True, False]), ["1", "0"]),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        (pa.array([Decimal("1.50"), Decimal("2.00")]), ["1.50", "2.00"]),
    ],
    ids=["whole", "single", "double", "boolean", "dictionary", "decimal"],
)
def test_parquet_labels_of_every_type_are_read(
    tmp_path: Path, store: Directory, column: pa.Array, spelled: list[str]
) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"id": [17, 18], "label": column}), path)
    receipt = put_labels(store, "flights", read_label_file(path), now=NOW)
    assert [(r["eventMetadata"]["eventId"], r["groundTruthData"]["data"]) for r in records(store, receipt.key)] == [
        ("17", spelled[0]),
        ("18", spelled[1]),
    ]


def test_ground_truth_of_model_monitor_is_read_and_written_again(tmp_path: Path, store: Directory) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text(
        '{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"a"},"eventVersion":"0"}\n'
        '{"groundTruthData":{"data":"[0, 1]","encoding":"JSON"},"eventMetadata":{"eventId":"b"},"eventVersion":"0"}\n'
    )
    receipt = put_labels(store, "flights", read_label_file(path), now=NOW)
    assert [r["groundTruthData"] for r in records(store, receipt.key)] == [
        {"data": "1", "encoding": "CSV"},
        {"data": "[0,1]", "encoding": "JSON"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", b"", "is empty"),
        ("l.csv", b"id,truth\na,1\n", "no column 'label'; it has 'id', 'truth'"),
        ("l.csv", b"id,label,id\na,1,b\n", "2 columns named 'id'"),
        ("l.csv", b"id,label\na,1\n,1\n", "line 3: there is no id"),
        ("l.csv", b"id,label\na,\n", "line 2: id 'a' has no label"),
        ("l.csv", b"id,label\na,1,2\n", "line 2: there are 3 fields, but 2 columns"),
        ("l.csv", b"id,label\na,\xff\n", "line 2: it is not UTF-8"),
        ("l.jsonl", b'{"id":"a","label":1}\n{"id":"b","la', "line 2: it is not JSON"),
        ("l.jsonl", b'{"id":"a","truth":1}', "no column 'label'; it has 'id', 'truth'"),
        ("l.jsonl", b'{"id":null,"label":1}', "line 1: there is no id"),
        ("l.jsonl", b'{"id":1.5,"label":1}', "neither text nor a whole number"),
        ("l.jsonl", b"[[1]]", "is not a JSON object"),
        ("l.jsonl", b'{"groundTruthData":{"data":1}}', "groundTruthData.data is not text"),
        ("l.jsonl", b'{"groundTruthData":{"data":"1","encoding":"CSV"}}', "no eventMetadata"),
        ("l.jsonl", b'{"groundTruthData":{"data":"1","encoding":"XML"},"eventMetadata":{}}', "must be CSV or JSON"),
        ("l.parquet", b"PAR1", "cannot be read as Parquet"),
        ("l.txt", b"", "neither .csv, .jsonl nor .parquet"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_label_file(path))


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_label_file(tmp_path / "none.csv")
