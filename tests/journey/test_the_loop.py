"""From live requests to an alarm and back: capture, labels, monitors on a schedule, a webhook, a corrective action."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from driftline.assemble import App, opened
from driftline.capture import Capture
from driftline.catalog.ledger import Run
from driftline.channels.webhook import verify
from driftline.dataset.dataset import Answers
from driftline.dataset.labels import put_labels
from driftline.planfile import read_plan
from driftline.runs.oneoff import Model, Source, Truth, Workshop, baseline_of_data, baseline_of_quality
from driftline.schema import ProblemType
from driftline.worker import Tick, tick

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 600

PLAN = """
version: 1
endpoints:
  loans: {{problem_type: BinaryClassification, probability: "0"}}
baselines:
  loans-data: base-data
  loans-quality: base-quality
monitors:
  loans-inputs: {{kind: data-quality, endpoint: loans, baseline: loans-data, schedule: daily, sides: [input]}}
  loans-truth:
    kind: model-quality
    endpoint: loans
    baseline: loans-quality
    schedule: {{cron: daily, grace: PT6H, late: P7D}}
channels:
  team: {{kind: webhook, url: "http://127.0.0.1:{port}/hook", secret_env: HOOK_SECRET}}
  retrain: {{kind: command, command: ["{python}", retrain.py], cooldown: P14D}}
alarms:
  loans-decay: {{monitor: loans-truth, metrics: [auc], datapoints: 2, of: 3, clear: 2, notify: [team], act: [retrain]}}
"""


def traffic(seed: int, skill: float, rows: int = ROWS) -> Iterator[tuple[float, int, float, int]]:
    """Rows of (income, age, score, truth): the score knows as much of the truth as `skill` says."""
    chance = random.Random(seed)
    for _ in range(rows):
        truth = chance.random() < 0.3
        score = 1 / (1 + 2.718281828 ** -(skill * (1.5 if truth else -1.5) + chance.gauss(0, 1)))
        yield chance.lognormvariate(10, 0.5), chance.randint(18, 80), score, int(truth)


class Hook(BaseHTTPRequestHandler):
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        verify("s3cret", dict(self.headers), body)
        self.received.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[HTTPServer]:
    Hook.received = []
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class World:
    """A home, a clock, and a model whose skill can change."""

    def __init__(self, home: Path, app: App) -> None:
        self.home = home
        self.app = app
        self.now = START

    def day(self, number: int, skill: float, labelled: float = 1.0) -> None:
        """One day of requests, and the labels of a share of them in the next morning."""
        begin = START + number * DAY
        capture = Capture("loans", self.home / "objects", clock=lambda: begin)
        truths = []
        for i, (income, age, score, truth) in enumerate(traffic(number + 100, skill)):
            at = begin + timedelta(seconds=100 * i)
            capture.log(f"{income:.2f},{age}", f"{score:.6f}", inference_id=f"{number}-{i}", at=at)
            truths.append((f"{number}-{i}", truth))
        capture.close(10)
        self.label(truths[: int(labelled * ROWS)], begin + DAY + timedelta(hours=2))

    def label(self, truths: list[tuple[str, int]], at: datetime) -> None:
        if truths:
            put_labels(self.app.store, "loans", truths, now=at)

    def tick(self, now: datetime) -> Tick:
        self.now = now
        return tick(self.app.site, self.app.channels(), now)

    def runs(self, monitor: str) -> list[Run]:
        return self.app.catalog.ledger.history(monitor)


@pytest.fixture
def world(tmp_path: Path, hook: HTTPServer) -> Iterator[World]:
    environ = {"DRIFTLINE_HOME": str(tmp_path), "HOOK_SECRET": "s3cret"}
    (tmp_path / "retrain.py").write_text(
        "import sys, pathlib\npathlib.Path('retrained').write_text(sys.stdin.read())\n"
    )
    train = [*traffic(1, 1.0, 6000)]
    (tmp_path / "train.csv").write_text("income,age\n" + "".join(f"{i:.2f},{a}\n" for i, a, _, _ in train))
    (tmp_path / "scored.csv").write_text("score,truth\n" + "".join(f"{s:.6f},{t}\n" for _, _, s, t in train))
    with opened(environ) as app:
        shop = Workshop(app.site.engine, tmp_path / "scratch", START)
        baseline_of_data(Source(tmp_path / "train.csv"), tmp_path / "base-data", shop)
        model = Model(ProblemType.BINARY, Answers(score="score"), Truth(column="truth"))
        baseline_of_quality(Source(tmp_path / "scored.csv"), tmp_path / "base-quality", model, shop)
        plan = tmp_path / "driftline.yaml"
        plan.write_text(PLAN.format(port=hook.server_port, python=sys.executable))
        app.catalog.declared.apply(read_plan(plan), START)
        yield World(tmp_path, app)


def morning(number: int) -> datetime:
    """Seven o'clock on the day after day `number`: the grace period is over."""
    return START + (number + 1) * DAY + timedelta(hours=7)


