"""Counted values beside each other."""

from __future__ import annotations

from driftline.states.frequent import Counted, side_by_side
from driftline.states.rows import Count

OURS = {"b": Count(2, 4), "\uffff": Count(1, 1), "": Count(3, 3)}
THEIRS = {"\U0001f600": Count(5, 5), "b": Count(1, 2), "a": Count(7, 9)}


def test_the_values_of_two_sides_stand_side_by_side() -> None:
    sides = side_by_side(Counted.of(OURS), Counted.of(THEIRS))
    names = sorted(OURS.keys() | THEIRS.keys())
    for side, known in zip(sides, (OURS, THEIRS), strict=True):
        assert side.distinct.to_pylist() == names
        assert side.counts.tolist() == [known[name].n if name in known else 0 for name in names]
        assert side.heavy.tolist() == [known[name].w if name in known else 0 for name in names]


def test_a_side_may_have_no_values() -> None:
    ours, theirs = side_by_side(Counted.of({}), Counted.of(THEIRS))
    assert ours.counts.tolist() == [0, 0, 0]
    assert theirs.counts.tolist() == [7, 1, 5]
