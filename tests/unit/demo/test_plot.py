from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.constraints import Verdict
from driftline.demo.plot import SERVED, STAYED, chart, draw
from driftline.demo.story import Day, Story, mean_auc
from driftline.demo.telling import means
from driftline.metrics.metric import Estimate

FIRST = date(2013, 7, 1)
VERDICTS = [Verdict.HOLDS, Verdict.HOLDS, Verdict.VIOLATED, Verdict.UNKNOWN, Verdict.VIOLATED, Verdict.HOLDS, None]


def _day(n: int) -> Day:
    value = 0.55 + 0.02 * n
    known = Estimate(value, value - 0.05, value + 0.05) if n < 6 else None
    return Day(FIRST + timedelta(days=n), Verdict.HOLDS, VERDICTS[n], known, {"hour": 0.02, "carrier": 0.04}, 1.0, 0)


@pytest.fixture
def story() -> Story:
    return Story(
        days=tuple(map(_day, range(7))),
        bound=0.65,
        firing=((FIRST + timedelta(days=4), None),),
        retrained=(FIRST + timedelta(days=5),),
        unmended={FIRST + timedelta(days=5): 0.55},
    )


def test_the_chart_marks_alarm_and_new_model_and_shows_both_lines(story: Story) -> None:
    drawn = json.dumps(chart(story))
    for said in ('"alarm"', '"new model"', "baseline 0.650", SERVED, STAYED, "not enough evidence", "alarm 5 July"):
        assert said in drawn


def test_without_an_alarm_the_chart_says_so(story: Story) -> None:
    drawn = json.dumps(chart(replace(story, firing=(), retrained=(), unmended={})))
    assert "no alarm was raised" in drawn
    assert '"new model"' not in drawn


def test_the_mean_of_a_week_never_mixes_two_models(story: Story) -> None:
    lines = [row for row in _rows(chart(story)) if row.get("line") == SERVED]
    before = [row["mean"] for row in lines if row["part"] == 0]
    after = [row["mean"] for row in lines if row["part"] == 1]
    assert max(before) < 0.62
    assert after == [pytest.approx(0.65)]


def test_the_chart_is_drawn_offline_to_svg_and_png(story: Story, tmp_path: Path) -> None:
    assert draw(story, tmp_path) == tmp_path / "story.png"
    assert (tmp_path / "story.png").read_bytes().startswith(b"\x89PNG")
    assert "Only ground truth" in (tmp_path / "story.svg").read_text()


def test_means_are_taken_before_and_after_the_new_model(story: Story) -> None:
    assert means(story) == {
        "before the alarm": pytest.approx(0.58),
        "last week of the old model": pytest.approx(0.59),
        "with the new model": pytest.approx(0.65),
        "had the old model stayed": pytest.approx(0.55),
    }
    assert mean_auc(story.days[6:]) is None


def _rows(spec: Any) -> Iterator[dict[str, Any]]:
    """All rows of data, wherever they stand in the specification."""
    if isinstance(spec, dict):
        values = spec.get("values")
        yield from (row for row in values or () if isinstance(row, dict))
        for key, below in spec.items():
            if key != "values":
                yield from _rows(below)
    elif isinstance(spec, list):
        for below in spec:
            yield from _rows(below)
