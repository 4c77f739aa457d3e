"""The ledger: a window is worked on once for the same inputs, by one worker at a time."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.catalog.catalog import Catalog
from driftline.catalog.ledger import ATTEMPTS, CRASHES, LEASE, Cause, Measured, Outcome, Run, RunStatus
from driftline.constraints import Verdict
from driftline.errors import Conflict, NotFound
from driftline.metrics.metric import Estimate, Measurement
from driftline.windows import Due, Window

NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DUE = Due(NOW, Window(NOW - DAY, NOW))
MONITOR = "inputs-daily"


def claim(
    catalog: Catalog, listing: str = "a", *, owner: str = "one", now: datetime = NOW, due: Due = DUE
) -> Run | None:
    return catalog.ledger.claim(MONITOR, due, listing, owner=owner, now=now)


def claimed(catalog: Catalog, *arguments: Any, **options: Any) -> Run:
    run = claim(catalog, *arguments, **options)
    assert run is not None
    return run


def test_a_claimed_window_is_running_under_a_lease(applied: Catalog) -> None:
    run = claimed(applied)
    assert (run.status, run.revision, run.attempts, run.owner) == (RunStatus.RUNNING, 0, 1, "one")
    assert run.lease_expires_at == NOW + LEASE
    assert run.window == DUE.window


def test_a_window_under_a_lease_is_not_given_away(applied: Catalog) -> None:
    claimed(applied)
    assert claim(applied, owner="two") is None
    assert claim(applied, "b", owner="two") is None


def test_the_same_objects_twice_do_nothing(applied: Catalog) -> None:
    applied.ledger.finish(claimed(applied), Outcome(Verdict.HOLDS), NOW)
    assert claim(applied, now=NOW + DAY) is None


def test_other_objects_make_a_new_revision(applied: Catalog) -> None:
    applied.ledger.finish(claimed(applied), Outcome(Verdict.HOLDS), NOW)
    run = claimed(applied, "b")
    assert run.revision == 1
    applied.ledger.finish(run, Outcome(Verdict.VIOLATED), NOW)
    assert claim(applied, "b") is None
    assert claimed(applied, "a").revision == 2


def test_an_expired_lease_is_taken_over_and_the_first_worker_has_lost(applied: Catalog) -> None:
    first = claimed(applied)
    second = claimed(applied, owner="two", now=NOW + LEASE)
    assert (second.id, second.attempts) == (first.id, 2)
    with pytest.raises(Conflict, match="taken over"):
        applied.ledger.finish(first, Outcome(Verdict.HOLDS), NOW + LEASE)
    with pytest.raises(Conflict, match="taken over"):
        applied.ledger.extend(first, NOW + LEASE)
    applied.ledger.finish(second, Outcome(Verdict.VIOLATED), NOW + LEASE)
    assert [run.verdict for run in applied.ledger.runs()] == [Verdict.VIOLATED]


def test_a_lease_can_be_extended(applied: Catalog) -> None:
    run = claimed(applied)
    applied.ledger.extend(run, NOW + LEASE / 2)
    assert claim(applied, owner="two", now=NOW + LEASE) is None


def test_while_something_outside_does_not_answer_a_run_is_tried_for_about_a_week(applied: Catalog) -> None:
    now, tried = NOW, []
    while (run := claim(applied, now=now)) is not None:
        tried.append(now - NOW)
        applied.ledger.fail(run, "no answer", now, Cause.OUTSIDE)
        retry_at = applied.ledger.run(run.id).retry_at
        if retry_at is not None:
            assert claim(applied, "b", now=now) is None, "there is a pause, whatever there is to read by now"
        now = retry_at or now + DAY
    assert len(tried) == ATTEMPTS
    assert [at.total_seconds() // 60 for at in tried[:6]] == [0, 1, 5, 21, 81, 141]
    assert 6 * DAY < tried[-1] < 8 * DAY
    [failed] = applied.ledger.runs()
    assert (failed.status, failed.reason) == (RunStatus.FAILED, f"given up after {ATTEMPTS} attempts: no answer")
    assert claimed(applied, "b", now=now).revision == 1, "other inputs are another chance"


def test_a_run_that_breaks_down_is_given_up_soon(applied: Catalog) -> None:
    now = NOW
    for _ in range(CRASHES):
        applied.ledger.fail(claimed(applied, now=now), "MemoryError", now, Cause.CRASH)
        now += DAY
    assert claim(applied, now=now) is None
    assert [run.reason for run in applied.ledger.runs()] == ["given up after 3 attempts: MemoryError"]


def test_a_run_that_failed_of_its_inputs_is_not_tried_again(applied: Catalog) -> None:
    applied.ledger.fail(claimed(applied), "the baseline is of another model", NOW, Cause.INPUTS)
    assert claim(applied, now=NOW + DAY) is None
    assert [run.reason for run in applied.ledger.runs()] == ["the baseline is of another model"]


def test_a_run_whose_workers_die_is_given_up(applied: Catalog) -> None:
    now = NOW
    for _ in range(CRASHES):
        claimed(applied, now=now)
        now += LEASE
    told = claimed(applied, now=now)
    assert told.status is RunStatus.FAILED, "who finds that out hears of it"
    assert told.reason == "given up after 3 attempts: worker one never reported back"
    assert claim(applied, now=now + DAY) is None


def test_a_worker_that_dies_in_a_long_outage_is_one_crash_not_the_end(applied: Catalog) -> None:
    now = NOW
    for _ in range(10):
        applied.ledger.fail(claimed(applied, now=now), "no answer", now, Cause.OUTSIDE)
        now += timedelta(hours=1)
    claimed(applied, now=now)  # and never heard of again
    assert claimed(applied, owner="two", now=now + LEASE).status is RunStatus.RUNNING


def test_objects_that_say_the_same_as_before_leave_no_revision(applied: Catalog) -> None:
    first = claimed(applied)
    assert applied.ledger.identify(first, "a", "rows")
    applied.ledger.finish(first, Outcome(Verdict.HOLDS), NOW)
    assert not applied.ledger.identify(claimed(applied, "b"), "c", "rows")
    [left] = applied.ledger.runs()
    assert (left.id, left.status, left.listing, left.inputs) == (first.id, RunStatus.DONE, "c", "rows")
    assert claim(applied, "c") is None, "what was found out is remembered"
    assert applied.ledger.identify(claimed(applied, "d"), "d", "other rows")
    assert [run.revision for run in applied.ledger.runs()] == [1, 0]


def test_who_has_lost_a_run_takes_no_revision_back(applied: Catalog) -> None:
    first = claimed(applied)
    applied.ledger.identify(first, "a", "rows")
    applied.ledger.finish(first, Outcome(Verdict.HOLDS), NOW)
    slow = claimed(applied, "b")
    claimed(applied, "b", owner="two", now=NOW + LEASE)
    with pytest.raises(Conflict, match="taken over"):
        applied.ledger.identify(slow, "b", "rows")
    assert [run.status for run in applied.ledger.runs()] == [RunStatus.RUNNING, RunStatus.DONE]


def test_again_is_a_revision_although_nothing_has_changed(applied: Catalog) -> None:
    applied.ledger.finish(claimed(applied), Outcome(Verdict.HOLDS), NOW)
    run = applied.ledger.claim(MONITOR, DUE, "a", owner="one", now=NOW, again=True)
    assert run is not None
    assert applied.ledger.identify(run, "a", "rows", again=True)
    assert run.revision == 1
    assert applied.ledger.claim(MONITOR, DUE, "a", owner="two", now=NOW, again=True) is None, "somebody is at it"


def test_a_window_is_open_until_nothing_can_change_it(applied: Catalog) -> None:
    ledger = applied.ledger
    ledger.record_due(MONITOR, [DUE], NOW)
    ledger.close(MONITOR, DUE.window, "a")
    assert ledger.open_windows(MONITOR) == [DUE], "it has no result"
    run = claimed(applied)
    ledger.fail(run, "no answer", NOW, Cause.OUTSIDE)
    ledger.close(MONITOR, DUE.window, "a")
    assert ledger.open_windows(MONITOR) == [DUE], "it is tried again"
    ledger.finish(claimed(applied, now=NOW + DAY), Outcome(Verdict.HOLDS), NOW)
    ledger.close(MONITOR, DUE.window, "b")
    assert ledger.open_windows(MONITOR) == [DUE], "there is more to read than was read"
    ledger.close(MONITOR, DUE.window, "a")
    assert ledger.open_windows(MONITOR) == []


def test_a_window_can_be_noted_as_due_before_anybody_works_on_it(applied: Catalog) -> None:
    assert applied.ledger.record_due(MONITOR, [DUE], NOW) == 1
    assert applied.ledger.record_due(MONITOR, [DUE], NOW) == 0
    assert [(run.status, run.window) for run in applied.ledger.runs()] == [(RunStatus.DUE, DUE.window)]
    assert claimed(applied).revision == 0
    assert applied.ledger.last_scheduled(MONITOR) == NOW


def test_a_monitor_without_runs_was_never_scheduled(applied: Catalog) -> None:
    assert applied.ledger.last_scheduled(MONITOR) is None
    assert applied.ledger.latest(MONITOR, DUE.window) is None


def test_measurements_are_kept_as_they_are(applied: Catalog) -> None:
    measured = (
        Measured(Measurement("auc", None, Estimate(0.8, 0.7, 0.9)), Verdict.VIOLATED),
        Measured(Measurement("mean", "age", None, "no rows", "north"), Verdict.UNKNOWN),
        Measured(Measurement("psi", "age", Estimate(0.1, -math.inf, math.inf))),
    )
    run = claimed(applied)
    applied.ledger.finish(run, Outcome(Verdict.VIOLATED, measured, None, "reports/x", 334, 0.5), NOW)
    assert tuple(applied.ledger.measured(run.id)) == measured
    done = applied.ledger.run(run.id)
    assert (done.status, done.verdict, done.report, done.rows, done.coverage) == (
        "done",
        "violated",
        "reports/x",
        334,
        0.5,
    )
    assert done.lease_expires_at is None


def test_history_has_the_newest_revision_of_every_window_in_the_order_of_time(applied: Catalog) -> None:
    dues = [Due(NOW + i * DAY, Window(NOW + (i - 1) * DAY, NOW + i * DAY)) for i in range(3)]
    for i in (2, 0, 1):
        applied.ledger.finish(claimed(applied, due=dues[i]), Outcome(Verdict.HOLDS), NOW)
    applied.ledger.finish(claimed(applied, "b", due=dues[0]), Outcome(Verdict.VIOLATED), NOW)
    claimed(applied, "b", due=dues[1])  # runs still: its first revision counts
    found = [(run.due, run.verdict, run.revision) for run in applied.ledger.history(MONITOR)]
    assert found == [
        (dues[0], Verdict.VIOLATED, 1),
        (dues[1], Verdict.HOLDS, 0),
        (dues[2], Verdict.HOLDS, 0),
    ]
    assert [run.due for run in applied.ledger.history(MONITOR, limit=1)] == [dues[2]]


def test_a_run_that_is_not_there_is_not_found(applied: Catalog) -> None:
    with pytest.raises(NotFound, match="no run 7"):
        applied.ledger.run(7)


CLAIMER = """
import sys
from datetime import UTC, datetime, timedelta
from driftline.catalog.catalog import open_catalog
from driftline.windows import Due, Window
now = datetime(2026, 3, 2, tzinfo=UTC)
with open_catalog(sys.argv[1]) as catalog:
    print("ready", flush=True)
    sys.stdin.readline()
    won = 0
    for day in range(20):
        at = now + timedelta(days=day)
        due = Due(at, Window(at - timedelta(days=1), at))
        won += catalog.ledger.claim("inputs-daily", due, "a", owner=sys.argv[2], now=now) is not None
    print(won)
"""


def test_of_several_processes_that_claim_a_window_at_once_exactly_one_wins(applied: Catalog, url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, url, str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    won = [int(process.communicate()[0]) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert sum(won) == 20
    assert len(applied.ledger.runs()) == 20


def test_a_window_asked_for_by_hand_is_neither_history_nor_the_last_scheduled(applied: Catalog) -> None:
    applied.ledger.finish(claimed(applied), Outcome(Verdict.HOLDS), NOW)
    later = Due(NOW + DAY / 2, Window(NOW, NOW + DAY / 2))
    asked = applied.ledger.claim(MONITOR, later, "x", owner="one", now=NOW + DAY, asked=True)
    assert asked is not None
    applied.ledger.finish(asked, Outcome(Verdict.VIOLATED), NOW + DAY)
    assert [run.window for run in applied.ledger.history(MONITOR)] == [DUE.window]
    assert applied.ledger.last_scheduled(MONITOR) == NOW
    assert [run.asked for run in applied.ledger.runs()] == [True, False]
