from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.compact import NOTES, decode_cached, decode_labels_cached, pruned
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


def label(event_id: str, value: str) -> str:
    return f'{{"groundTruthData":{{"data":"{value}","encoding":"CSV"}},"eventMetadata":{{"eventId":"{event_id}"}}}}\n'


def test_labels_of_several_days_are_one_account_and_a_new_one_costs_its_day(write: Write, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = write("l/2026/03/01/09/a.jsonl", label("e1", "0") + label("e2", "1") + "{broken\n")
    two = write("l/2026/03/02/09/a.jsonl", label("e1", "1") + label("e2", "1"))
    found = decode_labels_cached(cache, (one, two))
    assert (found.intake.files, found.intake.records, found.intake.rows, found.intake.dead) == (2, 5, 4, 1)
    assert (found.intake.duplicates, found.intake.contradictions) == (1, 1)
    assert found.dead_letters is not None
    assert len(found.dead_letters.read_text().splitlines()) == 1
    three = write("l/2026/03/02/10/a.jsonl", label("e3", "1"))
    grown = decode_labels_cached(cache, (one, two, three))
    assert grown.table.rows == 5
    assert grown.table.paths[0] == found.table.paths[0], "the first day was not decoded again"
    assert grown.table.paths[1] != found.table.paths[1]
    assert decode_labels_cached(cache, (one, two, three)) == grown


def aged(path: Path, by: timedelta) -> None:
    at = path.stat().st_mtime - by.total_seconds()
    os.utime(path, (at, at))


def test_what_nobody_used_for_long_is_pruned_once_an_hour(write: Write, tmp_path: Path, capture: Any) -> None:
    cache, keep = tmp_path / "cache", timedelta(days=8)
    assert pruned(cache, keep) == 0, "no cache yet"
    old, new = (Captured((write(f"{name}.jsonl", capture() + "\n"),)) for name in "ab")
    for source in (old, new):
        aged(decode_cached(cache, source).table.paths[0].parent / "decoded.json", timedelta(days=9))
    decode_cached(cache, new)  # used again
    (cache / NOTES / "m").mkdir(parents=True)
    for name, days in (("w1", 9), ("w2", 1)):
        (cache / NOTES / "m" / name).write_text("a b")
        aged(cache / NOTES / "m" / name, timedelta(days=days))
    (cache / ".half-12345678").mkdir()
    aged(cache / ".half-12345678", timedelta(days=2))
    assert pruned(cache, keep) == 1
    left = decode_cached(cache, new).table.paths[0].parent
    assert sorted(path.name for path in cache.iterdir()) == sorted([".pruned", NOTES, left.name])
    assert [note.name for note in (cache / NOTES / "m").iterdir()] == ["w2"]
    aged(left / "decoded.json", timedelta(days=9))
    assert pruned(cache, keep) == 0, "it was done a moment ago"
    aged(cache / ".pruned", timedelta(hours=2))
    assert pruned(cache, keep) == 1
    assert decode_cached(cache, new).table.rows == 1, "what went is decoded again"


def test_former_states_of_a_day_of_labels_are_pruned_after_an_hour(write: Write, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    files = tuple(write(f"l/2026/03/0{day}/09/a.jsonl", label("e", "0")) for day in (1, 2))
    first = decode_labels_cached(cache, files)
    more = write("l/2026/03/02/10/b.jsonl", label("f", "1"))
    second = decode_labels_cached(cache, (*files, more))
    for account in cache.rglob("decoded.json"):
        aged(account, timedelta(hours=2))
    aged(first.table.paths[1].parent / "decoded.json", timedelta(hours=1))
    assert pruned(cache, timedelta(days=8)) == 1
    assert all(path.exists() for path in second.table.paths)
    assert not first.table.paths[1].exists()


def test_a_broken_account_is_decoded_again(write: Write, tmp_path: Path) -> None:
    source = Files((write("a.csv", "a\n1\n"),), "csv")
    found = decode_cached(tmp_path / "cache", source)
    (found.table.paths[0].parent / "decoded.json").write_text('{"paths": ')
    assert decode_cached(tmp_path / "cache", source) == found
    found.table.paths[0].unlink()
    assert decode_cached(tmp_path / "cache", source) == found
    found.table.paths[0].write_bytes(b"")  # as a power cut may leave it
    assert decode_cached(tmp_path / "cache", source) == found
    assert found.table.paths[0].stat().st_size > 0
