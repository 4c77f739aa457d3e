"""Alarms: tables of windows, and where the alarm stands after them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from driftline.alarms import Alarm, AlarmRule, Seen, Status, replay, step, verdicts
from driftline.constraints import Verdict
from driftline.errors import InputError
from driftline.windows import Window

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
LETTERS = {"V": Verdict.VIOLATED, "H": Verdict.HOLDS, "U": Verdict.UNKNOWN}


def days(letters: str) -> Iterator[tuple[Window, Verdict]]:
    for i, letter in enumerate(letters):
        yield Window(START + i * DAY, START + (i + 1) * DAY), LETTERS[letter]


@pytest.mark.parametrize(
    ("rule", "letters", "status"),
    [
        (AlarmRule(2, 2), "V", Status.OK),
        (AlarmRule(2, 2), "VV", Status.FIRING),
        (AlarmRule(2, 2), "VUV", Status.FIRING),
        (AlarmRule(2, 2), "VHV", Status.OK),
        (AlarmRule(2, 2), "VVH", Status.OK),
        (AlarmRule(2, 2), "VVU", Status.FIRING),
        (AlarmRule(2, 3), "VHV", Status.FIRING),
        (AlarmRule(2, 3), "VHHV", Status.OK),
        (AlarmRule(2, 5), "VVHH", Status.OK),
        (AlarmRule(2, 3), "VVHV", Status.OK),
        (AlarmRule(2, 3), "VVHVV", Status.FIRING),
        (AlarmRule(1, 1, clear=2), "VH", Status.FIRING),
        (AlarmRule(1, 1, clear=2), "VHVH", Status.FIRING),
        (AlarmRule(1, 1, clear=2), "VHUH", Status.OK),
        (AlarmRule(1, 1, hold=3 * DAY), "VHH", Status.FIRING),
        (AlarmRule(1, 1, hold=3 * DAY), "VHHH", Status.OK),
        (AlarmRule(), "UUUU", Status.OK),
        (AlarmRule(), "", Status.OK),
    ],
    ids=[
        "one is not enough",
        "two in a row",
        "a gap does not break the row",
        "a good window breaks the row",
        "one good window clears",
        "a gap does not clear",
        "two of three",
        "two of four are not two of three",
        "a good window never raises",
        "a cleared alarm counts anew",
        "and fires again on new evidence",
        "one of two good windows does not clear",
        "they must stand in a row",
        "a gap does not break that row",
        "it stays up as long as it must",
        "and not longer",
        "gaps raise nothing",
        "no window, no alarm",
    ],
)
def test_an_alarm_stands_where_the_windows_put_it(rule: AlarmRule, letters: str, status: Status) -> None:
    assert replay(rule, days(letters)).status is status


def test_since_is_the_end_of_the_window_that_brought_the_status() -> None:
    assert replay(AlarmRule(2, 2), days("HVV")).since == START + 3 * DAY
    assert replay(AlarmRule(2, 2), days("HVVVV")).since == START + 3 * DAY
    assert replay(AlarmRule(2, 2), days("HVVH")).since == START + 4 * DAY
    assert replay(AlarmRule(2, 2), days("HHH")).since is None


def test_an_unknown_window_changes_nothing() -> None:
    alarm = replay(AlarmRule(3, 5, clear=2), days("VVH"))
    window, verdict = next(days("U"))
    assert step(AlarmRule(3, 5, clear=2), alarm, window, verdict) == alarm


def test_the_first_window_of_an_alarm_with_no_history_can_clear_nothing() -> None:
    assert replay(AlarmRule(), days("H")) == Alarm(recent=(Verdict.HOLDS,), holding=1)


@pytest.mark.parametrize(
    "arguments",
    [{"datapoints": 0}, {"datapoints": 101, "of": 101}, {"datapoints": 2}, {"clear": 0}, {"hold": -DAY}],
)
def test_a_rule_outside_the_limits_is_an_input_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        AlarmRule(**arguments)


def seen(violated: str = "", unknown: str = "", held: int = 0) -> Seen:
    return Seen(Window(START, START + DAY), frozenset(violated), frozenset(unknown), held)


@pytest.mark.parametrize(
    ("history", "letters"),
    [
        ([seen("a", "b", 3)], "V"),
        ([seen("", "b", 3)], "H"),
        ([seen("a", "", 3), seen("", "a", 3)], "VU"),
        ([seen("a", "", 3), seen("", "a", 3), seen("", "b", 3)], "VUH"),
        ([seen("a", "", 3), seen(), seen("", "a", 3)], "VUU"),
        ([seen("a", "", 3), seen("", "", 3)], "VH"),
        ([seen("", "ab", 0)], "U"),
        ([seen()], "U"),
    ],
    ids=[
        "one violated constraint is enough",
        "one that is never known does not stand in the way",
        "what was violated must be seen to hold",
        "then the window holds again",
        "a window without data does not make up for it",
        "a constraint that is gone is forgotten",
        "nothing known",
        "nothing measured",
    ],
)
def test_the_constraints_of_a_window_give_one_verdict(history: list[Seen], letters: str) -> None:
    assert [v for _, v in verdicts(history)] == [LETTERS[letter] for letter in letters]
