from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline.capture import Capture, Sampling
from driftline.capture.config import read_config
from driftline.capture.in_force import InForce
from driftline.capture.privacy import Policy, Rule
from driftline.capture.watch import Watch
from driftline.objects.directory import Directory

from .conftest import Clock, ReadBack

PLAIN = "version: 1\nendpoint: shop\nstore: objects\n"
DROP = PLAIN + "privacy:\n  rules: [{action: drop, name: email}]\n"
ASKED = '{"email": "a@b", "x": 1}'


def replaced(file: Path, text: str) -> None:
    """The file as whoever writes it anew and renames it leaves it, some time ago."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (1_700_000_000, 1_700_000_000))
    new.replace(file)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def counters(folder: Path) -> dict[str, object]:
    (key,) = [e.key for e in Directory(folder / "objects").list("captured/shop/AllTraffic/_counters/")]
    found: dict[str, object] = json.loads(Directory(folder / "objects").get(key))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    replaced(tmp_path / "capture.yaml", PLAIN)
    return tmp_path / "capture.yaml"


def test_the_sampling_changes_with_the_file_and_is_recorded(tmp_path: Path, file: Path, clock: Clock) -> None:
    with Capture.from_config(file, clock=clock) as capture:
        capture.log("1", "0", inference_id="order-1")
        clock.at += timedelta(seconds=1)
        replaced(file, PLAIN + "sampling: 0\n")
        capture.hurry()
        until(lambda: capture.sampling == Sampling(0))
        capture.log("1", "0", inference_id="order-1")
    told = counters(tmp_path)
    assert (told["seen"], told["written"], told["sampling"]) == (2, 1, 0.0)
    assert told["samplings"] == [
        {"since": "2026-03-01T09:59:58Z", "rate": 1.0},
        {"since": "2026-03-01T09:59:59Z", "rate": 0.0},
    ]
    assert "policies" not in told


def test_a_policy_comes_and_goes_with_the_file_and_is_recorded(
    tmp_path: Path, file: Path, clock: Clock, read_back: ReadBack
) -> None:
    def log(text: str) -> None:
        clock.at += timedelta(seconds=1)
        before = capture._in_force.changes
        replaced(file, text)
        capture.hurry()
        until(lambda: capture._in_force.changes > before)
        capture.log(ASKED, None, request_content_type="application/json")
        assert capture.flush()

    clock.at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    with Capture.from_config(file, clock=clock) as capture:
        capture.log(ASKED, None, request_content_type="application/json")
        assert capture.flush()
        log(DROP)
        log(PLAIN)
    inputs = [record.input.data for record in read_back() if record.input is not None]
    assert inputs == [ASKED, '{"x":1}', ASKED]
    assert counters(tmp_path)["policies"] == [
        {"since": "2026-03-01T09:30:00Z", "rules": []},
        {"since": "2026-03-01T09:30:01Z", "rules": [{"action": "drop", "name": "email"}]},
        {"since": "2026-03-01T09:30:02Z", "rules": []},
    ]


def test_a_wrong_file_changes_nothing_and_says_so(
    file: Path, caplog: pytest.LogCaptureFixture, read_back: ReadBack
) -> None:
    replaced(file, DROP + "sampling: 1\n")
    with caplog.at_level(logging.WARNING), Capture.from_config(file) as capture:
        capture.log(ASKED, None, request_content_type="application/json")
        assert "driftline_capture_config_in_force 1\n" in capture.metrics()
        replaced(file, PLAIN + "sampling: 7\n")
        capture.hurry()
        until(lambda: "driftline_capture_config_in_force 0\n" in capture.metrics())
        capture.hurry()
        capture.log(ASKED, None, request_content_type="application/json")
        assert capture.flush()
        assert capture.sampling == Sampling(1.0)
        replaced(file, PLAIN + "sampling: 0.5\n")
        capture.hurry()
        until(lambda: "driftline_capture_config_in_force 1\n" in capture.metrics())
        assert capture.sampling == Sampling(0.5)
    assert [record.input.data for record in read_back() if record.input is not None] == ['{"x":1}'] * 2
    told = [record.getMessage() for record in caplog.records]
    assert len([text for text in told if "line 4, sampling: sampling is 7" in text]) == 1


def test_what_changed_before_the_first_request_holds_for_its_record(file: Path, read_back: ReadBack) -> None:
    with Capture.from_config(file) as capture:
        replaced(file, DROP)
        capture.log(ASKED, None, request_content_type="application/json")
    assert [record.input.data for record in read_back() if record.input is not None] == ['{"x":1}']


class Watched:
    """A watch that is asked to look by hand, once a second."""

    def __init__(self, file: Path, fixed: frozenset[str] = frozenset()) -> None:
        self.samplings: list[Sampling] = []
        self.policies: list[Policy | None] = []
        self.watch = Watch(read_config(file, {}, fixed=fixed), self.samplings.append, self.policies.append)
        self._now_s = 0.0

    def look(self) -> bool:
        self._now_s += 1
        return self.watch.look(self._now_s)

    def trouble(self) -> str | None:
        return self.watch.trouble


def test_a_file_that_is_still_being_written_is_not_read(file: Path) -> None:
    watched = Watched(file)
    for part in ("version: 1\n", "version: 1\nendpoint: shop\n", PLAIN, DROP):
        file.write_text(part)
        os.utime(file, (4_000_000_000, 4_000_000_000))  # never old enough to be taken as whole at once
        assert not watched.look()
        assert (watched.samplings, watched.policies, watched.watch.trouble) == ([], [], None)
    watched.look()
    assert [repr(policy) for policy in watched.policies] == ["Policy(drop email on both)"]


def test_it_looks_once_a_second(file: Path) -> None:
    watched = Watched(file)
    watched.watch.look(0.0)
    replaced(file, PLAIN + "sampling: 0.5\n")
    watched.watch.look(0.9)
    assert watched.samplings == []
    watched.watch.look(1.0)
    assert watched.samplings == [Sampling(0.5)]


def test_what_needs_a_restart_is_said_until_it_is_as_before(file: Path) -> None:
    watched = Watched(file)
    replaced(file, PLAIN.replace("shop", "flights") + "queue_size: 5\nsampling: 0.5\n")
    assert watched.look()
    assert watched.watch.trouble == f"{file} has changed, but endpoint, queue_size only with a restart"
    assert watched.samplings == [Sampling(0.5)]
    assert not watched.look()
    replaced(file, PLAIN + "sampling: 0.5\n")
    assert watched.look()
    assert watched.trouble() is None
    assert watched.samplings == [Sampling(0.5)]


def test_a_file_that_is_gone_changes_nothing(file: Path) -> None:
    watched = Watched(file)
    file.unlink()
    assert watched.look()
    assert watched.watch.trouble is not None
    assert watched.watch.trouble.startswith("it cannot be read: ")
    assert not watched.look()
    replaced(file, PLAIN)
    assert watched.look()
    assert watched.trouble() is None
    assert (watched.samplings, watched.policies) == ([], [])


def test_what_the_program_gave_is_the_programs(file: Path) -> None:
    watched = Watched(file, frozenset({"sampling", "privacy", "endpoint"}))
    replaced(file, DROP.replace("shop", "flights") + "sampling: 0.5\n")
    assert not watched.look()
    assert (watched.samplings, watched.policies, watched.watch.trouble) == ([], [], None)


def test_another_key_is_another_policy(tmp_path: Path, file: Path) -> None:
    text = PLAIN + "privacy:\n  key_file: key\n  rules: [{action: hash, on: id}]\n"
    (tmp_path / "key").write_text("k" * 32)
    replaced(file, text)
    watched = Watched(file)
    (tmp_path / "key").write_text("l" * 32)
    replaced(file, text + "# the key of March\n")
    watched.look()
    (policy,) = watched.policies
    assert policy is not None
    assert policy.told()["key"] == Policy([Rule("hash", on="id")], key=b"l" * 32).told()["key"]
    assert "l" * 32 not in str(policy.told())


FORKS = textwrap.dedent(
    """
    import os, sys, time
    from driftline.capture import Capture

    capture = Capture.from_config(sys.argv[1])
    children = []
    for number in range(2):
        children.append(os.fork())
        if not children[-1]:
            capture.log(sys.argv[2], None, request_content_type="application/json", inference_id=f"before-{number}")
            assert capture.flush()  # what waits in the queue would come under the new policy
            os.write(1, b"ready\\n")
            end = time.monotonic() + 30
            while capture.sampling.most_per_second is None and time.monotonic() < end:
                time.sleep(0.01)
            capture.log(sys.argv[2], None, request_content_type="application/json", inference_id=f"after-{number}")
            os._exit(0 if capture.close() else 1)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
    """
)


def test_every_worker_of_a_server_that_forks_sees_the_change(tmp_path: Path, file: Path, read_back: ReadBack) -> None:
    command = [sys.executable, "-c", FORKS, str(file), ASKED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        replaced(file, DROP + "sampling: {most_per_second: 1000}\n")
    assert parent.returncode == 0
    inputs = {record.inference_id: record.input.data for record in read_back() if record.input is not None}
    assert inputs == {"before-0": ASKED, "before-1": ASKED, "after-0": '{"x":1}', "after-1": '{"x":1}'}
    store = Directory(tmp_path / "objects")
    entries = list(store.list("captured/shop/AllTraffic/_counters/"))
    told = [json.loads(store.get(entry.key)) for entry in entries]
    assert sum(one["written"] for one in told) == 4
    assert {len(one["policies"]) for one in told} >= {2}


def test_what_was_in_force_is_known_to_who_finishes_a_dead_process() -> None:
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    known = InForce()
    known.samples(at, Sampling(0.5))
    known.protects(at, Policy([Rule("drop", name="email")]))
    known.protects(at + timedelta(hours=2), None)
    assert InForce.of(known.all_told()).all_told() == known.all_told()
    hour = InForce.of(known.all_told()).told(at + timedelta(hours=1), at + timedelta(hours=2))
    assert hour == known.told(at + timedelta(hours=1), at + timedelta(hours=2))
    assert [each["rules"] for each in hour["policies"]] == [[{"action": "drop", "name": "email"}]]
