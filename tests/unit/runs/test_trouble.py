"""What goes wrong in a run is recorded, tried again or given up, and stops nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.capture import Capture
from driftline.catalog.ledger import LEASE, RunStatus
from driftline.dataset.dataset import Dataset, Join, Progress, Table
from driftline.engines.engine import Engine, Folded
from driftline.errors import Unavailable
from driftline.objects.directory import Directory
from driftline.states.state import Plan, States
from driftline.windows import parse_window
from driftline.worker import run_window, tick

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MORNING = START + DAY + HOUR
WORKER = """
import sys
from datetime import datetime
from driftline.assemble import opened
from driftline.worker import tick
with opened() as app:
    for ran in tick(app.site, app.channels(), datetime.fromisoformat(sys.argv[1])).ran:
        print(ran.run.monitor, ran.run.status, ran.failure)
"""


def worker(shop: Any, now: datetime) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, now.isoformat()]
    environ = {"DRIFTLINE_HOME": str(shop.home), "PATH": os.environ.get("PATH", "")}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def preprocessed(shop: Any, folder: Path, script: str) -> None:
    (folder / "script.py").write_text(script)
    change = f"sides: [input], preprocess: {folder / 'script.py'}"
    shop.apply(change=lambda plan: plan.replace("sides: [input]", change))


@dataclass(frozen=True)
class Breaking:
    """An engine that breaks down over tables, and joins as the real one."""

    real: Engine
    error: BaseException

    def fold(self, plan: Plan, dataset: Dataset, progress: Progress | None = None) -> Folded:
        if not isinstance(dataset, Join):
            raise self.error
        return self.real.fold(plan, dataset, progress)

    def fold_blocks(self, plan: Plan, dataset: Dataset, blocks: int, progress: Progress | None = None) -> list[States]:
        raise self.error

    def fold_spans(
        self, plan: Plan, table: Table, spans: Sequence[tuple[int, int]], progress: Progress | None = None
    ) -> list[States]:
        raise self.error


class Away(Directory):
    """A store that takes nothing while it is away."""

    away = True

    def put(self, key: str, data: bytes, **options: Any) -> Any:
        if self.away:
            raise Unavailable("the store does not answer")
        return super().put(key, data, **options)


def test_records_that_kill_their_worker_stop_no_other_monitor_and_are_given_up(shop: Any, tmp_path: Path) -> None:
    preprocessed(shop, tmp_path, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    shop.requests(START)
    shop.labels(START + HOUR)
    now = MORNING
    for _ in range(3):
        killed = worker(shop, now)
        killed.communicate(timeout=60)
        assert killed.returncode == -9
        now += LEASE
    told = worker(shop, now).communicate(timeout=60)[0].splitlines()
    assert told[0].startswith("inputs failed given up after 3 attempts: worker ")
    assert told[1] == "truth done None"
    assert shop.tick(now + DAY / 2).ran == ()


def test_a_window_that_kills_its_worker_lets_the_next_one_pass(shop: Any, tmp_path: Path) -> None:
    preprocessed(shop, tmp_path, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    shop.requests(START)
    worker(shop, MORNING).communicate(timeout=60)
    told = worker(shop, MORNING + timedelta(minutes=1)).communicate(timeout=60)[0]
    assert told == "truth done None\n"


def test_two_workers_decode_a_window_once(shop: Any, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = f"import time\nopen({str(calls)!r}, 'a').write('once ')\ntime.sleep(0.5)\n"
    preprocessed(shop, tmp_path, script + "def preprocess_handler(record):\n    return {'amount': 1}\n")
    shop.requests(START)
    for both in [worker(shop, MORNING) for _ in range(2)]:
        both.communicate(timeout=60)
    assert calls.read_text() == "once "
    assert [(run.status, run.attempts) for run in shop.runs("inputs")] == [(RunStatus.DONE, 1)]


def test_a_run_that_breaks_down_says_why_and_is_given_up(shop: Any) -> None:
    shop.requests(START)
    shop.labels(START + HOUR)
    site = replace(shop.app.site, engine=Breaking(shop.app.site.engine, MemoryError("no room")))
    told = [tick(site, {}, MORNING + i * HOUR) for i in range(5)]
    assert [[ran.run.monitor for ran in one.ran] for one in told] == [
        ["inputs", "truth"],
        ["inputs"],
        ["inputs"],
        [],
        [],
    ]
    assert [one.problems for one in told] == [()] * 5
    [failed] = shop.runs("inputs")
    assert failed.reason.startswith("given up after 3 attempts: MemoryError: no room (test_trouble.py, line ")
    assert run_window(shop.app.site, "inputs", failed.window, MORNING + DAY / 2).revision == 1


def test_a_night_without_the_store_is_survived(shop: Any) -> None:
    shop.requests(START)
    shop.labels(START + HOUR)
    store = Away(shop.home / "objects")
    site = replace(shop.app.site, store=store)
    for half_hours in range(24):
        for ran in tick(site, {}, MORNING + half_hours * HOUR / 2).ran:
            assert ran.failure == "the store does not answer"
    store.away = False
    done = tick(site, {}, MORNING + DAY / 2 + HOUR).ran
    assert [(ran.run.monitor, ran.run.status, ran.run.revision) for ran in done] == [
        ("inputs", RunStatus.DONE, 0),
        ("truth", RunStatus.DONE, 0),
    ]


def test_a_run_that_somebody_ends_is_free_at_once(shop: Any) -> None:
    shop.requests(START)
    site = replace(shop.app.site, engine=Breaking(shop.app.site.engine, KeyboardInterrupt()))
    window = parse_window("2026-03-01/P1D")
    with pytest.raises(KeyboardInterrupt):
        run_window(site, "inputs", window, MORNING)
    done = run_window(shop.app.site, "inputs", window, MORNING)
    assert (done.status, done.revision, done.attempts) == (RunStatus.DONE, 0, 2)


def test_a_page_does_not_wait_for_the_other_monitors(shop: Any, tmp_path: Path) -> None:
    said = tmp_path / "said"
    command = json.dumps([sys.executable, "-c", f"open({str(said)!r}, 'w')"])
    alarm = (
        f"channels:\n  tell: {{kind: command, command: {command}}}\nalarms:\n  moved: {{monitor: inputs, act: [tell]}}"
    )
    shop.apply(change=lambda plan: plan.replace("alarms:", alarm))
    with Capture("shop", shop.home / "objects", clock=lambda: START) as capture:
        for i in range(200):
            capture.log(f"{1000 + i},free", "0.5", inference_id=f"r{i}", at=START)
    heard = []
    done = tick(shop.app.site, shop.app.channels(), MORNING, lambda ran: heard.append((ran.run.monitor, said.exists())))
    assert heard == [("inputs", False), ("truth", True)]
    assert done.delivered.sent == ("moved/1/firing/tell",)


def test_labels_that_came_in_time_count_although_the_worker_slept(shop: Any) -> None:
    shop.requests(START)
    shop.tick(MORNING)
    shop.labels(MORNING + HOUR, wrong=True)
    assert ("truth", START, 1) in [
        (r.run.monitor, r.run.window.start, r.run.revision) for r in shop.tick(START + 30 * DAY).ran
    ]
    shop.tick(START + 30 * DAY + HOUR)
    newest = shop.app.catalog.ledger.open_windows("truth")[0]
    assert newest.window.start >= START + 25 * DAY, "old windows are looked at no more"
