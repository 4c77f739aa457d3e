from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.compact import decode_cached, decode_labels_cached
from driftline.dataset.dataset import Answers, Captured, Files, Join, Table
from driftline.dataset.fingerprint import content_fingerprint
from driftline.errors import InputError
from driftline.schema import ID, LABEL, ORDINAL

Write = Callable[[str, str | bytes], Path]


def test_the_same_files_are_decoded_once(write: Write, tmp_path: Path, capture: Any) -> None:
    source = Captured((write("a.jsonl", capture() + "\n{broken\n"),))
    first = decode_cached(tmp_path / "cache", source)
    written = first.table.paths[0].stat().st_mtime_ns
    again = decode_cached(tmp_path / "cache", source)
    assert again == first
    assert again.table.paths[0].stat().st_mtime_ns == written
    assert again.dead_letters is not None
    assert again.dead_letters.exists()


def test_another_option_or_a_changed_file_is_decoded_anew(write: Write, tmp_path: Path, capture: Any) -> None:
    path = write("a.jsonl", capture() + "\n")
    first = decode_cached(tmp_path / "cache", Captured((path,)))
    named = decode_cached(tmp_path / "cache", Captured((path,), names=("p", "a", "b")))
    scored = decode_cached(tmp_path / "cache", Captured((path,)), answers=Answers(score="0"))
    with path.open("a") as file:
        file.write(capture(event_id="e2") + "\n")
    grown = decode_cached(tmp_path / "cache", Captured((path,)))
    assert len({d.table.paths for d in (first, named, scored, grown)}) == 4
    assert grown.table.rows == 2


def test_a_failed_decoding_leaves_nothing_behind(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        decode_cached(tmp_path / "cache", Files((write("a.csv", ""),), "csv"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_crash_left_is_replaced(write: Write, tmp_path: Path) -> None:
    source = Files((write("a.csv", "a\n1\n"),), "csv")
    found = decode_cached(tmp_path / "cache", source)
    (found.table.paths[0].parent / "decoded.json").unlink()
    assert decode_cached(tmp_path / "cache", source) == found


def test_labels_and_parquet_are_cached_too(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    assert decode_cached(tmp_path / "cache", Files((path,), "parquet")).table.paths == (path,)
    labels = write("l.jsonl", '{"groundTruthData":{"data":"1","encoding":"CSV"},"eventMetadata":{"eventId":"e1"}}')
    assert decode_labels_cached(tmp_path / "cache", (labels,)) == decode_labels_cached(tmp_path / "cache", (labels,))


def table(path: Path, ids: list[str], labels: list[str] | None = None) -> Table:
    columns: dict[str, Any] = {ID: ids, ORDINAL: pa.array([0] * len(ids), pa.int64())}
    if labels is not None:
        columns[LABEL] = labels
    pq.write_table(pa.table(columns), path)
    return Table((path,), (), len(ids))


def test_only_labels_that_meet_a_prediction_change_a_revision(tmp_path: Path) -> None:
    window = table(tmp_path / "p.parquet", ["a", "b", "c"])

    def revision(ids: str, labels: str) -> str:
        path = tmp_path / f"{ids}{labels}.parquet"
        return content_fingerprint(Join(window, table(path, list(ids), list(labels))), tmp_path)

    before = revision("ab", "01")
    assert revision("ba", "10") == before
    assert revision("abz", "011") == before
    assert revision("aab", "101") == before
    assert revision("ab", "00") != before
    assert revision("abc", "010") != before
    assert revision("", "") != before


def test_a_table_is_known_by_its_rows_not_by_its_files(tmp_path: Path) -> None:
    whole = table(tmp_path / "a.parquet", ["a", "b"], ["1", "0"])
    one, two = table(tmp_path / "b.parquet", ["b"], ["0"]), table(tmp_path / "c.parquet", ["a"], ["1"])
    assert content_fingerprint(Table(one.paths + two.paths, (), 2), tmp_path) == content_fingerprint(whole, tmp_path)
    assert content_fingerprint(one, tmp_path) != content_fingerprint(whole, tmp_path)
