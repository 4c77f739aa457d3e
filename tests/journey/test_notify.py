"""Notices on their way: real sockets, real programs, real crashes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from driftline import wire
from driftline.catalog.catalog import Catalog, open_catalog
from driftline.catalog.ledger import Measured, Outcome
from driftline.catalog.outbox import Action, NoticeStatus, Told
from driftline.channels.channel import Channel
from driftline.channels.command import Command
from driftline.channels.webhook import Webhook, verify
from driftline.constraints import Verdict
from driftline.metrics.metric import Estimate, Measurement
from driftline.notify import ATTEMPTS, Delivered, deliver
from driftline.windows import Due, Window

NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Receiver:
    """A webhook's other end; it can answer badly, and it can kill the sender while it listens."""

    port: int = 0
    status: int = 200
    kill: bool = False
    sender: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    here = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.heard.append(verify("secret", dict(self.headers), body))
            here.keys.append(self.headers["Idempotency-Key"])
            if here.kill:
                here.kill = False
                os.kill(here.sender, signal.SIGKILL)
            self.send_response(here.status)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield here
        server.shutdown()
        thread.join()


@dataclass
class World:
    """A catalog with one alarm, its two channels, and a way to make days good or bad."""

    catalog: Catalog
    channels: dict[str, Channel]
    folder: Path
    url: str
    day: int = 0

    def days(self, letters: str) -> None:
        for letter in letters:
            at = NOW + self.day * DAY
            run = self.catalog.ledger.claim("quality", Due(at, Window(at - DAY, at)), "a", owner="one", now=at)
            assert run is not None
            verdict = {"V": Verdict.VIOLATED, "H": Verdict.HOLDS}[letter]
            measured = Measured(Measurement("auc", None, Estimate(0.6, 0.5, 0.7)), verdict)
            self.catalog.ledger.finish(run, Outcome(verdict, (measured,)), at)
            self.catalog.alarms.settle("quality", at)
            self.day += 1

    @property
    def now(self) -> datetime:
        return NOW + (self.day - 1) * DAY

    def deliver(self, later: timedelta = timedelta(0)) -> Delivered:
        return deliver(self.catalog, self.channels, self.now + later)

    def told(self, channel: str) -> list[Told]:
        return [told for told in reversed(self.catalog.outbox.notices()) if told.channel == channel]

    def starts(self) -> int:
        path = self.folder / "starts"
        return len(path.read_text().splitlines()) if path.exists() else 0


RETRAIN = """
import os, sys
open("starts", "a").write(os.environ["DRIFTLINE_NOTICE_KEY"] + "\\n")
sys.exit("no data to train on" if os.path.exists("broken") else 0)
"""


@pytest.fixture
def world(tmp_path: Path, receiver: Receiver) -> Iterator[World]:
    plan = wire.PlanFile(
        endpoints={"flights": wire.EndpointSpec(prediction="0")},
        baselines={"base": "/srv/base"},
        monitors={
            "quality": wire.MonitorSpec(
                kind="model-quality", endpoint="flights", baseline="base", schedule=wire.ScheduleSpec(cron="daily")
            )
        },
        channels={
            "team": wire.WebhookSpec(url=f"http://127.0.0.1:{receiver.port}/hook"),
            "retrain": wire.CommandSpec(
                command=(sys.executable, "-c", RETRAIN), cooldown="P14D", timeout="PT1M", folder=str(tmp_path)
            ),
        },
        alarms={"decay": wire.AlarmSpec(monitor="quality", notify=("team",), act=("retrain",))},
    )
    url = f"sqlite:///{tmp_path}/catalog.db"
    with open_catalog(url) as catalog:
        catalog.declared.apply(plan, NOW)
        command = plan.channels["retrain"]
        assert isinstance(command, wire.CommandSpec)
        webhook = Webhook(f"http://127.0.0.1:{receiver.port}/hook", lambda: NOW, "secret")
        yield World(catalog, {"team": webhook, "retrain": Command.of(command)}, tmp_path, url)


