from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest

from driftline.capture.limit import Limit, Share
from driftline.capture.sampler import Facts, Rule, Sampler, Sampling


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def seconds(sampler: Sampler, ticks: Ticks, per_second: int, count: int, status: int = 200) -> Iterator[list[float]]:
    """The probabilities of the records of each second."""
    for _ in range(count):
        found = []
        for _ in range(per_second):
            ticks.now += 1 / per_second
            probability = sampler.decide(random.randbytes(8).hex(), status=status)
            if probability is not None:
                found.append(probability)
        yield found


def test_below_the_limit_nothing_is_lowered() -> None:
    random.seed(1)
    ticks = Ticks()
    sampler = Sampler(Sampling(0.5, most_per_second=100), ticks)
    assert {p for found in seconds(sampler, ticks, 150, 10) for p in found} == {0.5}


def test_too_many_records_are_halved_until_it_is_enough_and_come_back_when_there_is_room() -> None:
    random.seed(2)
    ticks = Ticks()
    sampler = Sampler(Sampling(1.0, most_per_second=100), ticks)
    flood = list(seconds(sampler, ticks, 6400, 20))
    assert len(flood[0]) < 600
    assert all(len(found) < 140 for found in flood[2:])
    assert all(len(found) > 30 for found in flood[2:])
    assert set(flood[-1]) <= {2.0**-k for k in range(1, 10)}
    assert len(set(flood[-1])) == 1
    calm = list(seconds(sampler, ticks, 40, 60))
    assert set(calm[-1]) == {1.0}
    rising = [min(found) for found in calm if found]
    assert rising == sorted(rising)


def test_a_steady_load_does_not_make_it_swing() -> None:
    random.seed(3)
    ticks = Ticks()
    sampler = Sampler(Sampling(1.0, most_per_second=100), ticks)
    found = list(seconds(sampler, ticks, 150, 100))
    assert {p for each in found[5:] for p in each} == {0.5}


def test_the_share_that_gives_most_records_pays() -> None:
    random.seed(4)
    ticks = Ticks()
    sampler = Sampler(Sampling(1.0, [Rule(errors=True)], most_per_second=100), ticks)
    errors, others = [], []
    for _ in range(20):
        errors += [p for found in seconds(sampler, ticks, 5, 1, status=500) for p in found]
        others += [p for found in seconds(sampler, ticks, 3000, 1) for p in found]
    assert set(errors) == {1.0}
    assert min(others) <= 1 / 32


def test_an_idle_while_does_not_count_as_one_window_only() -> None:
    ticks = Ticks()
    share = Share(1.0)
    limit = Limit([share], 10, ticks)
    for _ in range(80):
        limit.count(share)
    assert share.probability < 1 / 4
    ticks.now += 3600
    limit.count(share)
    assert share.probability == 1.0


def test_a_limit_below_one_record_a_second_looks_at_longer_windows() -> None:
    random.seed(5)
    ticks = Ticks()
    sampler = Sampler(Sampling(1.0, most_per_second=0.1), ticks)
    kept = sum(len(found) for found in seconds(sampler, ticks, 1, 10_000))
    assert 300 < kept < 1200


def test_a_stream_of_one_id_only_is_still_bounded_in_what_may_be_expected() -> None:
    ticks = Ticks()
    share = Share(1.0)
    limit = Limit([share], 10, ticks)
    for _ in range(1_000_000):
        limit.count(share)
    assert 0 < share.probability <= 2.0**-15


@pytest.mark.parametrize("limit", [None, 20.0], ids=["fixed shares", "a limit at work"])
def test_weighing_by_the_probability_gives_the_totals_of_all_requests(limit: float | None) -> None:
    """Horvitz–Thompson: over many repetitions the estimated totals are right, and off by as much as they should be."""
    rng = random.Random(20260301)
    scores: list[float] = []
    errors = 0.0
    for _ in range(150):
        ticks = Ticks()
        sampling = Sampling(0.4, [Rule(1.0, errors=True), Rule(0.7, path="/gold")], most_per_second=limit)
        sampler = Sampler(sampling, ticks)
        truth = estimate = variance = 0.0
        failed = estimated_failed = 0.0
        for second in range(8):
            rate = 400 if second in (3, 4) else 40  # a burst, whose values differ from the others'
            for _ in range(rate):
                ticks.now += 1 / rate
                gold, error = rng.random() < 0.1, rng.random() < 0.03
                value = (5.0 if rate == 400 else 1.0) + (10.0 if gold else 0.0) + rng.random()
                truth += value
                failed += error
                path = "/gold" if gold else "/"
                status = 500 if error else 200
                p = sampler.decide(rng.randbytes(8).hex(), Facts(path=path), status)
                if p is not None:
                    estimate += value / p
                    estimated_failed += error / p
                    variance += value * value * (1 - p) / (p * p)
        scores.append((estimate - truth) / math.sqrt(variance))
        errors += estimated_failed / failed
    count = len(scores)
    mean = sum(scores) / count
    spread = sum((score - mean) ** 2 for score in scores) / (count - 1)
    assert abs(mean) < 3 / math.sqrt(count)
    assert 0.6 < spread < 1.6
    assert abs(errors / count - 1) < 0.05
