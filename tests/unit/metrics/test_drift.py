from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from driftline.constraints import Constraint, Mode, Verdict, judge
from driftline.errors import Undefined
from driftline.metrics import drift
from driftline.metrics.metric import Estimate, Metric, exactly, measure
from driftline.states.column import ColumnState

OF_NUMBERS = [
    drift.ks,
    drift.ks_robust,
    drift.psi,
    drift.jensen_shannon,
    drift.hellinger,
    drift.tvd,
    drift.wasserstein,
]
OF_CATEGORIES = [
    drift.linf,
    drift.linf_robust,
    drift.chi_square,
    drift.psi,
    drift.jensen_shannon,
    drift.hellinger,
    drift.tvd,
]
NAMES = np.array([f"c{at:02}" for at in range(20)])
ZIPF = 1 / np.arange(1, 21) / np.sum(1 / np.arange(1, 21))
LONG = np.array([f"c{at:03}" for at in range(300)])

Source = Callable[[np.random.Generator, int], Any]
SOURCES: dict[str, Source] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "log-normal": lambda rng, n: rng.lognormal(size=n),
    "few whole numbers": lambda rng, n: rng.poisson(2.0, n),
    "categories": lambda rng, n: rng.choice(NAMES, n, p=ZIPF),
    "long tail of categories": lambda rng, n: rng.choice(LONG, n),
}


def verdict(metric: Metric[Any], current: ColumnState, baseline: ColumnState, confidence: float = 0.95) -> Verdict:
    measured = measure(metric, "x", current, baseline, confidence=confidence)
    return judge(Constraint(metric.name, "x", high=0.1, best=0.0), measured, Mode.CONFIDENT).verdict


def cases() -> list[Any]:
    numbers = [drift.ks, drift.psi, drift.jensen_shannon, drift.wasserstein]
    words = [drift.linf, drift.psi, drift.jensen_shannon, drift.tvd]
    return [
        pytest.param(metric, source, rows, id=f"{metric.name}, {source}, {rows} rows")
        for source in SOURCES
        for metric in (words if "categories" in source else numbers)
        for rows in (50, 100, 500)
    ]


@pytest.mark.parametrize(("metric", "source", "rows"), cases())
def test_without_drift_fewer_than_a_twentieth_of_the_windows_are_flagged(
    metric: Metric[Any], source: str, rows: int, column_of: Any
) -> None:
    rng = np.random.default_rng(len(source) + rows)
    draw = SOURCES[source]
    for baseline_rows in (400, 10_000):
        baseline = column_of(draw(rng, baseline_rows))
        verdicts = [verdict(metric, column_of(draw(rng, rows)), baseline) for _ in range(40)]
        assert verdicts.count(Verdict.VIOLATED) <= 1


@pytest.mark.parametrize("metric", [drift.ks, drift.psi, drift.jensen_shannon, drift.wasserstein, drift.tvd])
def test_a_shift_of_a_standard_deviation_is_found_in_a_hundred_rows(metric: Metric[Any], column_of: Any) -> None:
    rng = np.random.default_rng(0)
    baseline = column_of(rng.normal(size=10_000))
    verdicts = [verdict(metric, column_of(rng.normal(1.0, 1.0, 100)), baseline) for _ in range(20)]
    assert verdicts.count(Verdict.VIOLATED) >= 18


def test_a_shift_of_a_quarter_to_which_robust_is_blind_is_found_in_two_thousand_rows(column_of: Any) -> None:
    rng = np.random.default_rng(1)
    baseline = column_of(rng.normal(size=10_000))
    window = column_of(rng.normal(0.25, 1.0, 2000))
    assert verdict(drift.wasserstein, window, baseline, confidence=0.9999) is Verdict.VIOLATED
    assert drift.ks_robust(window, baseline, confidence=0.95).value < 0.1


@pytest.mark.parametrize("metric", [drift.linf, drift.psi, drift.jensen_shannon, drift.tvd])
def test_a_category_that_takes_over_is_found(metric: Metric[Any], column_of: Any) -> None:
    rng = np.random.default_rng(2)
    baseline = column_of(SOURCES["categories"](rng, 5000))
    window = np.where(rng.random(200) < 0.5, "new", SOURCES["categories"](rng, 200))
    assert verdict(metric, column_of(window), baseline, confidence=0.9999) is Verdict.VIOLATED


