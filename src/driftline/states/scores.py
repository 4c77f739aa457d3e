"""The scores of positives and of negatives, and what the scores lost.

The two distributions are histograms of bits (see `histogram` for the error of a bucket), from which come the ROC and
precision-recall curves. Log loss and Brier score are sums of per-row float64 values, exact in every order: the mean is
the float64 nearest to the mean of those values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.errors import Undefined
from driftline.kernels.reference import UNIT, exact_sums
from driftline.states.contingency import class_codes, class_name
from driftline.states.histogram import HistogramState
from driftline.states.packing import pack_integers, packed, unpack_integers, unpacked
from driftline.states.reading import Numbers, column_numbers, column_of
from driftline.states.rows import (
    NO_ROWS,
    ONE,
    Count,
    PackedCount,
    Weights,
    count_of,
    effective_size,
    square_sum,
    weights_of,
)

LIMIT: Final = 16384
_LEAST: Final = float(np.finfo(np.float64).eps)  # scores are taken as at least this far from 0 and 1 in the log loss

Floats = npt.NDArray[np.float64]


def _empty() -> HistogramState:
    return HistogramState(limit=LIMIT)


@dataclass(frozen=True, slots=True)
class ScoresState:
    """Scores by true class."""

    positive: HistogramState = field(default_factory=_empty)
    negative: HistogramState = field(default_factory=_empty)
    w2: int = 0  # sum of the squared weights of the rows with label and score, in units of 1 / ONE²
    log_loss: int = 0  # sum of w loss over the scores in [0, 1], in units of 2^-1074 / ONE
    log_loss2: int = 0  # sum of w loss², in units of 2^-2148 / ONE
    brier: int = 0
    brier2: int = 0
    missing: Count = NO_ROWS  # rows without a label or without a score
    outside: Count = NO_ROWS  # rows whose score is not in [0, 1]: in the histograms, but not in the losses

    @property
    def total(self) -> Count:
        """The rows with label and score."""
        return _rows(self.positive) + _rows(self.negative)

    @property
    def inside(self) -> Count:
        """The rows with label and a score in [0, 1]: those that have a loss."""
        total = self.total
        return Count(total.n - self.outside.n, total.w - self.outside.w)

    @property
    def effective(self) -> float:
        """How many rows of equal weight would tell as much; 0 for none."""
        return effective_size(self.total.w, self.w2)

    @property
    def log_loss_mean(self) -> float:
        """The mean log loss in nats. Raises Undefined when no score is in [0, 1]."""
        return self._mean(self.log_loss)

    @property
    def log_loss_variance(self) -> float:
        """The population variance of the rows' log loss. Raises Undefined when no score is in [0, 1]."""
        return self._variance(self.log_loss, self.log_loss2)

    @property
    def brier_mean(self) -> float:
        """The mean of (score - truth)². Raises Undefined when no score is in [0, 1]."""
        return self._mean(self.brier)

    @property
    def brier_variance(self) -> float:
        """The population variance of the rows' (score - truth)². Raises Undefined when no score is in [0, 1]."""
        return self._variance(self.brier, self.brier2)

    def _mean(self, s1: int) -> float:
        return s1 / (self._weight() << UNIT)

    def _variance(self, s1: int, s2: int) -> float:
        w = self._weight()
        return (s2 * w - s1 * s1) / ((w * w) << (2 * UNIT))

    def _weight(self) -> int:
        w = self.inside.w
        if w == 0:
            raise Undefined("there is no row with a label and a score in [0, 1]")
        return w

    def merge(self, other: ScoresState, /) -> ScoresState:
        """The rows of both."""
        return ScoresState(
            positive=self.positive.merge(other.positive),
            negative=self.negative.merge(other.negative),
            w2=self.w2 + other.w2,
            log_loss=self.log_loss + other.log_loss,
            log_loss2=self.log_loss2 + other.log_loss2,
            brier=self.brier + other.brier,
            brier2=self.brier2 + other.brier2,
            missing=self.missing + other.missing,
            outside=self.outside + other.outside,
        )

    def encode(self) -> bytes:
        """Equal states give equal bytes."""
        integers = pack_integers(self.w2, self.log_loss, self.log_loss2, self.brier, self.brier2)
        apart = ((self.missing.n, self.missing.w), (self.outside.n, self.outside.w))
        return packed("scores", (self.positive.encode(), self.negative.encode(), integers, *apart))

    @classmethod
    def decode(cls, data: bytes) -> ScoresState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        fields = unpacked("scores", data, tuple[bytes, bytes, list[bytes], PackedCount, PackedCount])
        positive, negative, integers, missing, outside = fields
        w2, log_loss, log_loss2, brier, brier2 = unpack_integers(integers, 5)
        return cls(
            positive=HistogramState.decode(positive),
            negative=HistogramState.decode(negative),
            w2=w2,
            log_loss=log_loss,
            log_loss2=log_loss2,
            brier=brier,
            brier2=brier2,
            missing=Count(*missing),
            outside=Count(*outside),
        )