def test_decay_fires_acts_recovers_and_clears(world: World) -> None:
    skills = [1.0, 1.0, 0.2, 0.2, 1.0, 1.0]
    fired, cleared = [], []
    for number, skill in enumerate(skills):
        world.day(number, skill)
        for ran in world.tick(morning(number)).ran:
            fired += [number for change in ran.changes if change.status.value == "firing"]
            cleared += [number for change in ran.changes if change.status.value == "ok"]
    assert fired == [3], "the second bad day fires"
    assert cleared == [5], "the second good day clears"
    assert [n["status"] for n in Hook.received] == ["firing", "ok"]
    assert json.loads((world.home / "retrained").read_text())["alarm"] == "loans-decay"
    inputs = [run.verdict.value for run in world.runs("loans-inputs") if run.verdict]
    assert "violated" not in inputs, "the inputs never moved"
    report = world.home / "objects/reports/loans/loans-truth/2026/03/05/00"
    assert {"statistics.json", "constraint_violations.json", "report.json"} <= {p.name for p in report.iterdir()}


def test_the_same_inputs_twice_do_nothing(world: World) -> None:
    world.day(0, 1.0)
    assert len(world.tick(morning(0)).ran) == 2
    assert world.tick(morning(0) + timedelta(minutes=1)).ran == ()


def test_late_labels_open_a_window_again_and_judge_the_alarm_once(world: World) -> None:
    for number in range(2):
        world.day(number, 0.2, labelled=0.0)
        world.tick(morning(number))
    pending = world.runs("loans-truth")
    assert [run.reason is not None and run.reason.startswith("labels pending") for run in pending] == [True, True]
    for number in range(2):
        truths = [(f"{number}-{i}", row[3]) for i, row in enumerate(traffic(number + 100, 0.2))]
        world.label(truths, morning(2) - timedelta(hours=1))
    world.label([("0-0", 1), ("nobody", 1)][1:], morning(2) - timedelta(minutes=30))
    changes = [change for ran in world.tick(morning(2)).ran for change in ran.changes]
    assert [change.status.value for change in changes] == ["firing"]
    assert [run.revision for run in world.runs("loans-truth")[:2]] == [1, 1]
    world.label([("nobody-else", 1)], morning(2) + timedelta(minutes=1))
    again = world.tick(morning(2) + timedelta(hours=2))
    assert again.ran == (), "a label for nobody opens nothing"
    assert len(Hook.received) == 1


def test_a_window_without_traffic_is_unknown_and_a_worker_that_slept_catches_up(world: World) -> None:
    world.day(0, 1.0)
    world.day(3, 1.0)
    world.tick(morning(3))
    verdicts = [(run.verdict.value, run.reason) for run in world.runs("loans-inputs") if run.verdict]
    assert verdicts[1:3] == [("unknown", "no data: the window has no rows")] * 2
    assert all(reason is None or "constraints" in reason for _, reason in (verdicts[0], verdicts[3]))
