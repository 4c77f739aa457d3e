"""The ledger: a window is worked on once for the same inputs, by one worker at a time."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.catalog.catalog import Catalog
from driftline.catalog.ledger import ATTEMPTS, LEASE, Measured, Outcome, Run, RunStatus
from driftline.constraints import Verdict
from driftline.errors import Conflict, NotFound
from driftline.metrics.metric import Estimate, Measurement
from driftline.windows import Due, Window

NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DUE = Due(NOW, Window(NOW - DAY, NOW))
MONITOR = "inputs-daily"


def claim(
    catalog: Catalog, inputs: str = "a", *, owner: str = "one", now: datetime = NOW, due: Due = DUE
) -> Run | None:
    return catalog.ledger.claim(MONITOR, due, inputs, owner=owner, now=now)


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


def test_the_same_inputs_twice_do_nothing(applied: Catalog) -> None:
    applied.ledger.finish(claimed(applied), Outcome(Verdict.HOLDS), NOW)
    assert claim(applied, now=NOW + DAY) is None


def test_other_inputs_make_a_new_revision(applied: Catalog) -> None:
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


def test_a_failed_run_is_tried_again_after_a_pause_that_grows(applied: Catalog) -> None:
    now = NOW
    for attempt in range(1, ATTEMPTS + 1):
        run = claimed(applied, now=now)
        assert run.attempts == attempt
        applied.ledger.fail(run, "no memory", now)
        assert claim(applied, now=now) is None
        now += timedelta(minutes=4**attempt)
    assert claim(applied, now=now + DAY) is None, "the attempts are used up"
    failed = applied.ledger.runs()[0]
    assert (failed.status, failed.reason) == (RunStatus.FAILED, "no memory")
    assert claimed(applied, "b", now=now).revision == 1, "other inputs are another chance"


def test_a_permanent_failure_is_not_tried_again(applied: Catalog) -> None:
    applied.ledger.fail(claimed(applied), "the baseline is of another model", NOW, permanent=True)
    assert claim(applied, now=NOW + DAY) is None


def test_a_run_whose_workers_die_is_given_up(applied: Catalog) -> None:
    now = NOW
    for _ in range(ATTEMPTS):
        claimed(applied, now=now)
        now += LEASE
    assert claim(applied, now=now) is None
    assert (
        applied.ledger.runs(status=RunStatus.FAILED)[0].reason
        == "given up after 3 attempts: the last worker, one, never reported back"
    )


def test_a_window_can_be_noted_as_due_before_anybody_works_on_it(applied: Catalog) -> None:
    assert applied.ledger.record_due(MONITOR, [DUE], NOW) == 1
    assert applied.ledger.record_due(MONITOR, [DUE], NOW) == 0
    assert applied.ledger.runs(status=RunStatus.DUE)[0].window == DUE.window
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
    assert [run.asked for run in applied.ledger.runs(after=NOW)] == [True]
