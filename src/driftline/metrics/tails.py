"""Quantiles of the beta and of Student's distribution, far out in the tail.

SciPy has them, too, but its import takes longer than all the rest of a check (`tests/reference` compares the two).
"""

from __future__ import annotations

from math import exp, isinf, lgamma, log1p, sqrt
from statistics import NormalDist
from typing import Final

_HALVINGS: Final = 64
_WIDEST: Final = 700.0  # log odds; the exponential of more does not fit into float64
_MANY: Final = 1e6
_TINY: Final = 1e-300
_STEPS: Final = 100_000


def beta_log_odds(tail: float, a: float, b: float) -> float:
    """The log odds of the point below which a beta variable of shape (a, b) lies with probability `tail`."""
    low, high = -_WIDEST, _WIDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, a, b) < tail else (low, middle)
    return (low + high) / 2


def beta_quantile(tail: float, a: float, b: float) -> float:
    """The point below which a beta variable of shape (a, b) lies with probability `tail`.

    >>> round(beta_quantile(0.05, 1.0, 1.0), 12), round(beta_quantile(0.01, 1.0, 2.0), 6)
    (0.05, 0.005013)
    """
    return 1 / (1 + exp(-beta_log_odds(tail, a, b)))


def student_quantile(tail: float, freedom: float) -> float:
    """The point above which Student's variable of so many degrees of freedom (not only whole ones) lies.

    >>> round(student_quantile(0.025, 10), 3), round(student_quantile(0.025, float("inf")), 3)
    (2.228, 1.96)
    """
    if isinf(freedom) or freedom > _MANY:
        return -NormalDist().inv_cdf(tail)
    return sqrt(freedom * exp(-beta_log_odds(2 * tail, freedom / 2, 0.5)))


def _below(log_odds: float, a: float, b: float) -> float:
    """The regularized incomplete beta function at the point of these log odds."""
    x, y = 1 / (1 + exp(-log_odds)), 1 / (1 + exp(log_odds))
    logs = -log1p(exp(-log_odds)) * a - log1p(exp(log_odds)) * b
    front = exp(logs + lgamma(a + b) - lgamma(a) - lgamma(b))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(y, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes, 6.4)."""
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    product = d
    for i in range(1, _STEPS):
        even = i * (b - i) * x / ((a + 2 * i - 1) * (a + 2 * i))
        odd = -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1))
        for step in (even, odd):
            d, c = 1 / _apart(1 + step * d), _apart(1 + step / c)
            product *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return product


def _apart(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
