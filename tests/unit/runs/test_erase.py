"""After an erasure nothing tells of the request any more, everything else is as it was, and a crash does no harm."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from driftline.capture import Capture
from driftline.capture.frames import frame
from driftline.capture.record import Record
from driftline.dataset.columnar import is_columnar, opened
from driftline.errors import Conflict, InputError, Unavailable
from driftline.objects.directory import Directory
from driftline.runs.erase import HOLD, Part, erase, erased_elsewhere, id_digest

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
NOW = START + 2 * DAY


def keys(shop: Any, prefix: str) -> list[str]:
    return [entry.key for entry in shop.app.store.list(prefix)]


def everything(shop: Any) -> bytes:
    """All bytes of the home but the ledger, with columns as lines too: they are packed."""
    files = [path for path in sorted(shop.home.rglob("*")) if path.is_file() and ".db" not in path.name]
    lines = [opened(path).read() for path in files if is_columnar(path)]
    rows = [repr(pq.read_table(path).to_pylist()).replace("'", '"').encode() for path in files if rows_in(path)]
    return b"\n".join([*(path.read_bytes() for path in files), *lines, *rows])


def rows_in(path: Path) -> bool:
    return path.suffix == ".parquet" and "cache" in path.parts


@pytest.fixture(params=["jsonl", "parquet"])
def busy(shop: Any, request: pytest.FixtureRequest) -> Any:
    """A day of requests and labels that was looked at."""
    shop.requests(START, name="secret-", format=request.param)
    shop.labels(START + 12 * HOUR, name="secret-")
    shop.tick(START + DAY + HOUR)
    return shop


def test_one_request_goes_from_records_labels_and_cache_and_the_others_stay(busy: Any) -> None:
    assert b"secret-17" in everything(busy)
    done = erase(busy.app.site, ["secret-17"], NOW, reason="ticket 4")
    assert (done.captured.records, done.labels.records, done.missing) == (1, 1, ())
    assert done.cache.objects > 0
    left = everything(busy)
    assert b'"secret-17"' not in left
    assert left.count(b'"secret-171"') >= 2
    ran = {(one.run.monitor, one.run.window.start): one.run for one in busy.tick(NOW + HOUR).ran}
    assert ran["truth", START].rows == 199, "the open window is looked at again, without it"
    assert b'"secret-17"' not in everything(busy)


def test_damaged_files_in_the_spool_are_looked_through_and_files_that_wait_are_told(
    shop: Any, spool_root: Path
) -> None:
    store = shop.app.store
    capture = Capture("shop", store, clock=lambda: START)
    capture.log("1", "0", inference_id="her")  # it waits for a minute
    (spool,) = spool_root.iterdir()
    while not list(spool.glob("*/*.segment")):
        time.sleep(0.01)
    file = spool / ".damaged" / "writer-00000001.segment"
    file.parent.mkdir()
    lines = [Record(event_id=who, inferred_at=START, input=None, output=None).encode() for who in ("him", "her")]
    file.write_bytes(b"".join([b"a damaged head\n", *map(frame, lines)]))
    since = file.stat().st_mtime - 1000
    os.utime(file, (since, since))
    assert erase(shop.app.site, ["him"], NOW, dry_run=True).damaged == Part(1, 1)
    assert b"him" in file.read_bytes()
    done = erase(shop.app.site, ["him"], NOW)
    assert (done.damaged, done.waiting, done.missing) == (Part(1, 1), 1, ())
    assert b"him" not in file.read_bytes()
    assert frame(lines[1]) in file.read_bytes()
    assert file.stat().st_mtime == pytest.approx(since)
    assert capture.close()
    assert erase(shop.app.site, ["him"], NOW).waiting == 0


def test_the_audit_log_names_requests_by_digest_only(busy: Any) -> None:
    done = erase(busy.app.site, ["secret-17", "nobody"], NOW, reason="ticket 4")
    assert done.missing == ("nobody",)
    lines = [json.loads(busy.app.store.get(key)) for key in keys(busy, "audit/")]
    assert [line["what"] for line in lines] == ["erase begun", "erase"]
    assert lines[1]["ids"] == sorted(map(id_digest, ("secret-17", "nobody")))
    assert (lines[1]["reason"], lines[1]["captured"]) == ("ticket 4", {"objects": 1, "records": 1})
    assert "secret-17" not in json.dumps(lines)


def test_a_dry_run_tells_the_same_and_changes_nothing(busy: Any) -> None:
    before = everything(busy)
    told = erase(busy.app.site, ["secret-1", "secret-2"], NOW, dry_run=True)
    assert sorted(told.counts()) == sorted(erase(busy.app.site, ["secret-1", "secret-2"], NOW, dry_run=True).counts())
    for key in keys(busy, "audit/"):
        busy.app.store.delete(key)
    assert everything(busy) == before
    done = erase(busy.app.site, ["secret-1", "secret-2"], NOW)
    assert (done.captured, done.labels, done.dead_letters) == (told.captured, told.labels, told.dead_letters)


def test_a_letter_whose_excerpt_ends_before_the_id_is_known_by_its_place(shop: Any) -> None:
    long = {
        "captureData": {"endpointInput": {"encoding": "CSV", "mode": "INPUT", "data": "private " * 300}},
        "eventMetadata": {"eventId": "e1", "inferenceId": "him", "inferenceTime": "yesterday"},
        "eventVersion": "0",
    }
    other = {**long, "eventMetadata": {"eventId": "e2", "inferenceTime": "yesterday"}}
    key = "captured/shop/AllTraffic/2026/03/01/00/from-elsewhere.jsonl"
    shop.app.store.put(key, b"\n".join([json.dumps(other).encode(), json.dumps(long).encode(), b"broken"]) + b"\n")
    shop.requests(START)
    shop.tick(START + DAY + HOUR)
    letters = [key for key in keys(shop, "reports/") if key.endswith("dead_letters.jsonl")]
    assert shop.app.store.get(letters[0]).count(b"private") > 100
    done = erase(shop.app.site, ["him"], NOW)
    assert done.dead_letters.records == len(letters)
    for each in letters:
        first, second, third = map(json.loads, shop.app.store.get(each).splitlines())
        assert (second["line"], second["record"], second["reason"]) == (2, "", "erased on request")
        assert first["record"].count("private") > 100
        assert third["record"] == "broken"
    assert shop.app.store.get(key).split(b"\n")[1] == b"", "the lines after it keep their numbers"


@pytest.mark.parametrize("form", ["lines", "array", "gz", "escaped", "event id", "number", "broken"])
def test_every_form_of_a_file_is_understood(shop: Any, form: str) -> None:
    def record(name: object) -> bytes:
        metadata = {"eventId": f"e-{name}", "inferenceId": name, "inferenceTime": "2026-03-01T00:00:01Z"}
        return json.dumps({"captureData": {}, "eventMetadata": metadata}).encode()

    records = [record(7 if form == "number" else "a/b"), record("stays")]
    wanted = {"number": "7", "event id": "e-a/b"}.get(form, "a/b")
    if form == "escaped":
        records[0] = records[0].replace(b"a/b", b"\\u0061\\/b")
    if form == "broken":
        records[0] = records[0][:-20]
    data = b"\n".join(records) + b"\n"
    if form == "array":
        data = b"[" + b",".join(records) + b"]"
    key = f"captured/shop/AllTraffic/2026/03/01/00/x.jsonl{'.gz' if form == 'gz' else ''}"
    shop.app.store.put(key, gzip.compress(data) if form == "gz" else data)
    done = erase(shop.app.site, [wanted], NOW)
    assert (done.captured.records, done.missing) == (1, ())
    left = shop.app.store.get(key)
    left = gzip.decompress(left) if form == "gz" else left
    assert json.loads(left.strip())["eventMetadata"]["inferenceId"] == "stays" if form != "array" else b"stays" in left
    assert erase(shop.app.site, [wanted], NOW).captured.records == 0


class Failing(Directory):
    """A folder on a disk that fails from the second write of a record on."""

    left = 1

    def put(self, key: str, data: bytes, **options: Any) -> None:
        if key.startswith("captured/"):
            self.left -= 1
            if self.left < 0:
                raise Unavailable("the disk went away")
        super().put(key, data, **options)


def test_an_erasure_that_broke_off_is_finished_by_the_next(busy: Any) -> None:
    busy.requests(START + 3 * HOUR, name="secret-")
    with pytest.raises(Unavailable):
        erase(replace(busy.app.site, store=Failing(busy.app.store.root)), ["secret-17"], NOW)
    assert b'"secret-17"' in everything(busy)
    assert keys(busy, HOLD) == [], "whoever fails lets go"
    assert erase(busy.app.site, ["secret-17"], NOW).captured.records == 1
    assert b'"secret-17"' not in everything(busy)


def test_two_erasures_do_not_meet_and_a_dead_one_is_passed_over(busy: Any) -> None:
    busy.app.store.put(
        HOLD, json.dumps({"at": NOW.isoformat(), "who": {"user": "eve", "host": "far"}, "pid": 1}).encode()
    )
    with pytest.raises(Conflict, match="eve on far"):
        erase(busy.app.site, ["secret-17"], NOW + timedelta(minutes=14))
    assert erase(busy.app.site, ["secret-17"], NOW + timedelta(minutes=16)).captured.records == 1


def test_keys_outside_the_prefixes_and_other_endpoints_are_not_touched(busy: Any) -> None:
    line = b'{"captureData":{},"eventMetadata":{"eventId":"x","inferenceId":"secret-17"}}\n'
    others = ("captured/shopping/v/2026/03/01/00/a.jsonl", "mine/2026/03/01/00/a.jsonl", "captured/shop/v/notes.txt")
    for key in others:
        busy.app.store.put(key, line)
    erase(busy.app.site, ["secret-17"], NOW, endpoint="shop")
    assert [busy.app.store.get(key) for key in others] == [line] * 3


def test_a_packed_file_that_is_broken_is_named(busy: Any) -> None:
    key = "captured/shop/AllTraffic/2026/03/01/00/x.jsonl.gz"
    busy.app.store.put(key, gzip.compress(b"x" * 1000)[:20])
    assert erase(busy.app.site, ["secret-17"], NOW).unreadable == (key,)


@pytest.mark.parametrize("ids", [[], [""], ["a", " "]])
def test_no_id_and_empty_ids_are_refused(shop: Any, ids: list[str]) -> None:
    with pytest.raises(InputError, match="not empty"):
        erase(shop.app.site, ids, NOW)


def test_copies_of_a_bucket_s_objects_go_too(shop: Any) -> None:
    line = b'{"captureData":{},"eventMetadata":{"eventId":"x","inferenceId":"him"}}\n'
    copies = [
        shop.app.site.cache / "mirror/s3/bucket/captured/shop/v/2026/03/01/00" / name for name in ("a.jsonl", "b.jsonl")
    ]
    copies[0].parent.mkdir(parents=True)
    for copy, data in zip(copies, (line, line.replace(b"him", b"her")), strict=True):
        copy.write_bytes(data)
    assert erase(shop.app.site, ["him"], NOW, dry_run=True).cache.objects == 1
    assert erase(shop.app.site, ["him"], NOW).cache.objects == 1
    assert [copy.exists() for copy in copies] == [False, True]


def test_records_in_columns_are_read_by_the_monitors_beside_lines(shop: Any) -> None:
    shop.requests(START, 100, format="parquet")
    shop.requests(START + 2 * HOUR, 50, name="s")
    shop.requests(START + 2 * HOUR, 50, name="t", format="parquet")
    shop.labels(START + 12 * HOUR, 100)
    ran = {one.run.monitor: one.run for one in shop.tick(START + DAY + HOUR).ran}
    assert (ran["inputs"].rows, ran["truth"].rows) == (200, 200)
    assert ran["truth"].coverage == 0.5


def test_the_worker_of_another_machine_cleans_its_cache(busy: Any, tmp_path: Path) -> None:
    """The same store and catalog, with another cache."""
    other = replace(busy.app.site, cache=tmp_path / "other")
    shutil.copytree(busy.app.site.cache, other.cache)
    (other.cache / "mirror/s3/b/captured/shop").mkdir(parents=True)
    assert erased_elsewhere(other, NOW - 2 * HOUR) == 0
    erase(busy.app.site, ["secret-17"], NOW)
    hit = json.loads(busy.app.store.get(keys(busy, "audit/")[-1]))["keys"]
    copy = other.cache / "mirror/s3/b" / hit[0]
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(b"as it was")
    assert erased_elsewhere(other, NOW + HOUR) > 1
    assert not copy.exists()
    left = replace(busy.app.site, cache=other.cache)
    assert erase(left, ["secret-17"], NOW + HOUR, dry_run=True).cache.objects == 0
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(b"as it is now")
    assert erased_elsewhere(other, NOW + 3 * HOUR) == 0, "each line is heeded once"