def test_an_alarm_is_told_and_acted_on_once(world: World, receiver: Receiver) -> None:
    world.days("V")
    assert len(world.deliver().sent) == 2
    assert len(world.deliver(timedelta(hours=1))) == 0
    assert [(heard["alarm"], heard["status"]) for heard in receiver.heard] == [("decay", "firing")]
    assert world.starts() == 1
    action = world.catalog.outbox.actions("retrain")[0]
    assert (action.exit_status, action.started_at) == (0, world.now)
    assert action.finished_at is not None
    world.days("H")
    assert world.deliver().sent == ("decay/2/ok/team",)
    assert receiver.heard[1]["status"] == "ok"


def test_a_receiver_that_is_down_is_tried_again_with_growing_pauses_and_given_up(
    world: World, receiver: Receiver
) -> None:
    receiver.status = 503
    world.days("V")
    later, pauses = timedelta(0), []
    for _ in range(ATTEMPTS):
        world.deliver(later)
        told = world.told("team")[0]
        if told.next_at is not None:
            assert len(world.deliver(later)) == 0, "not before the pause is over"
            pauses.append(told.next_at - world.now - later)
            later = told.next_at - world.now
    assert pauses[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert pauses[-1] == timedelta(hours=1)
    assert len(receiver.heard) == ATTEMPTS
    assert set(receiver.keys) == {"decay/1/firing/team"}
    told = world.told("team")[0]
    assert told.status is NoticeStatus.FAILED
    assert told.detail is not None
    assert "HTTP 503" in told.detail


def test_a_refusal_is_not_tried_again(world: World, receiver: Receiver) -> None:
    receiver.status = 404
    world.days("V")
    assert world.deliver().failed == ("decay/1/firing/team",)
    assert len(world.deliver(DAY)) == 0


def test_nobody_hears_of_a_clearing_before_the_alarm(world: World, receiver: Receiver) -> None:
    receiver.status = 503
    world.days("V")
    world.deliver()
    world.days("H")
    receiver.status = 200
    world.deliver()
    assert [heard["status"] for heard in receiver.heard] == ["firing", "firing", "ok"]


SENDER = """
import sys
from datetime import UTC, datetime
from driftline.catalog.catalog import open_catalog
from driftline.channels.webhook import Webhook
from driftline.notify import deliver
now = datetime.fromisoformat(sys.argv[3])
with open_catalog(sys.argv[1]) as catalog:
    sys.stdin.readline()
    deliver(catalog, {"team": Webhook(sys.argv[2], lambda: now, "secret")}, now)
"""


def test_a_crash_between_sending_and_recording_sends_the_same_key_again(world: World, receiver: Receiver) -> None:
    world.days("V")
    receiver.kill = True
    url = f"http://127.0.0.1:{receiver.port}/hook"
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, world.url, url, world.now.isoformat()], stdin=subprocess.PIPE
    )
    receiver.sender = sender.pid
    sender.communicate(b"go\n")
    assert sender.returncode == -signal.SIGKILL
    assert world.told("team")[0].status is NoticeStatus.PENDING
    assert "decay/1/firing/team" not in world.deliver().sent, "another process may be at it still"
    assert "decay/1/firing/team" in world.deliver(timedelta(minutes=1)).sent
    assert receiver.keys == ["decay/1/firing/team"] * 2
    assert receiver.heard[0] == receiver.heard[1]


def test_a_command_is_held_back_in_its_cool_down_and_let_go_when_the_alarm_has_cleared(world: World) -> None:
    world.days("V")
    world.deliver()
    world.days("HV")
    assert world.deliver().held == ("decay/3/firing/retrain",)
    told = world.told("retrain")[1]
    assert (told.status, told.next_at) == (NoticeStatus.HELD, NOW + 14 * DAY)
    assert told.detail == "in its cool-down: command 'retrain' was started at 2026-03-02T00:00:00Z"
    world.days("H" * 12)
    world.deliver()
    told = world.told("retrain")[1]
    assert (told.status, told.next_at) == (NoticeStatus.HELD, None)
    assert told.detail == "overtaken: the alarm has changed since and is ok"
    assert world.starts() == 1


