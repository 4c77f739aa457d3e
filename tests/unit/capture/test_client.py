"""The capture as it is called by hand; in one file, for all of it looks at the same records and counters."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from driftline.capture import Capture, Counters, Spool
from driftline.capture.counters import stored_counters
from driftline.capture.layout import counters_key
from driftline.capture.sampler import Rule, Sampling, chosen
from driftline.errors import InputError
from driftline.objects.directory import Directory
from driftline.windows import Window

from .conftest import Clock, Gated, ReadBack


class Undecided:
    """Neither true nor false, as an array or a missing value of pandas."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value is ambiguous")

    def __ne__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]


class Lost(tzinfo):
    """A zone that does not know where it lies."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        raise NotImplementedError

    dst = utcoffset

    def tzname(self, dt: datetime | None) -> str:
        return "lost"


def keys(store: Directory) -> list[str]:
    return [entry.key for entry in store.list("captured/") if entry.key.endswith(".jsonl")]


def test_what_was_logged_is_in_the_store(store: Directory, clock: Clock, read_back: ReadBack) -> None:
    with Capture("flights", store, clock=clock) as capture:
        assert capture.log(b"1,2", "0.5", inference_id="order-17", custom_attributes=["a=b"]) == "order-17"
        event_id = capture.log('{"x": 1}', None, request_content_type="application/json")
    first, second = read_back()
    assert (first.inference_id, first.custom_attributes, first.inferred_at) == ("order-17", ("a=b",), clock.at)
    assert first.input is not None
    assert (first.input.data, first.input.encoding) == ("1,2", "CSV")
    assert (second.event_id, second.inference_id, second.output) == (event_id, None, None)
    assert capture.counters == Counters(seen=2, sampled=2, written=2)


def test_a_file_holds_one_hour_only_and_lies_under_it(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock) as capture:
        for _ in range(6):
            capture.log("1", "0")
            clock.at += timedelta(seconds=1)
    nine, ten = keys(store)
    assert nine.startswith("captured/flights/AllTraffic/2026/03/01/09/59-58-000-")
    assert ten.startswith("captured/flights/AllTraffic/2026/03/01/10/00-00-000-")
    assert [len(store.get(key).splitlines()) for key in (nine, ten)] == [2, 4]


def test_a_clock_that_goes_back_and_forth_over_the_hour_does_not_shatter_the_files(
    store: Directory, clock: Clock, read_back: ReadBack
) -> None:
    with Capture("flights", store, clock=clock) as capture:
        for number in range(40):
            capture.log("1", "0", at=clock.at + timedelta(minutes=number % 2))
    assert len(keys(store)) == 2
    assert len(read_back()) == 40


@pytest.mark.parametrize("at", [datetime(1999, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_a_time_far_off_is_kept_as_it_is(store: Directory, read_back: ReadBack, at: datetime) -> None:
    with Capture("flights", store) as capture:
        capture.log("1", "0", at=at)
    assert [record.inferred_at for record in read_back()] == [at]


def test_the_chosen_share_is_decided_by_the_id_and_noted_in_the_record(
    store: Directory, clock: Clock, read_back: ReadBack
) -> None:
    ids = [f"order-{number}" for number in range(200)]
    with Capture("flights", store, sampling=0.3, clock=clock) as capture:
        for each in ids:
            capture.log("1", "0", inference_id=each)
    kept = [each for each in ids if chosen(each, 0.3)]
    assert [record.inference_id for record in read_back()] == kept
    assert {record.probability for record in read_back()} == {0.3}
    assert capture.counters == Counters(seen=200, sampled=len(kept), written=len(kept))


def test_an_error_is_kept_where_a_rule_says_so_and_says_so_itself(store: Directory, read_back: ReadBack) -> None:
    with Capture("flights", store, sampling=Sampling(0.0, [Rule(errors=True)])) as capture:
        capture.log("1", "0")
        capture.log("2", "no", status=503)
        capture.log("3", "0", status=200)
    (record,) = read_back()
    assert (record.status, record.probability) == (503, 1.0)
    assert capture.counters == Counters(seen=3, sampled=1, written=1)


def test_another_sampling_at_run_time_is_in_the_records_and_beside_the_counters(
    store: Directory, clock: Clock, read_back: ReadBack
) -> None:
    hour = clock.at.replace(minute=0, second=0)
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0", inference_id="a")
        clock.at += timedelta(seconds=1)
        capture.reload(Sampling(0.5, [Rule(0.25, variant="canary")]))
        for number in range(100):
            capture.log("1", "0", inference_id=str(number))
            capture.log("1", "0", inference_id=str(number), variant="canary")
        clock.at += timedelta(seconds=1)
        assert capture.sampling.rate == 0.5
    assert {record.probability for record in read_back()} == {1.0, 0.5, 0.25}
    (key,) = (entry.key for entry in store.list(f"captured/flights/AllTraffic/_counters/{hour:%Y/%m/%d/%H}/"))
    told = json.loads(store.get(key))
    assert told["sampling"] == 0.5
    assert told["samplings"] == [
        {"since": "2026-03-01T09:59:58Z", "rate": 1.0},
        {"since": "2026-03-01T09:59:59Z", "rate": 0.5, "rules": [{"rate": 0.25, "variant": "canary"}]},
    ]


def test_a_wrong_sampling_changes_nothing(store: Directory) -> None:
    with Capture("flights", store, sampling=0.5) as capture:
        with pytest.raises(InputError, match="sampling is 50"):
            capture.reload(50)
        assert capture.sampling == Sampling(0.5)


def test_a_full_queue_drops_and_counts_and_never_waits(store: Directory, read_back: ReadBack) -> None:
    capture = Capture("flights", store, queue_size=10)
    for _ in range(2000):
        capture.log("x" * 1000, "0")
    assert capture.close()
    counters = capture.counters
    assert counters.dropped.keys() == {"queue full"}
    assert counters.written == len(read_back()) == 2000 - counters.lost


def test_a_store_that_hangs_costs_nothing_while_the_disk_has_room(gated: Gated, read_back: ReadBack) -> None:
    capture = Capture("flights", gated, queue_size=100, roll_after_s=0.01)
    for number in range(500):
        capture.log("1", "0", inference_id=str(number))
        if number % 50 == 49:
            time.sleep(0.15)
    assert capture.counters == Counters(seen=500, sampled=500)
    gated.gate.set()
    assert capture.close()
    assert capture.counters == Counters(seen=500, sampled=500, written=500)
    assert [record.inference_id for record in read_back()] == [str(number) for number in range(500)]


def test_closing_gives_up_at_its_deadline(gated: Gated) -> None:
    capture = Capture("flights", gated)
    capture.log("1", "0")
    start = time.monotonic()
    assert not capture.close(timeout_s=0.2)
    assert time.monotonic() - start < 3
    assert capture.counters.pending == 1
    gated.gate.set()


def test_what_comes_after_the_end_is_dropped_and_counted(store: Directory) -> None:
    capture = Capture("flights", store)
    capture.log("1", "0")
    assert capture.close()
    capture.log("1", "0")
    assert capture.close()
    assert capture.counters == Counters(seen=2, sampled=2, written=1, dropped={"capture closed": 1})


def test_what_comes_after_the_end_is_told_once(store: Directory, caplog: pytest.LogCaptureFixture) -> None:
    capture = Capture("flights", store)
    assert capture.close()
    for _ in range(3):
        capture.log("1", "0")
    assert caplog.text.count("requests come after the capture was closed") == 1


def test_a_store_that_comes_back_gets_what_waited(store: Directory, read_back: ReadBack) -> None:
    store.put("captured", b"a file stands where the folder must be")
    capture = Capture("flights", store)
    capture.log("1", "0")
    assert not capture.flush()
    assert capture.counters.pending == 1
    store.delete("captured")
    assert capture.flush()
    assert len(read_back()) == 1
    assert capture.close()


def test_while_the_store_is_away_memory_is_bounded_and_the_loss_is_counted(
    store: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("captured", b"a file stands where the folder must be")
    with caplog.at_level(logging.WARNING, "driftline.capture"):
        capture = Capture("flights", store, max_file_bytes=5_000, spool=False)
        for number in range(100):
            capture.log("x" * 1000, "0", inference_id=str(number))
            if number % 4 == 3:
                capture.flush()
        assert capture.counters.pending <= 10
        assert not capture.close(timeout_s=0.2)
    counters = capture.counters
    assert (counters.written, counters.pending) == (0, 0)
    assert counters.dropped == {"store unavailable": 100}
    assert "could not be stored" in caplog.text


def test_files_are_closed_by_size(store: Directory, read_back: ReadBack) -> None:
    with Capture("flights", store, max_file_bytes=2_000) as capture:
        for _ in range(50):
            capture.log("x" * 100, "0")
    assert len(keys(store)) > 5
    assert all(entry.size < 2_500 for entry in store.list("captured/"))
    assert len(read_back()) == 50


def test_files_are_closed_by_age(store: Directory, read_back: ReadBack) -> None:
    capture = Capture("flights", store, roll_after_s=0.05)
    capture.log("1", "0")
    deadline = time.monotonic() + 10
    while not keys(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(read_back()) == 1
    assert capture.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"request": 1}, "body is neither bytes nor text"),
        ({"response": {"a": 1}}, "body is neither bytes nor text"),
        ({"at": datetime(2026, 1, 1)}, "time without a zone"),  # noqa: DTZ001
        ({"at": "2026-01-01"}, "time without a zone"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "time outside the years 1 to 9999"),
        ({"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))}, "time outside the years 1 to 9999"),
        ({"at": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))}, "time outside the years 1 to 9999"),
        ({"inference_id": 1.5}, "inference id is not text"),
        ({"inference_id": Undecided()}, "inference id is not text"),
        ({"custom_attributes": Undecided()}, "custom attributes are not a list of texts"),
        ({"custom_attributes": 5}, "custom attributes are not a list of texts"),
        ({"custom_attributes": [5]}, "custom attributes are not a list of texts"),
        ({"request_content_type": 1}, "cannot be written as JSON"),
        ({"endpoint": "../etc"}, "endpoint or variant is not a name"),
        ({"variant": ["a"]}, "endpoint or variant is not a name"),
        ({"at": pd.NaT}, "time without a zone"),
        ({"at": datetime(2026, 1, 1, tzinfo=Lost())}, "time without a zone"),
        ({"status": "503"}, "status is not a whole number"),
        ({"status": 503.0}, "status is not a whole number"),
        ({"status": Undecided()}, "status is not a whole number"),
        ({"request": None, "response": None}, "neither a request nor an answer"),
        ({"request": None, "response": None, "status": 200}, "neither a request nor an answer"),
    ],
)
def test_a_wrong_call_never_raises_and_is_counted(store: Directory, arguments: dict[str, Any], reason: str) -> None:
    capture = Capture("flights", store)
    capture.log(**cast("Any", {"request": "1", "response": "0"} | arguments))
    capture.log("1", "0")
    assert capture.close()
    assert capture.counters == Counters(seen=2, sampled=2, written=1, dropped={reason: 1})


def test_an_error_without_any_body_is_a_record(store: Directory, read_back: ReadBack) -> None:
    with Capture("flights", store) as capture:
        capture.log(None, None, status=503)
    (record,) = read_back()
    assert (record.input, record.output, record.status) == (None, None, 503)


def test_times_and_statuses_of_other_libraries_are_kept_as_plain_ones(
    store: Directory, tmp_path: Path, read_back: ReadBack
) -> None:
    at = pd.Timestamp("2026-03-01T10:30:00.000000001+01:00")
    capture = Capture("flights", store, spool=tmp_path / "spool")
    capture.log("1", "0", at=at, status=cast("int", np.int64(503)))
    assert capture.close()
    (record,) = read_back()
    assert (record.inferred_at, record.status) == (datetime(2026, 3, 1, 9, 30, tzinfo=UTC), 503)
    (key,) = keys(store)
    assert key.startswith("captured/flights/AllTraffic/2026/03/01/09/30-00-000-")
    window = Window(datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 1, 10, tzinfo=UTC))
    assert stored_counters(store, "flights", "AllTraffic", window) == Counters(1, 1, 1)


@pytest.mark.parametrize("body", [b"", "", b"\xff\x00", "\ud800", "é\n\x00", bytearray(b"1,2"), memoryview(b"1,2")])
def test_odd_bodies_are_kept_to_the_byte(store: Directory, read_back: ReadBack, body: Any) -> None:
    with Capture("flights", store) as capture:
        capture.log(body, "0")
    (record,) = read_back()
    assert record.input is not None
    assert record.input.body == (body.encode(errors="surrogatepass") if isinstance(body, str) else bytes(body))


@pytest.mark.parametrize("odd", ['"', "\\", "\n", "é", "\x00", "\ud800", "x" * 1000, " ", "../..", 17, 0])
def test_odd_ids_are_kept(store: Directory, read_back: ReadBack, odd: Any) -> None:
    with Capture("flights", store, sampling=1.0) as capture:
        capture.log("1", "0", inference_id=odd, custom_attributes=str(odd), request_content_type=str(odd))
    (record,) = read_back()
    assert record.inference_id == str(odd).replace("\ud800", "\\ud800")


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint": "../x"},
        {"variant": "a/b"},
        {"sampling": 20},
        {"roll_after_s": 0},
        {"queue_size": 0},
        {"csv_content_types": ["csv"]},
        {"spool": Spool(most_bytes=0)},
        {"spool": Spool(free_share=1.0)},
        {"spool": Spool(sync_every_s=-1)},
        {"clock": lambda: datetime(2026, 1, 1)},  # noqa: DTZ001
    ],
)
def test_a_wrong_setting_is_refused_at_once(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Capture(**cast("Any", {"endpoint": "flights", "store": tmp_path} | arguments))


def test_requests_of_many_threads_are_all_counted_and_written(store: Directory, read_back: ReadBack) -> None:
    capture = Capture("flights", store, sampling=0.5)

    def serve(number: int) -> None:
        for i in range(300):
            capture.log("1", "0", inference_id=f"{number}-{i}")

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capture.close()
    counters = capture.counters
    assert counters.seen == 2400
    assert counters.written == counters.sampled == len({record.inference_id for record in read_back()})


def test_the_counters_of_an_hour_lie_beside_its_records(store: Directory, clock: Clock) -> None:
    hour = clock.at.replace(minute=0, second=0)
    with Capture("flights", store, sampling=0.0, clock=clock) as idle:
        idle.log("1", "0")
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0")
        capture.log("1", cast("Any", 0))
        clock.at += timedelta(hours=1)
        capture.log("1", "0")
    counted = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=1)))
    assert counted == Counters(3, 2, 1, {"body is neither bytes nor text": 1})
    both = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=2)))
    assert both == Counters(4, 3, 2, {"body is neither bytes nor text": 1})


def test_one_capture_keeps_many_endpoints_and_variants_apart(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0", status=200)
        for number in range(3):
            capture.log("1", "0", endpoint="prices", inference_id=str(number))
        capture.log("1", "0", variant="canary")
    hour = clock.at.replace(minute=0, second=0)
    window = Window(hour, hour + timedelta(hours=1))
    names = [("flights", "AllTraffic"), ("flights", "canary"), ("prices", "AllTraffic")]
    assert [key.split("/")[1:3] for key in keys(store)] == [list(pair) for pair in names]
    assert [stored_counters(store, *pair, window).written for pair in names] == [1, 1, 3]
    assert capture.counters == Counters(5, 5, 5)


def test_made_up_names_do_not_fill_the_memory(store: Directory, clock: Clock) -> None:
    capture = Capture("flights", store, clock=clock, sampling=0.0)
    for number in range(1100):
        capture.log("1", "0", endpoint=f"made-up-{number}")
    assert capture.counters == Counters(1100, 101, 0, {"too many endpoints and variants": 101})
    assert capture.close()


def test_a_caller_that_is_always_wrong_is_counted_in_the_store_and_warned_of_once(
    store: Directory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "driftline.capture"), Capture("flights", store, clock=clock) as capture:
        for _ in range(50):
            capture.log("1", cast("Any", 0))
    hour = clock.at.replace(minute=0, second=0)
    counted = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=1)))
    assert counted == Counters(50, 50, 0, {"body is neither bytes nor text": 50})
    assert caplog.text.count("was not captured") == 1


def test_the_counters_of_an_hour_are_stored_with_its_file_and_not_before(gated: Gated, clock: Clock) -> None:
    with Capture("flights", gated, clock=clock) as capture:
        for _ in range(24 * 4):
            capture.log("1", "0")
            clock.at += timedelta(minutes=15)
        gated.gate.set()
    counters = [key for key in gated.puts if "/_counters/" in key]
    assert len(counters) == len(gated.puts) - len(counters) == 25


def test_requests_that_are_not_chosen_are_counted_in_the_store_while_files_of_other_hours_come_and_go(
    store: Directory, clock: Clock
) -> None:
    hour = clock.at.replace(minute=0, second=0)
    capture = Capture("flights", store, clock=clock, roll_after_s=0.5, max_file_bytes=1)
    capture.skip(clock.at)
    deadline = time.monotonic() + 20
    counted = Counters()
    while counted.seen == 0 and time.monotonic() < deadline:
        capture.log("1", "0", at=clock.at + timedelta(hours=1))
        time.sleep(0.01)
        counted = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=1)))
    assert counted == Counters(seen=1)
    assert capture.close()


def test_counters_that_a_power_cut_left_empty_are_as_if_never_stored(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0")
    hour = clock.at.replace(minute=0, second=0)
    store.put(counters_key("flights", "AllTraffic", hour, "dead-writer"), b"")
    counted = stored_counters(store, "flights", "AllTraffic", Window(hour, hour + timedelta(hours=1)))
    assert counted == Counters(1, 1, 1)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_writer_and_an_empty_queue(store: Directory, read_back: ReadBack) -> None:
    capture = Capture("flights", store)
    capture.log("1", "0", inference_id="parent")
    child = os.fork()
    if child == 0:
        capture.log("1", "0", inference_id="child")
        fine = capture.close() and capture.counters == Counters(1, 1, 1)
        os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert capture.close()
    assert capture.counters == Counters(1, 1, 1)
    assert sorted(record.inference_id or "" for record in read_back()) == ["child", "parent"]


def test_what_waits_when_the_process_ends_is_written(tmp_path: Path, read_back: ReadBack) -> None:
    script = "import sys\nfrom driftline.capture import Capture\nCapture('flights', sys.argv[1]).log('1', '0')\n"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "objects")], check=True)
    assert len(read_back()) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gives_no_id_that_its_parent_gives(store: Directory) -> None:
    with Capture("flights", store, sampling=0.5) as capture:
        capture.log(b"1", b"2")  # several ids are drawn at once: some wait now
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writes, json.dumps([capture.log(b"1", b"2") for _ in range(40)]).encode())
            os._exit(0)
        os.waitpid(child, 0)
        given = json.loads(os.read(reads, 1 << 16))
        assert len(given) == 40
        assert not set(given) & {capture.log(b"1", b"2") for _ in range(40)}
        os.close(reads)
        os.close(writes)
