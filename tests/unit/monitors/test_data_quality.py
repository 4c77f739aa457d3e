from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.constraints import Constraint, Mode, Verdict, judge
from driftline.dialects.sagemaker_files import constraints_of, suggested_constraints
from driftline.errors import InputError
from driftline.metrics.metric import Measurement
from driftline.monitors.data_quality import DataQuality
from driftline.monitors.monitor import Profile
from driftline.states.column import Column
from driftline.states.rows import Rows

Profiled = Callable[..., Profile]
MONITOR = DataQuality()
RNG = np.random.default_rng(7)


def measured(
    current: Profile, baseline: Profile | None, monitor: DataQuality = MONITOR
) -> dict[tuple[str, str | None], Measurement]:
    return {(m.metric, m.column): m for m in monitor.measure(current, baseline, 0.99)}


def suggested(whole: Profile, parts: list[Profile]) -> dict[tuple[str, str | None], Constraint]:
    return {(c.metric, c.column): c for c in MONITOR.suggest(whole, parts)}


def blocks(profiled: Profiled, size: int, **columns: list[Any]) -> tuple[Profile, list[Profile]]:
    rows = len(next(iter(columns.values())))
    parts = [
        profiled(MONITOR, **{name: values[at : at + size] for name, values in columns.items()})
        for at in range(0, rows, size)
    ]
    return profiled(MONITOR, **columns), parts


def verdicts(current: Profile, whole: Profile, parts: list[Profile]) -> dict[tuple[str, str | None], Verdict]:
    found = measured(current, whole)
    return {
        (c.metric, c.column): judge(c, found[c.metric, c.column], Mode.CONFIDENT).verdict
        for c in MONITOR.suggest(whole, parts)
    }


def test_one_state_is_kept_for_each_column() -> None:
    assert MONITOR.plan(["a", "b"]) == {Rows(), Column("a"), Column("b")}


def test_numbers_and_categories_are_measured_by_their_own_metrics(profiled: Profiled) -> None:
    table = {"age": [1, 2, 3, 4, None], "plan": ["free", "pro", "free", "free", "new"]}
    baseline = profiled(MONITOR, **{**table, "plan": ["free", "pro", "free", "free", "pro"]})
    found = measured(profiled(MONITOR, **table), baseline)
    assert found["rows", None].value == 5
    assert found["completeness", "age"].value == 0.8
    assert found["mean", "age"].value == 2.5
    assert found["quantile_50", "age"].value == 2.0
    assert found["ks", "age"].value == 0.0
    assert found["domain_share", "plan"].value == 0.8
    assert found["linf", "plan"].value == pytest.approx(0.2)
    assert ("mean", "plan") not in found
    assert ("linf", "age") not in found


def test_every_measurement_is_made_once_and_has_a_value_or_a_reason(profiled: Profiled) -> None:
    baseline = profiled(MONITOR, x=[1.5, 2.0], s=["a", "b"], gone=[1, 2], never=pa.nulls(2))
    current = profiled(MONITOR, x=[1.5, 9.0], s=pa.nulls(2, pa.string()), new=[True, False], never=[1, 2])
    every = list(MONITOR.measure(current, baseline, 0.95))
    assert len({(m.metric, m.column) for m in every}) == len(every)
    assert all((m.estimate is None) == bool(m.reason) for m in every)


def test_missing_and_extra_columns_are_counted(profiled: Profiled) -> None:
    found = measured(profiled(MONITOR, a=[1], c=[1], d=[1]), profiled(MONITOR, a=[1], b=[1]))
    assert (found["missing_columns", None].value, found["extra_columns", None].value) == (1.0, 2.0)
    assert found["completeness", "b"].reason == "the window has no column of this name"
    assert found["ks", "b"].estimate is None


def test_drift_is_not_evaluated_where_the_type_changed(profiled: Profiled) -> None:
    baseline = profiled(MONITOR, x=["1", "2", "3"], y=["1.5", "2", "3"], z=["a", "b", "c"])
    found = measured(profiled(MONITOR, x=["1", "2", "3.5"], y=["1", "2", "3"], z=["1", "2", "3"]), baseline)
    assert found["ks", "x"].reason == (
        "the column is Fractional in the window, but Integral in the baseline: drift is not evaluated"
    )
    assert found["ks", "y"].value is not None
    assert found["linf", "z"].reason == (
        "the column is Integral in the window, but String in the baseline: drift is not evaluated"
    )


def test_a_listed_domain_goes_before_the_values_of_the_baseline(profiled: Profiled) -> None:
    table = profiled(MONITOR, plan=["free", "pro", "gold", "gold"])
    monitor = DataQuality({"plan": frozenset({"free", "pro"})})
    assert measured(table, table, monitor)["domain_share", "plan"].value == 0.5
    assert measured(table, table)["domain_share", "plan"].value == 1.0