def test_a_command_that_was_held_back_starts_after_its_cool_down_if_the_alarm_still_fires(world: World) -> None:
    world.days("V")
    world.deliver()
    world.days("HV")
    world.deliver()
    world.days("V" * 11)
    assert world.deliver().sent == ()
    world.days("V")
    assert world.deliver().sent == ("decay/3/firing/retrain",)
    assert (world.folder / "starts").read_text().splitlines() == ["decay/1/firing/retrain", "decay/3/firing/retrain"]


def test_at_most_one_action_of_a_channel_runs_at_a_time(world: World) -> None:
    world.days("V")
    told = world.told("retrain")[0]
    spec = world.catalog.declared.channels()["retrain"]
    assert isinstance(spec, wire.CommandSpec)
    running = world.catalog.outbox.begin_action(told, spec, world.now)
    assert isinstance(running, Action)
    world.days("HV")
    held = world.catalog.outbox.begin_action(world.told("retrain")[1], spec, running.started_at)
    assert not isinstance(held, Action)
    assert "is running since 2026-03-02T00:00:00Z; at most one at a time" in held.reason


def test_a_command_whose_worker_died_is_started_again(world: World) -> None:
    world.days("V")
    told = world.catalog.outbox.claim(world.now)
    while told is not None and told.channel != "retrain":
        told = world.catalog.outbox.claim(world.now)
    spec = world.catalog.declared.channels()["retrain"]
    assert told is not None
    assert isinstance(spec, wire.CommandSpec)
    assert isinstance(world.catalog.outbox.begin_action(told, spec, world.now), Action)
    assert "decay/1/firing/retrain" not in world.deliver(timedelta(seconds=90)).sent
    assert "decay/1/firing/retrain" in world.deliver(timedelta(minutes=3)).sent
    lost = world.catalog.outbox.actions("retrain")[1]
    assert (lost.exit_status, lost.detail) == (None, "never reported back: the process that started it is gone")


@pytest.mark.parametrize("retries", [0, 2])
def test_a_failed_command_is_tried_again_as_often_as_declared(world: World, retries: int) -> None:
    (world.folder / "broken").touch()
    specs = world.catalog.declared.channels()
    spec = specs["retrain"]
    assert isinstance(spec, wire.CommandSpec)
    encoded = wire.encode(spec) | {"retries": retries}
    plan = wire.PlanFile(
        endpoints=world.catalog.declared.endpoints(),
        baselines=world.catalog.declared.baselines(),
        monitors=world.catalog.declared.monitors(),
        channels=specs | {"retrain": wire.decode(wire.ChannelSpec, encoded)},
        alarms=world.catalog.declared.alarms(),
    )
    world.catalog.declared.apply(plan, NOW)
    world.days("V")
    for hours in range(6):
        world.deliver(timedelta(hours=hours))
    assert world.starts() == retries + 1
    told = world.told("retrain")[0]
    assert told.status is NoticeStatus.FAILED
    assert told.detail is not None
    assert "exit status 1: no data to train on" in told.detail
    assert [action.exit_status for action in world.catalog.outbox.actions()] == [1] * (retries + 1)


def test_a_channel_that_this_process_does_not_have_waits(world: World) -> None:
    world.days("V")
    del world.channels["team"]
    assert world.deliver().later == ("decay/1/firing/team",)


def test_a_channel_that_is_no_longer_declared_is_told_no_more(world: World) -> None:
    world.days("V")
    world.catalog.declared.apply(wire.PlanFile(), world.now)
    assert len(world.deliver()) == 0
    assert {told.detail for told in world.catalog.outbox.notices()} == {"the channel is no longer declared"}


def test_the_body_of_a_notice_is_json_as_documented(world: World, receiver: Receiver) -> None:
    world.days("V")
    world.deliver()
    documented = Path(__file__).parents[2] / "docs" / "notices.md"
    example = json.loads(documented.read_text().split("```json\n", 1)[1].split("```", 1)[0])
    assert set(receiver.heard[0]) == set(example)
    assert set(receiver.heard[0]["run"]) == set(example["run"])