@pytest.mark.parametrize("metric", [drift.ks, drift.linf, drift.psi, drift.jensen_shannon, drift.tvd])
def test_a_healthy_window_with_plenty_of_rows_holds(metric: Metric[Any], column_of: Any) -> None:
    rng = np.random.default_rng(3)
    draw = SOURCES["categories" if metric is drift.linf else "normal"]
    baseline = column_of(draw(rng, 10_000))
    verdicts = [verdict(metric, column_of(draw(rng, 3000)), baseline) for _ in range(20)]
    assert verdicts.count(Verdict.HOLDS) == 20


@pytest.mark.parametrize("metric", [drift.psi, drift.jensen_shannon, drift.hellinger, drift.tvd, drift.wasserstein])
def test_without_drift_the_corrected_value_stays_small(metric: Metric[Any], column_of: Any) -> None:
    rng = np.random.default_rng(4)
    baseline = column_of(rng.normal(size=10_000))
    values = [metric(column_of(rng.normal(size=50)), baseline, confidence=0.95).value for _ in range(60)]
    assert np.median(values) < 0.06


@pytest.mark.parametrize(
    ("metric", "truth"),
    [(drift.jensen_shannon, 0.0886), (drift.psi, 0.0594), (drift.ks, 0.0995), (drift.wasserstein, 0.25)],
    ids=lambda p: getattr(p, "name", None),
)
def test_the_interval_holds_the_distance_of_the_sources(metric: Metric[Any], truth: float, column_of: Any) -> None:
    rng = np.random.default_rng(5)
    far = metric(column_of(rng.normal(0.25, 1.0, 400_000)), column_of(rng.normal(size=400_000)), confidence=0.95)
    inside = 0
    for _ in range(50):
        window, baseline = column_of(rng.normal(0.25, 1.0, 500)), column_of(rng.normal(size=5000))
        estimate = metric(window, baseline, confidence=0.95)
        inside += estimate.low <= far.value <= estimate.high
    assert inside >= 44
    assert far.value == pytest.approx(truth, rel=0.25)


@pytest.mark.parametrize("metric", OF_NUMBERS, ids=lambda m: str(m.name))
def test_the_same_numbers_are_at_no_distance(metric: Metric[Any], column_of: Any) -> None:
    state = column_of(np.random.default_rng(6).normal(size=500))
    assert metric(state, state, confidence=0.95).value == 0.0


@pytest.mark.parametrize("metric", OF_NUMBERS + OF_CATEGORIES[:3], ids=lambda m: str(m.name))
def test_the_same_states_give_the_same_bits(metric: Metric[Any], column_of: Any) -> None:
    rng = np.random.default_rng(7)
    draw = SOURCES["normal" if metric in OF_NUMBERS else "categories"]
    states = column_of(draw(rng, 80)), column_of(draw(rng, 900))
    assert metric(*states, confidence=0.99) == metric(*states, confidence=0.99)


@pytest.mark.parametrize("metric", OF_NUMBERS, ids=lambda m: str(m.name))
@pytest.mark.parametrize("which", ["window", "baseline"])
def test_a_side_without_numbers_has_no_distance(metric: Metric[Any], which: str, column_of: Any) -> None:
    numbers, words = column_of([1.0, 2.0, 2.0]), column_of(["a", "b", None])
    states = (words, numbers) if which == "window" else (numbers, words)
    with pytest.raises(Undefined, match=r"no number|holds numbers"):
        metric(*states, confidence=0.95)


@pytest.mark.parametrize("metric", OF_CATEGORIES, ids=lambda m: str(m.name))
def test_a_window_of_nulls_has_no_distance(metric: Metric[Any], column_of: Any) -> None:
    with pytest.raises(Undefined, match="the window has no value"):
        metric(column_of([None, None]).merge(column_of(["x"][:0])), column_of(["a", "b"]), confidence=0.95)


def test_a_baseline_of_equal_numbers_has_no_unit_for_the_wasserstein_distance(column_of: Any) -> None:
    with pytest.raises(Undefined, match="equal"):
        drift.wasserstein(column_of([1.0, 2.0]), column_of([1.0, 1.0]), confidence=0.95)


def test_a_constant_that_moved_is_as_far_as_can_be(column_of: Any) -> None:
    states = column_of([2.0] * 500), column_of([1.0] * 500)
    for metric in (drift.ks, drift.tvd, drift.jensen_shannon, drift.hellinger):
        estimate = metric(*states, confidence=0.95)
        assert estimate.value > 0.9
        assert estimate.low > 0.5


def test_infinities_are_the_ends_of_the_order(column_of: Any) -> None:
    states = column_of([-np.inf, 0.0, 1.0, np.inf]), column_of([0.0, 0.0, 1.0, 1.0])
    assert drift.ks(*states, confidence=0.95).value == 0.25


