from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from driftline.capture import Capture, Counters, Rule, Sampling
from driftline.capture.counters import put_counters
from driftline.capture.in_force import InForce
from driftline.capture.outbox import Trouble
from driftline.capture.status import Lane, Status, status
from driftline.capture.tallies import Place
from driftline.cli import main
from driftline.errors import Corrupt, Unavailable
from driftline.objects.directory import Directory
from driftline.objects.places import store_at
from driftline.objects.store import Entry, ObjectStore

from .conftest import Clock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from driftline.capture import Capture

    capture = Capture("flights", sys.argv[1], sampling=0.5)
    for number in range(40):
        capture.log("1", "0", inference_id=str(number))
    assert capture.flush()
    for number in range(40, 60):
        capture.log("1", "0", inference_id=str(number), variant="canary")
    print("ready", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
    """
)


class Away(Directory):
    """A store that cannot be reached."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        raise Unavailable("no route to the store")

    def list(self, prefix: str) -> Iterator[Entry]:
        raise Unavailable("no route to the store")

    def folders(self, prefix: str) -> Iterator[str]:
        raise Unavailable("no route to the store")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def told(objects: Path, *more: str) -> Any:
    result = CliRunner().invoke(main, ["capture", "status", "--store", str(objects), "--json", *more])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def lanes(found: Status) -> dict[tuple[str, str], Lane]:
    return {(lane.endpoint, lane.variant): lane for lane in found.endpoints}


def test_what_is_on_its_way_is_known_while_the_writer_lives(store: Directory, clock: Clock, spool_root: Path) -> None:
    with Capture("flights", store, clock=clock) as capture:
        for number in range(5):
            capture.log("1", "0", inference_id=str(number))
        until(lambda: [lane.waiting_files for lane in status(store, clock.at).endpoints] == [1])
        before = files(spool_root)
        found = status(store, clock.at + timedelta(seconds=7))
        assert files(spool_root) == before
        (lane,), (process,) = found.endpoints, found.processes
        assert (lane.seen, lane.sampled, lane.written, lane.pending, lane.lost) == (5, 5, 0, 5, 0)
        assert lane.lag_s == 7.0
        assert lane.waiting_bytes == process.waiting_bytes > 0
        assert (process.alive, process.paused, process.lag_s) == (True, False, 7.0)
        assert capture.flush()
        found = status(store, clock.at)
        assert (found.endpoints[0].written, found.endpoints[0].pending, found.endpoints[0].lag_s) == (5, 0, None)
    found = status(store, clock.at)
    assert (found.endpoints[0].seen, found.endpoints[0].written, found.processes) == (5, 5, [])


def test_what_a_killed_process_left_is_known_until_the_next_one_has_finished_it(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    command = [sys.executable, "-c", KILLED, str(objects)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until(lambda: [lane["waiting_files"] for lane in told(objects)["endpoints"]] == [0, 1])
        until(lambda: told(objects)["endpoints"][1]["seen"] == 20)
        living = told(objects)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    dead = told(objects)
    for found, alive in ((living, True), (dead, False)):
        plain, canary = found["endpoints"]
        assert (plain["seen"], plain["sampled"], plain["pending"]) == (40, plain["written"], 0)
        assert (canary["variant"], canary["seen"], canary["written"]) == ("canary", 20, 0)
        assert canary["pending"] == canary["sampled"] > 0
        assert canary["sampling"] == [{"rate": 0.5}]
        (writer,) = found["processes"]
        assert (writer["pid"], writer["alive"], writer["waiting_files"]) == (process.pid, alive, 1)
    heir = Capture("flights", objects)
    until(lambda: all(writer["alive"] for writer in told(objects)["processes"]))
    assert heir.close()
    assert told(objects)["endpoints"][1]["pending"] == 0


def test_what_is_damaged_in_a_spool_hides_nothing_else(store: Directory, clock: Clock, spool_root: Path) -> None:
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0")
        until(lambda: [lane.waiting_files for lane in status(store, clock.at).endpoints] == [1])
        (living,) = [path for spool in spool_root.iterdir() for path in spool.iterdir()]
        dead = living.parent / "0f"
        dead.mkdir()
        for name in ("lock", "journal", "state.json", "in_force.json", "00000001.segment", "00000002.segment"):
            (dead / name).write_bytes(b"" if name == "lock" else b"\xff{[\n" * 3)
        found = status(store, clock.at)
    assert found.endpoints[0].seen == 1
    assert sorted((each.alive, each.pid is None, each.waiting_files) for each in found.processes) == [
        (False, True, 0),
        (True, False, 1),
    ]


def test_a_store_that_is_away_leaves_what_this_machine_knows(tmp_path: Path, clock: Clock) -> None:
    store = Away(tmp_path / "objects")
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0")
        capture.flush(0.1)
        until(lambda: status(store, clock.at).processes[0].error is not None)
        found = status(store, clock.at)
        capture.close(0.1)
    assert found.unreachable == "no route to the store"
    assert (found.endpoints[0].pending, found.endpoints[0].error) == (1, "no route to the store")
    assert found.endpoints[0].error_at is not None


def counted(
    store: ObjectStore, hour: datetime, writer: str, counters: Counters, sampling: Sampling, since: datetime
) -> None:
    in_force = InForce()
    in_force.samples(since, sampling)
    put_counters(store, Place("flights", "AllTraffic", hour), writer, in_force, counters)


@pytest.mark.parametrize("where", ["directory", "s3"])
def test_counters_of_all_writers_and_hours_are_added_up(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = store_at(tmp_path if where == "directory" else request.getfixturevalue("s3"))
    for writer, rate in (("one", 1.0), ("two", 0.5), ("three", 0.5)):
        for hour in range(4):
            lost = {"queue full": hour, "disk full": 1} if writer == "one" else {}
            at = NOON - timedelta(hours=hour)
            counters = Counters(100, 50, 50 - sum(lost.values()), lost, {"privacy: not valid JSON": 1})
            counted(store, at, writer, counters, Sampling(rate), NOON - timedelta(days=9))
    (lane,) = status(store, NOON + timedelta(minutes=15), hours=3).endpoints
    assert (lane.seen, lane.sampled, lane.written, lane.pending) == (900, 450, 444, 0)
    assert (lane.dropped, lane.lost) == ({"queue full": 3, "disk full": 3}, 6)
    assert lane.withheld == {"privacy: not valid JSON": 9}
    assert [each["rate"] for each in lane.sampling] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("counts", "since", "rate"),
    [
        ({0: 900}, NOON, 1.0),
        ({0: 450, 1: 600}, NOON - timedelta(days=1), 0.25),
        ({1: 600, 2: 600}, NOON - timedelta(days=1), 0.125),
        ({2: 600}, NOON - timedelta(days=1), 0.0),
    ],
    ids=["begun with the hour", "two hours", "quiet this hour", "quiet for an hour"],
)
def test_the_rate_is_that_of_the_last_hour(
    store: Directory, counts: dict[int, int], since: datetime, rate: float
) -> None:
    for hour, seen in counts.items():
        counted(store, NOON - timedelta(hours=hour), "one", Counters(seen), Sampling(), since)
    (lane,) = status(store, NOON + timedelta(minutes=15)).endpoints
    assert lane.per_second == pytest.approx(rate)


def test_the_last_error_of_any_machine_is_told(store: Directory) -> None:
    place = Place("flights", "AllTraffic", NOON)
    for minute, what in ((5, "first"), (9, "last"), (7, "between")):
        trouble = Trouble(NOON + timedelta(minutes=minute), what)
        put_counters(store, place, what, InForce(), Counters(1, 1, 1), trouble)
    (lane,) = status(store, NOON + timedelta(minutes=15)).endpoints
    assert (lane.error, lane.error_at) == ("last", NOON + timedelta(minutes=9))
    assert lane.seen == 3


def test_only_one_endpoint_where_one_is_asked_for(store: Directory, clock: Clock) -> None:
    with Capture("flights", store, clock=clock) as capture:
        capture.log("1", "0")
        capture.log("1", "0", endpoint="prices")
    assert list(lanes(status(store, clock.at, endpoint="prices"))) == [("prices", "AllTraffic")]
    assert list(lanes(status(store, clock.at))) == [("flights", "AllTraffic"), ("prices", "AllTraffic")]


def test_counters_that_are_none_are_named(store: Directory) -> None:
    key = "captured/flights/AllTraffic/_counters/2026/03/01/12/one.json"
    for data in (b"[]", b"{}", b'{"seen": 1, "sampled": 1, "written": 1, "dropped": {}, "samplings": [5]}'):
        store.put(key, data)
        with pytest.raises(Corrupt, match=re.escape(key)):
            status(store, NOON)
    store.put(key, b"")  # what a power cut leaves
    assert status(store, NOON).endpoints == []


def test_people_read_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = tmp_path / "objects"
    sampling = Sampling(0.5, [Rule(errors=True)], most_per_second=100)
    with Capture("flights", objects, sampling=sampling, queue_size=1) as capture:
        capture._buffer.close()
        for number in range(1000):
            capture.log("1", "0", inference_id=str(number))
    config = tmp_path / "capture.yaml"
    config.write_text("version: 1\nendpoint: flights\nstore: objects\nspool: none\n")
    monkeypatch.setenv("DRIFTLINE_CAPTURE_CONFIG", str(config))
    result = CliRunner().invoke(main, ["capture", "status", "--hours", "2"])
    assert result.exit_code == 0
    assert "0.5, 1 rule, at most 100/s" in result.output
    assert "flights   AllTraffic  1,000" in result.output
    assert "capture closed" in result.output
    assert "on this machine" not in result.output
    result = CliRunner().invoke(main, ["capture", "status", "--store", str(tmp_path / "none")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing was captured" in result.stderr
