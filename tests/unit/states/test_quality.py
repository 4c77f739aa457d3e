"""Classes, scores and residuals of labelled rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from driftline.errors import InputError, Undefined
from driftline.schema import PROBABILITY
from driftline.states.contingency import Contingency, ContingencyState, class_name
from driftline.states.residuals import Residuals
from driftline.states.rows import ONE, Count
from driftline.states.scores import Scores


def batch(**columns: Any) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (" 1.0 ", "1"),
        ("1.", "1"),
        (True, "1"),
        ("true", "1"),
        ("False", "0"),
        (-3.0, "-3"),
        (-0.0, "0"),
        ("-0.0", "0"),
        (0.5, "0.5"),
        ("0.50", "0.50"),
        ("cat", "cat"),
        ("1.0.0", "1.0.0"),
        (1e300, "1e+300"),
    ],
    ids=repr,
)
def test_a_class_has_one_spelling(value: Any, name: str) -> None:
    assert class_name(value) == name


SAME = {
    "strings": ["1", "0", " 1", None, ""],
    "integers": [1, 0, 1, None, None],
    "floats": [1.0, 0.0, 1.0, None, float("nan")],
    "booleans": [True, False, True, None, None],
    "dictionary": pa.array(["1.0", "0", "true", None, ""]).dictionary_encode(),
}


@pytest.mark.parametrize("actual", SAME)
@pytest.mark.parametrize("predicted", SAME)
def test_classes_are_compared_whatever_the_types_of_the_columns(actual: str, predicted: str) -> None:
    state = Contingency("y", "p").of(pa.record_batch({"y": pa.array(SAME[actual]), "p": pa.array(SAME[predicted])}))
    assert state.cells == {("0", "0"): Count(1, ONE), ("1", "1"): Count(2, 2 * ONE)}
    assert state.missing == Count(2, 2 * ONE)
    assert state.classes == ("0", "1")


def test_without_a_prediction_the_score_decides_strictly_above_the_threshold() -> None:
    rows = batch(y=[1, 1, 0, 0], s=[0.5, 0.51, None, float("nan")])
    state = Contingency("y", None, score="s", threshold=0.5).of(rows)
    assert state.cells == {("1", "0"): Count(1, ONE), ("1", "1"): Count(1, ONE)}
    assert state.missing.n == 2


def test_a_comparison_needs_something_to_compare_with() -> None:
    with pytest.raises(InputError, match="a prediction or a score"):
        Contingency("y", None)


def test_too_many_classes_are_taken_for_a_regression() -> None:
    rows = batch(y=np.arange(2_000) / 7, p=np.zeros(2_000))
    with pytest.raises(InputError, match="is this regression"):
        Contingency("y", "p").of(rows)
    some = Contingency("y", "p", limit=3)
    with pytest.raises(InputError, match="at most 3"):
        some.of(batch(y=[1, 2], p=[1, 2])).merge(some.of(batch(y=[3, 4], p=[1, 2])))


def test_weights_go_into_cells_and_into_what_is_missing() -> None:
    rows = batch(y=["a", "a", None], p=["b", "b", "b"], **{PROBABILITY: [0.5, 0.25, 0.125]})
    state = Contingency("y", "p").of(rows)
    assert state == ContingencyState({("a", "b"): Count(2, 6 * ONE)}, 20 * ONE**2, Count(1, 8 * ONE))


def test_scores_outside_the_unit_interval_rank_but_have_no_loss() -> None:
    state = Scores("s", "y").of(batch(s=[0.5, 1.5, -1.0, None, float("nan")], y=[1, 0, 1, 1, 0]))
    assert (state.positive.total.n, state.negative.total.n) == (2, 1)
    assert (state.outside.n, state.missing.n, state.inside.n) == (2, 2, 1)
    assert state.log_loss_mean == -np.log(0.5)
    assert state.brier_mean == 0.25
    assert (state.log_loss_variance, state.brier_variance) == (0.0, 0.0)


def test_a_certain_score_that_was_wrong_has_a_finite_loss() -> None:
    state = Scores("s", "y").of(batch(s=[1.0, 0.0], y=[0, 1]))
    assert 36 < state.log_loss_mean < 36.1


def test_the_positive_class_may_be_spelled_otherwise() -> None:
    rows = batch(s=[0.9, 0.1], y=["yes", "no"])
    assert Scores("s", "y", positive="yes").of(rows).positive.total.n == 1
    assert Scores("s", "y", positive="1.0").of(batch(s=[0.9, 0.1], y=[True, False])).positive.total.n == 1
    assert Scores("s", "y").of(rows).positive.total.n == 0


def test_scores_may_be_spelled_and_of_one_class() -> None:
    state = Scores("s", "y").of(batch(s=["0.25", "x", "1"], y=[1, 1, 1]))
    assert (state.positive.total.n, state.missing.n) == (2, 1)
    with pytest.raises(Undefined, match="score in"):
        _ = Scores("s", "y").empty().brier_mean


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="'s' holds list"):
        Scores("s", "y").of(batch(s=[[1.0]], y=[1]))


def test_residuals_leave_out_and_count_what_is_not_finite() -> None:
    rows = batch(p=[1.0, None, float("inf"), 4.0], y=[0.5, 1.0, 1.0, 6.0])
    state = Residuals("p", "y").of(rows)
    unit = ONE << 1074
    assert (state.n, state.missing.n) == (2, 2)
    assert [state.e / unit, state.abs_e / unit, state.e2 / unit, state.e4 / unit] == [-1.5, 2.5, 4.25, 16.0625]
    assert [state.y2 / unit, state.y3 / unit, state.e2y / unit] == [36.25, 216.125, 24.125]
    assert state.y.mean == 3.25


def test_powers_beyond_float64_count_as_its_greatest_number() -> None:
    state = Residuals("p", "y").of(batch(p=[1e200], y=[-1e200]))
    assert state.e4 == state.e2 == state.y4
    assert state.abs_e / (ONE << 1074) == 2e200


@pytest.mark.parametrize("kind", [pa.decimal128(4, 2), pa.decimal256(60, 2)], ids=str)
def test_decimals_are_the_classes_that_they_are_as_floats(kind: pa.DataType) -> None:
    truth = pa.array([1.0, 0.0, 0.5, 10.0, None])
    said = pa.array(["1", "0", "0.50", "10", "1"])
    as_floats, as_decimals = (
        Contingency("y", "p").of(pa.record_batch({"y": y, "p": said.cast(p).cast(y.type)}))
        for y, p in ((truth, pa.float64()), (truth.cast(kind), kind))
    )
    assert as_decimals == as_floats
    assert as_decimals.classes == ("0", "0.5", "1", "10")