def test_robust_is_the_raw_gap_less_its_allowance(column_of: Any) -> None:
    rng = np.random.default_rng(8)
    states = column_of(rng.normal(0.8, 1.0, 300)), column_of(rng.normal(size=600))
    raw, robust = (metric(*states, confidence=0.95) for metric in (drift.ks, drift.ks_robust))
    assert robust.value == pytest.approx(raw.value - 1.8 * np.sqrt(900 / (300 * 600)), abs=1e-15)


def test_columns_of_more_distinct_values_than_are_counted_are_compared_by_a_sample(column_of: Any) -> None:
    rng = np.random.default_rng(9)
    ids = [f"id{at}" for at in range(30_000)]
    windows = [column_of([*rng.choice(ids, 8000), *["often"] * n]) for n in (2000, 2000, 6000)]
    assert not windows[0].values.exact
    assert drift.linf(windows[1], windows[0], confidence=0.95).low == pytest.approx(0.0, abs=0.01)
    assert drift.psi(windows[1], windows[0], confidence=0.95).low < 0.02


@pytest.mark.parametrize(
    ("expected", "seen", "merged"),
    [
        ([50.0, 50.0], [40.0, 60.0], [(50.0, 40.0), (50.0, 60.0)]),
        ([50.0, 9.0], [40.0, 19.0], [(59.0, 59.0)]),
        ([4.0, 6.0, 7.0, 8.0, 75.0], [1.0, 2.0, 3.0, 4.0, 90.0], None),
        (
            [3.0, 4.0, 20.0, 30.0, 43.0],
            [1.0, 2.0, 30.0, 30.0, 37.0],
            [(7.0, 3.0), (20.0, 30.0), (30.0, 30.0), (43.0, 37.0)],
        ),
    ],
    ids=["frequent", "two and one is rare", "one of five may be rare", "two of five may not"],
)
def test_rare_categories_are_merged_as_in_deequ(
    expected: list[float], seen: list[float], merged: list[tuple[float, float]] | None
) -> None:
    assert drift.merge_rare(expected, seen) == (merged or list(zip(expected, seen, strict=True)))


def test_one_category_has_no_chi_square(column_of: Any) -> None:
    with pytest.raises(Undefined, match="fewer than two"):
        drift.chi_square(column_of(["a"] * 50), column_of(["a"] * 50), confidence=0.95)


def test_a_sample_knows_as_much_as_its_rows(column_of: Any) -> None:
    rng = np.random.default_rng(10)
    window, baseline = rng.normal(0.2, 1.0, 400), column_of(rng.normal(size=2000))
    for metric in OF_NUMBERS:
        plain, sampled = (metric(column_of(window, p), baseline, confidence=0.95) for p in (None, 0.125))
        assert isinstance(sampled, Estimate)
        assert sampled == plain


def test_no_values_in_common_is_exactly_one_apart(column_of: Any) -> None:
    states = column_of(["a"] * 9), column_of(["b"] * 9)
    assert drift.linf(*states, confidence=0.95).value == 1.0
    assert drift.tvd(column_of(["a"]), column_of(["a"]), confidence=0.95) == exactly(0.0)


def test_a_constant_that_stays_holds_for_certain(column_of: Any) -> None:
    states = column_of([7] * 30), column_of([7] * 900)
    for metric in (drift.psi, drift.jensen_shannon, drift.hellinger, drift.tvd):
        assert metric(*states, confidence=0.9999) == exactly(0.0)


@pytest.mark.parametrize("metric", [drift.ks, drift.psi, drift.jensen_shannon, drift.wasserstein])
def test_the_same_numbers_with_fewer_digits_have_not_moved(column_of: Callable[..., ColumnState], metric: Any) -> None:
    rng = np.random.default_rng(5)
    values = rng.choice([-0.044641636506989, 0.0506801187398187, np.inf, -np.inf], 2000, p=[0.5, 0.48, 0.01, 0.01])
    same = metric(column_of(values), column_of(values), confidence=0.95)
    for fewer in (np.round(values, 8), values.astype(np.float32).astype(np.float64)):
        assert metric(column_of(fewer), column_of(values), confidence=0.95) == same
    assert drift.ks(column_of(np.round(values, 6)), column_of(values), confidence=0.95).value > 0.4
    assert (
        drift.ks(column_of(np.where(values == np.inf, 1e300, values)), column_of(values), confidence=0.95).value > 0.0
    )
