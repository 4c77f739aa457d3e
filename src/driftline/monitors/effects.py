"""How far beyond a bound is worth acting on: practical floors, and what a baseline varies by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import chain
from statistics import NormalDist, median, variance
from typing import Final

from driftline.constraints import Constraint
from driftline.metrics.metric import Estimate

DRIFT_BOUND: Final = 0.1
"""Model Monitor's threshold of every distance."""
CONFIDENCE: Final = 0.95
"""At which a baseline's own blocks are measured."""
SPREADS: Final = 3.0
"""An effect is this many between-block standard deviations, until the false-alarm budget says how many it takes."""
MARGIN: Final = 1.25
"""A window may be this many times as far from the baseline as the baseline's blocks are from each other."""

BEST: Final[Mapping[str, float]] = dict(
    chain(
        dict.fromkeys(("completeness", "integral_share", "numeric_share", "domain_share"), 1.0).items(),
        dict.fromkeys(("ks", "ks_robust", "linf", "linf_robust"), 0.0).items(),
        dict.fromkeys(("missing_columns", "extra_columns"), 0.0).items(),
        dict.fromkeys(("recall", "precision", "accuracy", "true_positive_rate", "true_negative_rate"), 1.0).items(),
        dict.fromkeys(("f0_5", "f1", "f2", "auc", "au_prc", "r2"), 1.0).items(),
        dict.fromkeys(("weighted_recall", "weighted_precision"), 1.0).items(),
        dict.fromkeys(("weighted_f0_5", "weighted_f1", "weighted_f2"), 1.0).items(),
        dict.fromkeys(("false_positive_rate", "false_negative_rate"), 0.0).items(),
        dict.fromkeys(("mae", "mse", "rmse", "log_loss", "brier"), 0.0).items(),
    )
)
"""The value that cannot be improved on, where a metric has one that is really reached."""

_NONE: Final = frozenset(
    {"integral_share", "numeric_share", "missing_columns", "extra_columns", "chi_square"}
    | {"ks", "ks_robust", "linf", "linf_robust", "psi", "jensen_shannon", "wasserstein"}
)
DISTANCES: Final = frozenset({"ks", "linf", "domain_share"})
"""Metrics whose effect is the farthest that a part of the baseline shows, not how much its parts vary."""
_RELATIVE: Final = frozenset({"mae", "mse", "rmse", "log_loss", "brier"})


def floor(metric: str, bound: float | None) -> float:
    """The practical floor of a metric: a smaller shortfall is not worth a page, however sure we are of it.

    >>> floor("auc", 0.8), floor("completeness", 1.0), floor("integral_share", 1.0), floor("mae", 20.0)
    (0.02, 0.01, 0.0, 1.0)
    """
    if metric in _NONE:
        return 0.0
    if metric == "completeness":
        return 0.01
    if metric in _RELATIVE:
        return 0.05 * abs(bound or 0.0)
    return 0.02


def between_blocks(blocks: Iterable[Estimate | None], confidence: float = CONFIDENCE) -> float:
    """The standard deviation of a metric from block to block that sampling noise does not explain.

    The variance of the blocks' values less the usual (median) one of their sampling variances, which their intervals
    tell: where tails are heavy, a few blocks alone know how much chance can do. 0 with fewer than two blocks in which
    the metric is defined.
    """
    known = [e for e in blocks if e is not None]
    if len(known) < 2:
        return 0.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    noise = median(((e.high - e.low) / (2 * z)) ** 2 for e in known)
    return float(max(0.0, variance(e.value for e in known) - noise) ** 0.5)


def effect_of_spread(metric: str, bound: float, blocks: Iterable[Estimate | None]) -> float:
    """The effect of a metric that the baseline's blocks each have a value of."""
    return max(floor(metric, bound), SPREADS * between_blocks(blocks))


def effect_of_distance(bound: float, shown: Iterable[float]) -> float:
    """The effect of a distance whose bound is `bound`, when blocks are `shown` so far from the rest of the baseline."""
    return max(0.0, MARGIN * max(shown, default=0.0) - bound)


def required(constraint: Constraint, estimate: Estimate, confidence: float) -> float:
    """How far beyond its bound a window must be, so that a window without drift is seldom as far.

    A window differs from the baseline by sampling, which its interval tells, and by what windows of its size differ by
    when nothing is wrong, which the blocks of the baseline told: the two add in quadrature, each at `confidence`.
    A distance is held against the farthest block instead, so its effect stays as it is.
    """
    metric = constraint.metric
    if metric in _NONE or metric == "domain_share" or constraint.effect == 0.0:
        return constraint.effect
    bound = constraint.low if constraint.low is not None else constraint.high
    least = floor(metric, bound)
    varies = constraint.effect * NormalDist().inv_cdf((1 + confidence) / 2) / SPREADS
    if constraint.effect <= least:  # the blocks vary by less than is worth a page
        return least
    reach = estimate.high - estimate.value if constraint.low is not None else estimate.value - estimate.low
    return max(least, math.hypot(varies, reach))
