from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.catalog.ledger import LEASE, Outcome, Run, RunStatus
from driftline.constraints import Verdict
from driftline.errors import Conflict, InputError
from driftline.runs.gather import Listing
from driftline.runs.lease import Passing, kept
from driftline.windows import Due, Window, parse_window
from driftline.worker import run_window

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MORNING = START + DAY + HOUR


def report_of(shop: Any, run: Run) -> dict[str, Any]:
    assert run.report is not None
    found: dict[str, Any] = json.loads(shop.app.store.get(run.report + "report.json"))
    return found


def test_windows_of_one_hour_do_not_share_a_report(shop: Any) -> None:
    shop.apply(change=lambda plan: plan.replace("INPUTS", '"*/15 * * * *"'))
    shop.requests(START, 100)
    shop.tick(START + HOUR)
    runs = shop.runs("inputs")
    assert len(runs) == 4
    assert len({run.report for run in runs}) == 4
    assert report_of(shop, runs[0])["window"]["end"] == "2026-03-01T00:15:00Z"


def test_a_window_asked_for_by_hand_hides_no_scheduled_one(shop: Any) -> None:
    shop.apply(change=lambda plan: plan.replace("{cron: INPUTS}", "{cron: daily, grace: PT6H, late: PT0S}"))
    shop.requests(START)
    asked = run_window(shop.app.site, "inputs", parse_window("2026-03-01/PT26H"), START + DAY + 3 * HOUR)
    assert asked.asked
    assert asked.report == "reports/shop/inputs/asked/20260301T000000-20260302T020000/"
    shop.tick(START + DAY + 7 * HOUR)
    scheduled = [run for run in shop.runs("inputs") if not run.asked]
    assert [str(run.window) for run in scheduled] == ["2026-03-01T00:00:00Z/2026-03-02T00:00:00Z"]


def test_a_window_of_the_schedule_that_is_run_by_hand_is_run_once(shop: Any) -> None:
    shop.requests(START)
    done = run_window(shop.app.site, "inputs", parse_window("2026-03-01/P1D"), MORNING)
    assert not done.asked
    assert [ran.run.monitor for ran in shop.tick(MORNING).ran] == ["truth"]


def test_no_window_by_hand_is_the_last_closed_one_of_the_schedule(shop: Any) -> None:
    shop.requests(START)
    run_window(shop.app.site, "inputs", parse_window("2026-03-01T00:00:00Z/2026-03-02T00:30:00Z"), MORNING)
    assert str(run_window(shop.app.site, "inputs", None, MORNING).window).endswith("2026-03-02T00:00:00Z")


def test_a_window_run_by_hand_before_its_grace_is_over_hides_none_before_it(shop: Any) -> None:
    shop.apply(change=lambda plan: plan.replace("{cron: INPUTS}", "{cron: hourly, grace: PT6H}"))
    shop.requests(START)
    newest = run_window(shop.app.site, "inputs", parse_window("2026-03-01T04:00:00Z/PT1H"), START + 5 * HOUR)
    assert not newest.asked
    assert [ran.run.monitor for ran in shop.tick(START + 5 * HOUR).ran] == [], "the others wait for their grace to end"
    shop.tick(START + 12 * HOUR)
    assert [run.window.start for run in shop.runs("inputs")] == [START + i * HOUR for i in range(6)]


def test_a_new_schedule_does_not_look_at_the_past_anew(shop: Any) -> None:
    shop.requests(START)
    shop.tick(MORNING)
    shop.apply(MORNING, lambda plan: plan.replace("INPUTS", "hourly"))
    shop.tick(MORNING + HOUR)
    found = [str(run.window)[:16] for run in shop.runs("inputs")]
    assert found == ["2026-03-01T00:00", "2026-03-02T00:00", "2026-03-02T01:00"]


