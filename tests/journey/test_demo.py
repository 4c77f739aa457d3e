"""The demo over the week in which the model is found out: real requests, files, worker, webhook, retraining."""

from __future__ import annotations

import json
import subprocess
from datetime import date
from pathlib import Path

import httpx
import pytest

from driftline.demo.play import play
from driftline.demo.telling import Played
from driftline.planfile import read_plan
from driftline.wire import WebhookSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def played(folder: Path) -> Played:
    return play(folder, quiet=True, days=(date(2013, 7, 29), date(2013, 8, 4)))


def test_every_request_is_captured_labelled_and_looked_at(played: Played) -> None:
    assert played.requests > 4000
    assert played.requests - 20 <= played.labels <= played.requests  # some of the last night have not landed yet
    assert played.windows == 7
    assert played.runs >= 14


def test_the_decay_is_found_told_and_acted_on(played: Played) -> None:
    assert {"alarm": "flights-decay", "status": "firing", "day": "2013-08-03"} in played.alarms
    assert {n["key"]: n["status"] for n in played.notices} == {
        "flights-decay/1/firing/team": "sent",
        "flights-decay/1/firing/retrain": "sent",
    }
    assert [action["exit_status"] for action in played.actions] == [0]
    assert "on days it has not seen" in played.actions[0]["detail"]


def test_the_inputs_do_not_show_it(played: Played) -> None:
    assert played.input_windows_violated == 0


def test_the_notice_arrived_at_the_webhook_and_was_signed(played: Played, folder: Path) -> None:
    notices = [json.loads(line) for line in (folder / "notices.jsonl").read_text().splitlines()]
    assert [notice["alarm"] for notice in notices] == ["flights-decay"]
    assert notices[0]["violations"][0]["metric"] == "auc"


def test_reports_lie_where_the_demo_says(played: Played) -> None:
    days = list(Path(played.reports).glob("flights/flights-quality/2013/*/*/*/"))
    assert len(days) == 7
    assert all((day / "statistics.json").is_file() for day in days)
    assert sum((day / "constraint_violations.json").is_file() for day in days) >= 3
    assert Path(played.plot).is_file()
    assert all(Path(told).is_absolute() for told in (played.reports, played.plan, played.plot))


def test_nothing_of_the_demo_still_runs(played: Played, folder: Path) -> None:
    hook = read_plan(folder / "driftline.yaml").channels["team"]
    assert isinstance(hook, WebhookSpec)
    with pytest.raises(httpx.ConnectError):
        httpx.get(hook.url)
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in processes
