from __future__ import annotations

from datetime import UTC, datetime

import pytest

from driftline.capture.pairs import AMBIGUOUS, NO_ANSWER, NO_REQUEST, Pair, Pairs, Part, Remembered, Side
from driftline.capture.routes import Asked
from driftline.capture.sampler import Sampler

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
ALL = Sampler(1.0).choose("x")


def a_pair(since: float = 0.0) -> Pair:
    return Pair(Asked("flights"), "17", (), ALL, since)


def part(body: bytes = b"1,2") -> Part:
    return Part(AT, body, "text/csv", False)


@pytest.mark.parametrize("order", [("request", "response"), ("response", "request")], ids=["in order", "answer first"])
def test_both_sides_make_a_whole(order: tuple[Side, Side]) -> None:
    pairs, pair = Pairs(10, 100, 60.0), a_pair()
    assert not pairs.put("k", pair, order[0], part(b"123"))
    assert (len(pairs), pairs.bytes) == (1, 3)
    assert pairs.put("k", pair, order[1], part(b"4567"))
    assert (len(pairs), pairs.bytes) == (0, 0)
    assert pair.whole


def test_one_waits_for_so_long_and_no_longer() -> None:
    pairs = Pairs(10, 100, 60.0)
    pairs.put("a", a_pair(0.0), "request", part())
    pairs.put("b", a_pair(30.0), "response", part())
    assert list(pairs.expired(59.9)) == []
    assert [pair.why_lost for pair in pairs.expired(60.0)] == [NO_ANSWER]
    assert [pair.why_lost for pair in pairs.expired(90.0)] == [NO_REQUEST]
    assert (len(pairs), pairs.bytes) == (0, 0)


@pytest.mark.parametrize(("most", "most_bytes"), [(2, 100), (10, 6)], ids=["too many", "too long"])
def test_the_oldest_goes_for_want_of_room(most: int, most_bytes: int) -> None:
    pairs = Pairs(most, most_bytes, 60.0)
    for key in range(3):
        pairs.put(key, a_pair(float(key)), "request", part(b"123"))
    assert [pair.since for pair in pairs.crowded()] == [0.0]
    assert list(pairs.crowded()) == []
    assert pairs.get(0) is None
    assert pairs.get(2) is not None


def test_two_requests_of_one_id_at_once_are_never_given_each_others_answers() -> None:
    pairs, pair = Pairs(10, 100, 60.0), a_pair()
    for side in ("request", "request", "response", "response"):
        assert not pairs.put("k", pair, side, part())
    (lost,) = pairs.expired(60.0)
    assert (lost.why_lost, lost.requests, pairs.bytes) == (AMBIGUOUS, 2, 0)
    assert lost.at == AT


def test_only_the_last_are_remembered() -> None:
    remembered = Remembered(2)
    assert [remembered.again(each) for each in (1, 2, 1, 3, 2, 1)] == [False, False, True, False, True, False]