def test_a_run_that_failed_is_tried_again_by_hand(shop: Any, baselines: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(baselines / "base-quality", copied)
    shop.apply(
        change=lambda plan: plan.replace("probability: 0", "probability: 3").replace("base-quality", str(copied))
    )
    shop.requests(START)
    shop.labels(START + HOUR)
    [failed] = [ran for ran in shop.tick(MORNING).ran if ran.failure]
    assert "3" in (failed.failure or "")
    assert shop.tick(MORNING + HOUR).ran == (), "the same mistake is not made twice"
    shop.apply(MORNING)
    done = run_window(shop.app.site, "truth", failed.run.window, MORNING + 2 * HOUR)
    assert (done.status, done.revision) == (RunStatus.DONE, 1)


def test_a_monitor_whose_baseline_vanished_stops_no_other(shop: Any, baselines: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(baselines / "base-data", copied)
    shop.apply(change=lambda plan: plan.replace("base-data", str(copied)))
    shutil.rmtree(copied)
    shop.requests(START)
    done = shop.tick(MORNING)
    assert [ran.run.monitor for ran in done.ran] == ["truth"]
    assert "baseline" in done.problems[0]
    shutil.copytree(baselines / "base-data", copied)
    assert [ran.run.monitor for ran in shop.tick(MORNING).ran] == ["inputs"]


def test_a_window_whose_counters_are_broken_fails_with_their_name(shop: Any) -> None:
    shop.requests(START)
    [counters] = (shop.home / "objects/captured/shop/AllTraffic/_counters").rglob("*.json")
    counters.write_bytes(b"{broken")
    done = shop.tick(MORNING)
    assert {ran.run.status for ran in done.ran} == {RunStatus.FAILED}
    assert all("_counters" in (ran.failure or "") for ran in done.ran)


def test_a_monitor_that_was_removed_and_declared_again_goes_on(shop: Any) -> None:
    shop.requests(START)
    shop.tick(MORNING)
    shop.apply(MORNING, lambda plan: "version: 1\n")
    assert shop.tick(MORNING + DAY).ran == ()
    shop.apply(START + 3 * DAY + HOUR)
    assert shop.tick(START + 3 * DAY + 2 * HOUR).ran == (), "what closed in between is not its business"
    assert len(shop.tick(START + 4 * DAY + HOUR).ran) == 2
    assert [run.window.start for run in shop.runs("inputs")] == [START, START + 3 * DAY]


@pytest.mark.parametrize(
    ("uploads", "revisions"),
    [
        ([(MORNING + HOUR, False)], 2),
        ([(MORNING + HOUR, False), (MORNING + 2 * HOUR, True)], 3),
        ([(MORNING + HOUR, False), (MORNING + 2 * HOUR, False)], 2),
        ([(START + 5 * DAY, False)], 1),
        ([(START + HOUR, False)], 1),
    ],
    ids=["late", "a correction", "the same again", "after the horizon", "before the first look"],
)
def test_each_change_of_the_labels_is_judged_once(
    shop: Any, uploads: list[tuple[datetime, bool]], revisions: int
) -> None:
    shop.requests(START)
    waiting = list(uploads)
    now = MORNING
    while now < START + 6 * DAY:
        while waiting and waiting[0][0] <= now:
            at, wrong = waiting.pop(0)
            shop.labels(at, wrong=wrong)
        shop.tick(now)
        assert [ran for ran in shop.tick(now).ran if ran.run.monitor == "truth"] == []
        now += HOUR if now < MORNING + 4 * HOUR else DAY
    runs = [run for run in shop.runs("truth") if run.window.start == START]
    assert len(runs) == revisions
    assert [run.revision for run in runs] == list(range(revisions))


def test_the_first_label_of_another_window_opens_nothing(shop: Any) -> None:
    shop.requests(START)
    shop.tick(MORNING)
    shop.labels(MORNING + HOUR, name="of-another-window-")
    assert shop.tick(MORNING + 2 * HOUR).ran == ()


def test_a_report_keeps_nothing_of_the_one_before(shop: Any) -> None:
    shop.requests(START)
    shop.labels(START + HOUR, wrong=True)
    put = shop.app.store.put
    put("labels/shop/2026/03/01/02/broken.jsonl", b"{broken\n")
    [run] = [ran.run for ran in shop.tick(MORNING).ran if ran.run.monitor == "truth"]
    names = {Path(entry.key).name for entry in shop.app.store.list(run.report)}
    assert {"constraint_violations.json", "dead_labels.jsonl"} <= names
    assert report_of(shop, run)["inputs"]["labels"]["dead"] == 1
    shop.app.store.delete("labels/shop/2026/03/01/02/broken.jsonl")
    shop.labels(MORNING)
    [run] = [ran.run for ran in shop.tick(MORNING + HOUR).ran]
    names = {Path(entry.key).name for entry in shop.app.store.list(run.report)}
    assert names == {"constraints.json", "statistics.json", "report.json"}
    told = report_of(shop, run)
    assert told["inputs"]["coverage"]["labelled_share"] == 1.0
    assert told["revision"] == run.inputs


def test_a_lease_is_kept_as_long_as_the_work_lasts(shop: Any) -> None:
    ledger, due = shop.app.catalog.ledger, Due(MORNING, Window(START, MORNING))
    run = ledger.claim("inputs", due, "a", owner="one", now=MORNING, lease=timedelta(seconds=0.3))
    assert run is not None
    with kept(run, ledger, Passing(MORNING + HOUR), timedelta(seconds=0.3)):
        time.sleep(0.5)
        assert ledger.run(run.id).lease_expires_at > MORNING + HOUR
    with pytest.raises(Conflict, match="at window"):
        run_window(shop.app.site, "inputs", due.window, MORNING)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("decay: {monitor: truth}", "decay: {monitor: truth, metrics: [aux]}"), ("sides: [input]", "columns: [amuont]")],
    ids=["alarm", "monitor"],
)
def test_a_name_that_nothing_is_judged_by_is_refused_when_it_is_applied(shop: Any, wrong: str, right: str) -> None:
    with pytest.raises(InputError, match="no constraint"):
        shop.apply(change=lambda plan: plan.replace(wrong, right))


