"""What capture lost is told in the report of a run, by hour and reason."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from driftline.capture import Capture
from driftline.cli import main

from .conftest import DAY, HOUR, START


def captured(shop: Any, at: datetime, rows: int, lost: int = 0) -> None:
    """Requests of one hour, of which the last ones come when there is no room any more."""
    with Capture("shop", shop.home / "objects", clock=lambda: at) as capture:
        for i in range(rows + lost):
            if i == rows:
                capture._buffer.close()
            capture.log(f"{i % 50},{'free' if i % 3 else 'pro'}", "0.5", at=at + timedelta(seconds=i))


def report(shop: Any) -> dict[str, Any]:
    shop.tick(START + DAY + HOUR)
    found: dict[str, Any] = json.loads(shop.app.store.get(shop.runs("inputs")[-1].report + "report.json"))
    return found


def test_a_report_tells_what_capture_lost_by_hour_and_reason(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    captured(shop, START + 3 * HOUR, 300)
    captured(shop, START + 5 * HOUR, 150, lost=50)
    found = report(shop)
    inputs = found["inputs"]
    assert inputs["predictions"]["rows"] == 450
    assert inputs["lost_by_capture"] == {"capture closed": 50}
    assert inputs["capture"] == {
        "seen": 500,
        "sampled": 500,
        "written": 450,
        "lost": 50,
        "lost_share": 0.1,
        "pending": 0,
        "dropped": {"capture closed": 50},
        "withheld": {},
        "hours_with_losses": [
            {
                "hour": "2026-03-01T05:00:00Z",
                "seen": 200,
                "sampled": 200,
                "written": 150,
                "lost": 50,
                "lost_share": 0.25,
            }
        ],
    }
    note = "capture has no record of 50 of 500 chosen requests (10.00%): 50 capture closed"
    assert note in found["notes"]
    monkeypatch.setenv("DRIFTLINE_HOME", str(shop.home))
    window = f"{START:%Y-%m-%dT%H:%MZ}/{START + DAY:%Y-%m-%dT%H:%MZ}"
    ran = CliRunner().invoke(main, ["run", "inputs", "--window", window])
    assert f"note: {note}" in ran.stderr
    told = json.loads(CliRunner().invoke(main, ["run", "inputs", "--window", window, "--json"]).stdout)
    assert told["capture"]["lost"] == 50


def test_a_report_of_a_window_without_losses_says_so(shop: Any) -> None:
    captured(shop, START + 3 * HOUR, 300)
    found = report(shop)
    assert (found["inputs"]["lost_by_capture"], found["notes"]) == ({}, [])
    assert (found["inputs"]["capture"]["lost"], found["inputs"]["capture"]["hours_with_losses"]) == (0, [])
