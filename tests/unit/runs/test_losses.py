"""What capture lost is told in the report of a run, by hour and reason, and weighed for."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from driftline.capture import Capture, Counters, Rule, Sampling
from driftline.capture.sampler import chosen
from driftline.cli import main
from driftline.runs.losses import Losses

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
                "weight": 200 / 150,
            }
        ],
    }
    note = "no record of 50 of 500 chosen requests (10.00%): 50 capture closed; records of 1 hour weigh for them"
    assert found["notes"] == [f"capture has {note}"]
    monkeypatch.setenv("DRIFTLINE_HOME", str(shop.home))
    window = f"{START:%Y-%m-%dT%H:%MZ}/{START + DAY:%Y-%m-%dT%H:%MZ}"
    ran = CliRunner().invoke(main, ["run", "inputs", "--window", window])
    assert f"note: capture has {note}" in ran.stderr
    told = json.loads(CliRunner().invoke(main, ["run", "inputs", "--window", window, "--json"]).stdout)
    assert told["capture"]["lost"] == 50


def test_a_report_of_a_window_without_losses_says_so(shop: Any) -> None:
    captured(shop, START + 3 * HOUR, 300)
    found = report(shop)
    assert (found["inputs"]["lost_by_capture"], found["notes"]) == ({}, [])
    assert (found["inputs"]["capture"]["lost"], found["inputs"]["capture"]["hours_with_losses"]) == (0, [])


def test_the_records_of_an_hour_weigh_for_those_that_were_lost_in_it(shop: Any) -> None:
    """Of the hour with other values half is lost: the window still says what all requests would have said."""
    for hour, amount, rows, lost in ((3, 10, 300, 0), (5, 40, 100, 100)):
        at = START + hour * HOUR
        with Capture("shop", shop.home / "objects") as capture:
            for i in range(rows + lost):
                if i == rows:
                    capture._buffer.close()
                capture.log(f"{amount},free", "0.5", at=at)
    found = report(shop)
    run = shop.runs("inputs")[-1]
    statistics = json.loads(shop.app.store.get(run.report + "statistics.json"))
    (mean,) = [f["numerical_statistics"]["mean"] for f in statistics["features"] if f["name"] == "amount"]
    assert mean == pytest.approx((300 * 10 + 200 * 40) / 500)
    (lossy,) = found["inputs"]["capture"]["hours_with_losses"]
    assert (lossy["lost_share"], lossy["weight"]) == (0.5, 2.0)
    assert any("records of 1 hour weigh for them" in note for note in found["notes"])
    assert shop.app.catalog.ledger.runs("inputs")[0].rows == 400


def test_sampled_records_keep_their_own_weight_beside_it(shop: Any) -> None:
    at, rates = START + 5 * HOUR, {"free": 0.25, "pro": 1.0}
    sampling = Sampling(rates["free"], [Rule(rates["pro"], attribute="plan=pro")])
    written = {"free": 0, "pro": 0}
    with Capture("shop", shop.home / "objects", clock=lambda: at, sampling=sampling) as capture:
        for i in range(1200):
            if i == 800:
                capture._buffer.close()
            named, plan = f"r{i}", "pro" if i % 4 == 0 else "free"
            written[plan] += i < 800 and chosen(named, rates[plan])
            capture.log(f"{i % 50},{plan}", "0.5", inference_id=named, custom_attributes=[f"plan={plan}"])
    report(shop)
    counted = capture.counters
    measured = {
        (m.measurement.metric, m.measurement.column): m.measurement.value
        for m in shop.app.catalog.ledger.measured(shop.runs("inputs")[-1].id)
    }
    weight = (counted.written + counted.lost) / counted.written
    wanted = sum(count / rates[plan] for plan, count in written.items()) * weight
    assert measured["rows", None] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("counters", "kept"),
    [
        (Counters(10, 10, 8, {"queue full": 2}), {START: 0.8}),
        (Counters(10, 10, 8, {"cannot be written as JSON": 2}), {}),
        (Counters(10, 10, 8), {}),
        (Counters(10, 10, 0, {"disk full": 10}), {}),
        (Counters(10_000, 10_000, 9_999, {"process killed": 1}), {}),
        (Counters(10, 10, 5, {"store unavailable": 3, "privacy policy failed": 2}), {START: 0.625}),
    ],
    ids=["blind", "by what it holds", "on their way", "nothing is left to weigh", "too few", "both"],
)
def test_only_blind_losses_are_weighed_for(counters: Counters, kept: dict[datetime, float]) -> None:
    assert Losses({START: counters}).kept == kept
