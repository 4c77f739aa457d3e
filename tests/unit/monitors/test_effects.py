from __future__ import annotations

import numpy as np
import pytest

from driftline.metrics.interval import wilson
from driftline.metrics.metric import Estimate, exactly
from driftline.monitors.effects import between_blocks, effect_of_distance, effect_of_spread


def test_sampling_noise_is_no_variation_of_the_source() -> None:
    rng = np.random.default_rng(1)
    blocks = [wilson(rng.binomial(500, 0.8) / 500, 500, 0.95) for _ in range(200)]
    assert between_blocks(blocks) < 0.006  # the noise alone is 0.018


def test_variation_beyond_noise_is_found() -> None:
    rng = np.random.default_rng(2)
    levels = rng.normal(0.8, 0.05, 200)
    blocks = [wilson(rng.binomial(500, p) / 500, 500, 0.95) for p in levels]
    assert between_blocks(blocks) == pytest.approx(0.05, abs=0.01)


def test_blocks_that_saw_a_rare_extreme_do_not_explain_the_others() -> None:
    quiet, wild = Estimate(1.0, 0.9, 1.1), Estimate(9.0, -20.0, 40.0)
    assert between_blocks([quiet] * 6 + [wild]) == pytest.approx(3.02, abs=0.01)


def test_one_block_or_none_says_nothing_of_variation() -> None:
    assert between_blocks([]) == between_blocks([exactly(1.0), None]) == 0.0


def test_an_effect_is_at_least_the_practical_floor() -> None:
    assert effect_of_spread("auc", 0.8, [exactly(0.8), exactly(0.8)]) == 0.02
    assert effect_of_spread("rmse", 40.0, []) == 2.0
    assert effect_of_spread("auc", 0.8, [exactly(0.7), exactly(0.9)]) == pytest.approx(3 * 0.02**0.5)


def test_a_distance_must_exceed_what_the_blocks_show() -> None:
    assert effect_of_distance(0.1, []) == 0.0
    assert effect_of_distance(0.1, [0.02, 0.08]) == 0.0
    assert effect_of_distance(0.1, [0.4, 1.0]) == pytest.approx(1.15)


def test_wide_intervals_explain_everything() -> None:
    assert between_blocks([Estimate(0.4, 0.0, 1.0), Estimate(0.6, 0.0, 1.0)]) == 0.0