WORKER = """
import sys
from datetime import datetime
from driftline.assemble import opened
from driftline.worker import tick
with opened() as app:
    done = tick(app.site, app.channels(), datetime.fromisoformat(sys.argv[1]))
    print(len(done.ran), len(done.delivered.sent), *done.problems)
"""


def test_two_workers_run_each_window_once_and_send_each_notice_once(shop: Any, tmp_path: Path) -> None:
    said = tmp_path / "said"
    command = json.dumps([sys.executable, "-c", f"import sys; open({str(said)!r}, 'a').write('once\\n')"])
    shop.apply(
        change=lambda plan: plan.replace("decay: {monitor: truth}", "decay: {monitor: truth, act: [tell]}").replace(
            "alarms:", f"channels:\n  tell: {{kind: command, command: {command}}}\nalarms:"
        )
    )
    for day in range(3):
        shop.requests(START + day * DAY, 100, f"d{day}-")
        shop.labels(START + day * DAY + HOUR, 100, f"d{day}-", wrong=True)
    now = (START + 3 * DAY + HOUR).isoformat()
    environ = {"DRIFTLINE_HOME": str(shop.home)}
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, now], env=environ, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert sum(int(one[0]) for one in told) == 6, told
    assert sum(int(one[1]) for one in told) == 1, told
    assert [len(one) for one in told] == [2, 2], told
    runs = [*shop.runs("inputs"), *shop.runs("truth")]
    assert [(run.status, run.revision, run.attempts) for run in runs] == [(RunStatus.DONE, 0, 1)] * 6
    assert said.read_text() == "once\n"


VICTIM = """
import sys, time
from datetime import datetime
from driftline.assemble import opened
from driftline.runs.lease import Passing, kept
from driftline.windows import Due, parse_window
now = datetime.fromisoformat(sys.argv[1])
window = parse_window("2026-03-01/P1D")
with opened() as app:
    run = app.catalog.ledger.claim("truth", Due(window.end, window), "x", owner="victim", now=now)
    with kept(run, app.catalog.ledger, Passing(now)):
        print("at it", flush=True)
        time.sleep(60)
"""


def test_a_killed_worker_loses_nothing(shop: Any) -> None:
    shop.requests(START)
    shop.labels(START + HOUR, wrong=True)
    environ = {"DRIFTLINE_HOME": str(shop.home)}
    command = [sys.executable, "-c", VICTIM, MORNING.isoformat()]
    victim = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "at it\n"
    victim.kill()
    victim.wait()
    victim.stdout.close()
    soon = shop.tick(MORNING + timedelta(minutes=1))
    assert [ran.run.monitor for ran in soon.ran] == ["inputs"], "the lease of the killed worker still holds"
    [over] = shop.tick(MORNING + LEASE + timedelta(minutes=1)).ran
    assert (over.run.attempts, over.run.revision, over.run.owner) == (2, 0, shop.app.site.owner)
    assert [change.status.value for change in over.changes] == ["firing"]


def test_an_alarm_that_was_not_settled_when_the_process_died_is_settled_later(shop: Any) -> None:
    ledger, due = shop.app.catalog.ledger, Due(START + DAY, Window(START, START + DAY))
    run = ledger.claim("truth", due, Listing((), ()).digest, owner="one", now=MORNING)
    assert run is not None
    ledger.finish(run, Outcome(Verdict.VIOLATED), MORNING)
    shop.tick(MORNING + HOUR)
    assert [state.alarm.status.value for state in shop.app.catalog.alarms.states()] == ["firing"]