def _rows(histogram: HistogramState) -> Count:
    return histogram.total + histogram.positive_infinity + histogram.negative_infinity


@dataclass(frozen=True, slots=True)
class Scores:
    """Keep the scores of rows whose label is `positive`, and of all others."""

    score: str
    label: str
    positive: str = "1"
    limit: int = LIMIT

    @property
    def columns(self) -> tuple[str, ...]:
        """Score and label."""
        return (self.score, self.label)

    def empty(self) -> ScoresState:
        """No rows."""
        return ScoresState(HistogramState(limit=self.limit), HistogramState(limit=self.limit))

    def of(self, batch: pa.RecordBatch, /) -> ScoresState:
        """The rows of `batch` that have label and score."""
        weights = weights_of(batch)
        codes, names = class_codes(column_of(batch, self.label))
        positive = class_name(self.positive)
        scores = column_numbers(column_of(batch, self.score), self.score)
        there = (codes >= 0) & ~np.isnan(scores)
        missing = count_of(batch.num_rows - int(there.sum()), weights, ~there)
        truth = (codes == names.index(positive))[there] if positive in names else np.zeros(int(there.sum()), bool)
        return self._state(scores[there], truth, None if weights is None else weights[there], missing)

    def _state(
        self, scores: Floats, truth: npt.NDArray[np.bool_], weights: Weights | None, missing: Count
    ) -> ScoresState:
        inside = (scores >= 0.0) & (scores <= 1.0)
        heavy = None if weights is None else weights[inside]
        probable = np.where(truth[inside], scores[inside], 1.0 - scores[inside])  # of what came true
        log_loss = _sums(-np.log(np.clip(probable, _LEAST, 1.0 - _LEAST)), heavy)
        brier = _sums((scores[inside] - truth[inside]) ** 2, heavy)
        return ScoresState(
            self._histogram(scores, weights, truth),
            self._histogram(scores, weights, ~truth),
            square_sum(len(scores), weights),
            *log_loss,
            *brier,
            missing,
            count_of(int((~inside).sum()), weights, ~inside),
        )

    def _histogram(self, scores: Floats, weights: Weights | None, chosen: npt.NDArray[np.bool_]) -> HistogramState:
        numbers = Numbers(scores[chosen], None if weights is None else weights[chosen])
        return HistogramState.of_ordered(numbers.ordered(), self.limit)

    def decode(self, data: bytes, /) -> ScoresState:
        """The state whose `encode` gave `data`. Raises Corrupt."""
        return ScoresState.decode(data)


def _sums(losses: Floats, weights: Weights | None) -> tuple[int, int]:
    s1, s2 = exact_sums(losses, weights)
    return (s1, s2) if weights is not None else (s1 * ONE, s2 * ONE)