def test_a_window_without_rows_is_unknown_everywhere_but_in_its_columns(profiled: Profiled) -> None:
    whole, parts = blocks(profiled, 50, x=list(range(100)), s=["a", "b"] * 50)
    current = profiled(MONITOR, x=pa.array([], pa.int64()), s=pa.array([], pa.string()))
    found = verdicts(current, whole, parts)
    assert {metric for (metric, _), v in found.items() if v is not Verdict.UNKNOWN} == {
        "missing_columns",
        "extra_columns",
    }


def test_a_baseline_without_rows_is_refused(profiled: Profiled) -> None:
    empty = profiled(MONITOR, x=pa.array([], pa.int64()))
    with pytest.raises(InputError, match="the baseline has no rows"):
        list(MONITOR.suggest(empty, []))


def test_suggestions_are_model_monitors_bounds_in_confident_form(profiled: Profiled) -> None:
    whole, parts = blocks(
        profiled, 100, n=list(range(1000)), x=RNG.normal(size=1000).tolist(), s=["a", "b", "c", None] * 250
    )
    effects = {key: c.effect for key, c in suggested(whole, parts).items()}
    of_file = constraints_of(suggested_constraints(whole), Mode.CONFIDENT, effects)
    assert {(c.metric, c.column): c for c in of_file} == suggested(whole, parts)


def test_without_blocks_the_practical_floors_remain(profiled: Profiled) -> None:
    whole, _ = blocks(profiled, 100, x=RNG.normal(size=1000).tolist(), s=["a", "b"] * 500)
    found = suggested(whole, [])
    assert found["completeness", "x"].effect == 0.01
    assert found["domain_share", "s"].effect == 0.02
    assert found["ks", "x"].effect == found["linf", "s"].effect == found["numeric_share", "x"].effect == 0.0


def test_a_column_that_grows_by_itself_raises_nothing(profiled: Profiled) -> None:
    days = [f"2013-01-{1 + i // 100:02d}" for i in range(2000)]
    whole, parts = blocks(profiled, 200, id=list(range(2000)), day=days)
    current = profiled(MONITOR, id=list(range(2000, 2500)), day=["2013-02-01"] * 500)
    assert Verdict.VIOLATED not in verdicts(current, whole, parts).values()


def test_a_date_raises_nothing_where_blocks_straddle_the_days(profiled: Profiled) -> None:
    whole, parts = blocks(profiled, 350, day=[f"2013-01-0{1 + i // 500}" for i in range(4200)])
    current = profiled(MONITOR, day=["2013-02-01"] * 500)
    assert verdicts(current, whole, parts)["domain_share", "day"] is not Verdict.VIOLATED


def test_missing_values_that_come_in_bursts_are_part_of_the_baseline(profiled: Profiled) -> None:
    bursts = [None if i // 200 % 5 == 0 and i % 2 else 1.5 for i in range(4000)]
    whole, parts = blocks(profiled, 200, x=bursts)
    window = profiled(MONITOR, x=[None if i % 2 else 1.5 for i in range(400)])
    assert verdicts(window, whole, parts)["completeness", "x"] is not Verdict.VIOLATED
    steady = [None if i % 10 == 0 else 1.5 for i in range(4000)]
    whole, parts = blocks(profiled, 200, x=steady)
    assert verdicts(window, whole, parts)["completeness", "x"] is Verdict.VIOLATED


def test_real_drift_is_violated(profiled: Profiled) -> None:
    whole, parts = blocks(
        profiled,
        500,
        x=RNG.normal(size=5000).tolist(),
        s=RNG.choice(["a", "b", "c"], 5000).tolist(),
        t=RNG.choice(["a", "b", "c"], 5000).tolist(),
    )
    current = profiled(
        MONITOR,
        x=RNG.normal(0.5, size=1000).tolist(),
        s=RNG.choice(["a", "b", "c"], 1000, p=[0.7, 0.2, 0.1]).tolist(),
        t=RNG.choice(["a", "b", "d"], 1000).tolist(),
    )
    found = verdicts(current, whole, parts)
    assert {key for key, verdict in found.items() if verdict is Verdict.VIOLATED} == {
        ("ks", "x"),
        ("linf", "s"),
        ("linf", "t"),
        ("domain_share", "t"),
    }


@pytest.mark.parametrize("rows", [30, 200, 1000])
def test_the_same_source_raises_nothing_whatever_the_size_of_the_window(profiled: Profiled, rows: int) -> None:
    whole, parts = blocks(
        profiled, 500, x=RNG.lognormal(size=5000).tolist(), s=RNG.choice(list("abcdefgh"), 5000).tolist()
    )
    for _ in range(20):
        current = profiled(MONITOR, x=RNG.lognormal(size=rows).tolist(), s=RNG.choice(list("abcdefgh"), rows).tolist())
        assert Verdict.VIOLATED not in verdicts(current, whole, parts).values()
