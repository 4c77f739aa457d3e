from __future__ import annotations

import math

import pytest

from driftline.capture.ids import id_hash
from driftline.capture.sampler import Sampler
from driftline.errors import InputError

IDS = [f"order-{number}" for number in range(20_000)]


@pytest.mark.parametrize("probability", [0.0, 0.01, 0.2, 0.5, 1.0])
def test_the_share_that_is_kept_is_the_probability(probability: float) -> None:
    kept = sum(Sampler(probability).decide(each)[0] for each in IDS)
    error = math.sqrt(len(IDS) * probability * (1 - probability))
    assert abs(kept - len(IDS) * probability) <= 4 * error


def test_the_same_id_is_always_in_or_always_out() -> None:
    assert [Sampler(0.3).decide(each) for each in IDS[:100]] == [Sampler(0.3).decide(each) for each in IDS[:100]]


def test_what_a_small_share_keeps_a_larger_one_keeps_too() -> None:
    assert all(Sampler(0.5).decide(each)[0] for each in IDS if Sampler(0.1).decide(each)[0])


def test_the_hash_of_an_id_never_changes() -> None:
    assert id_hash("order-17") == 0x94DF38E83B717C1E
    assert 0 <= id_hash("\ud800") < 1 << 64
    assert id_hash("\ud800") == id_hash("\\ud800")


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan"), 20])
def test_a_share_outside_0_to_1_is_refused(probability: float) -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        Sampler(probability)
