"""Alarms in the catalog: a change and its notices are written together, and judging again changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from driftline.alarms import Status
from driftline.catalog.alarming import Change
from driftline.catalog.catalog import Catalog
from driftline.catalog.ledger import Measured, Outcome
from driftline.constraints import Verdict
from driftline.metrics.metric import Estimate, Measurement
from driftline.windows import Due, Window
from driftline.wire import PlanFile

NOW = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
V, H, U = Verdict.VIOLATED, Verdict.HOLDS, Verdict.UNKNOWN
Finish = Callable[..., None]


@pytest.fixture
def finish(applied: Catalog) -> Finish:
    def finish(day: int, verdict: Verdict, metric: str = "auc", inputs: str = "a") -> None:
        due = Due(NOW + day * DAY, Window(NOW + (day - 1) * DAY, NOW + day * DAY))
        run = applied.ledger.claim("quality-daily", due, inputs, owner="one", now=NOW)
        assert run is not None
        estimate = None if verdict is U else Estimate(0.6, 0.5, math.inf)
        measured = Measured(Measurement(metric, None, estimate), verdict)
        applied.ledger.finish(run, Outcome(verdict, (measured,), report=f"reports/{day}"), NOW)

    return finish


def settle(catalog: Catalog) -> list[Change]:
    return catalog.alarms.settle("quality-daily", NOW)


def keys(catalog: Catalog) -> list[str]:
    return [told.key for told in reversed(catalog.outbox.notices())]


def test_an_alarm_fires_once_and_tells_everybody_once(applied: Catalog, finish: Finish) -> None:
    finish(0, V)
    assert settle(applied) == []
    finish(1, V)
    assert settle(applied) == [Change("decay", Status.FIRING, NOW + DAY, 1)]
    assert settle(applied) == []
    assert keys(applied) == ["decay/1/firing/team", "decay/1/firing/retrain"]
    state = next(state for state in applied.alarms.states() if state.name == "decay")
    assert (state.alarm.status, state.alarm.since, state.changes) == (Status.FIRING, NOW + DAY, 1)


def test_a_command_is_not_told_of_a_clearing_unless_it_asks_for_it(applied: Catalog, finish: Finish) -> None:
    for day, verdict in enumerate([V, V, H]):
        finish(day, verdict)
        settle(applied)
    assert keys(applied) == ["decay/1/firing/team", "decay/1/firing/retrain", "decay/2/ok/team"]


def test_a_notice_says_what_was_violated_and_where_the_report_lies(applied: Catalog, finish: Finish) -> None:
    finish(0, V)
    finish(1, V)
    settle(applied)
    told = applied.outbox.notices()[-1]
    assert told.subject == "decay is firing: auc; monitor quality-daily, 2026-03-03T00:00:00Z"
    assert told.body["run"]["report"] == "reports/1"
    assert told.body["run"]["window"] == "2026-03-02T00:00:00Z/2026-03-03T00:00:00Z"
    assert told.body["endpoint"] == "flights"
    assert told.body["violations"] == [{"metric": "auc", "value": 0.6, "low": 0.5}], "no infinity in JSON"


def test_late_labels_take_an_alarm_back_and_raise_it_again_with_new_keys(applied: Catalog, finish: Finish) -> None:
    finish(0, V)
    finish(1, V)
    settle(applied)
    finish(1, H, inputs="b")
    assert [change.status for change in settle(applied)] == [Status.OK]
    finish(1, V, inputs="c")
    assert [change.number for change in settle(applied)] == [3]
    assert [key for key in keys(applied) if key.endswith("team")] == [
        "decay/1/firing/team",
        "decay/2/ok/team",
        "decay/3/firing/team",
    ]


def test_windows_that_finish_out_of_order_are_judged_in_the_order_of_time(applied: Catalog, finish: Finish) -> None:
    for day, verdict in [(3, V), (0, V), (1, H), (2, H)]:
        finish(day, verdict)
    assert settle(applied) == []


def test_only_the_metrics_that_an_alarm_names_raise_it(applied: Catalog, finish: Finish) -> None:
    for day in range(3):
        finish(day, V, metric="accuracy")
    assert settle(applied) == []


def test_a_gap_changes_nothing(applied: Catalog, finish: Finish) -> None:
    for day, verdict in enumerate([V, V, U, U]):
        finish(day, verdict)
    assert [change.since for change in settle(applied)] == [NOW + DAY]


def test_a_changed_rule_judges_the_same_windows_anew(applied: Catalog, finish: Finish, plan: PlanFile) -> None:
    finish(0, V)
    assert settle(applied) == []
    sharper = msgspec.structs.replace(plan.alarms["decay"], datapoints=1)
    applied.declared.apply(msgspec.structs.replace(plan, alarms=plan.alarms | {"decay": sharper}), NOW)
    assert [change.status for change in settle(applied)] == [Status.FIRING]


def test_an_alarm_over_everything_follows_the_run_where_nothing_was_measured(applied: Catalog) -> None:
    due = Due(NOW, Window(NOW - DAY, NOW))
    run = applied.ledger.claim("inputs-daily", due, "a", owner="one", now=NOW)
    assert run is not None
    applied.ledger.finish(run, Outcome(V), NOW)
    assert [change.alarm for change in applied.alarms.settle("inputs-daily", NOW)] == ["anything"]


def test_an_alarm_that_was_never_judged_is_listed_as_ok(applied: Catalog) -> None:
    assert [(s.name, s.alarm.status, s.updated_at) for s in applied.alarms.states()] == [
        ("anything", Status.OK, None),
        ("decay", Status.OK, None),
    ]


def test_a_long_silence_clears_no_alarm(applied: Catalog, finish: Finish) -> None:
    finish(0, V)
    finish(1, V)
    assert [change.status for change in settle(applied)] == [Status.FIRING]
    for hour in range(1001):
        at = NOW + 2 * DAY + hour * DAY / 24
        run = applied.ledger.claim("quality-daily", Due(at, Window(at - DAY / 24, at)), "a", owner="one", now=NOW)
        assert run is not None
        applied.ledger.finish(run, Outcome(U, reason="no data"), NOW)
    assert settle(applied) == []
    finish(60, H)
    assert [change.status for change in settle(applied)] == [Status.OK]
