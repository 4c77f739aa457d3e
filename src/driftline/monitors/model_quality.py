"""Model quality: how good are the predictions, now that the labels have arrived?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

from driftline.constraints import Constraint
from driftline.errors import InputError
from driftline.metrics import classification, multiclass, ranking, regression
from driftline.metrics.metric import Measurement, Metric, measure
from driftline.monitors.effects import BEST, CONFIDENCE, effect_of_spread
from driftline.monitors.monitor import Profile
from driftline.schema import LABEL, PREDICTION, SCORE, ProblemType
from driftline.states.contingency import Contingency, ContingencyState
from driftline.states.residuals import Residuals, ResidualsState
from driftline.states.scores import Scores, ScoresState
from driftline.states.state import Plan

Metrics = tuple[Metric[Any], ...]

BINARY: Final[Metrics] = (
    classification.recall,
    classification.precision,
    classification.accuracy,
    classification.recall_best_constant_classifier,
    classification.precision_best_constant_classifier,
    classification.accuracy_best_constant_classifier,
    classification.true_positive_rate,
    classification.true_negative_rate,
    classification.false_positive_rate,
    classification.false_negative_rate,
    classification.f0_5,
    classification.f1,
    classification.f2,
    classification.f0_5_best_constant_classifier,
    classification.f1_best_constant_classifier,
    classification.f2_best_constant_classifier,
)
SCORED: Final[Metrics] = (
    ranking.auc,
    ranking.au_prc,
    ranking.log_loss,
    ranking.brier,
)
MULTICLASS: Final[Metrics] = (
    classification.accuracy,
    multiclass.weighted_recall,
    multiclass.weighted_precision,
    multiclass.weighted_f0_5,
    multiclass.weighted_f1,
    multiclass.weighted_f2,
    classification.accuracy_best_constant_classifier,
    multiclass.weighted_recall_best_constant_classifier,
    multiclass.weighted_precision_best_constant_classifier,
    multiclass.weighted_f0_5_best_constant_classifier,
    multiclass.weighted_f1_best_constant_classifier,
    multiclass.weighted_f2_best_constant_classifier,
)
REGRESSION: Final[Metrics] = (regression.mae, regression.mse, regression.rmse, regression.r2)

Side = Literal["low", "high"]

CONSTRAINED: Final[Mapping[ProblemType, Mapping[str, Side]]] = {
    ProblemType.BINARY: {
        "recall": "low",
        "precision": "low",
        "accuracy": "low",
        "true_positive_rate": "low",
        "true_negative_rate": "low",
        "false_positive_rate": "high",
        "false_negative_rate": "high",
        "auc": "low",
        "f0_5": "low",
        "f1": "low",
        "f2": "low",
    },
    ProblemType.REGRESSION: {"mae": "high", "mse": "high", "rmse": "high", "r2": "low"},
    ProblemType.MULTICLASS: {
        "accuracy": "low",
        "weighted_recall": "low",
        "weighted_precision": "low",
        "weighted_f0_5": "low",
        "weighted_f1": "low",
        "weighted_f2": "low",
    },
}
"""What is constrained by itself, and on which side the bound lies: Model Monitor's choice."""


_REMEDIES: Final = {
    "label": "write labels as 0 and 1 (1 is the positive class), or take MulticlassClassification",
    "prediction": "give the predicted class, 0 or 1 (a probability is not one), or take MulticlassClassification",
    "probability": "give the probability of class 1",
}


@dataclass(frozen=True, slots=True)
class Oddity:
    """Answers or labels that a binary problem has no place for."""

    what: str
    """label, prediction or probability"""
    rows: int
    of: int
    seen: str

    def __str__(self) -> str:
        plural = "probabilities" if self.what == "probability" else f"{self.what}s"
        return f"{self.rows} of {self.of} {plural} are {self.seen}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES[self.what]


@dataclass(frozen=True, slots=True)
class ModelQuality:
    """Hold predictions against labels."""

    kind: ClassVar[str] = "model-quality"
    problem: ProblemType
    prediction: bool = True
    """Whether there is a column of predictions; a binary problem may have scores alone."""
    score: bool = False
    """Whether there is a column with the probability of class `1`."""
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.problem is ProblemType.BINARY:
            if not self.prediction and not self.score:
                raise InputError("a binary problem needs predictions or probabilities; name one of the two")
        elif not self.prediction:
            raise InputError(f"problem type {self.problem} needs a column of predictions; name one")

    @property
    def contingency(self) -> Contingency:
        """The summary of a classification."""
        if self.prediction:
            return Contingency(LABEL, PREDICTION)
        return Contingency(LABEL, None, SCORE, self.threshold)

    @property
    def residuals(self) -> Residuals:
        """The summary of a regression."""
        return Residuals(PREDICTION, LABEL)

    @property
    def scores(self) -> Scores | None:
        """The summary of the probabilities, where there are some."""
        return Scores(SCORE, LABEL) if self.score and self.problem is ProblemType.BINARY else None

    def plan(self, columns: Sequence[str]) -> Plan:
        """Confusion counts or residuals, and the scores; the features are not looked at."""
        if self.problem is ProblemType.REGRESSION:
            return frozenset({self.residuals})
        return frozenset({self.contingency} | ({self.scores} if self.scores is not None else set()))

    def measure(self, current: Profile, baseline: Profile | None, confidence: float) -> Iterator[Measurement]:
        """Every metric of the problem type; those of the scores only where there are some."""
        for metric, state in self._asked(current):
            yield measure(metric, None, state, confidence=confidence)

    def suggest(self, whole: Profile, parts: Iterable[Profile]) -> Iterator[Constraint]:
        """The baseline's own value as the bound; its blocks say how much beyond it is nothing yet.

        Raises:
            InputError: a binary baseline (what has parts is one) whose labels are all of one class.
        """
        sides = CONSTRAINED[self.problem]
        blocks = [{m.metric: m.estimate for m in self.measure(part, None, CONFIDENCE)} for part in parts]
        if blocks:
            self._two_classes(whole)
        found = {m.metric: m.value for m in self.measure(whole, None, CONFIDENCE)}
        for name, side in sides.items():
            bound = found.get(name)
            if bound is None:
                continue
            effect = effect_of_spread(name, bound, [block[name] for block in blocks])
            low, high = (bound, None) if side == "low" else (None, bound)
            yield Constraint(name, None, low=low, high=high, effect=effect, best=BEST[name])

    def check(self, profile: Profile) -> None:
        """Refuse answers and labels that are not those of the problem type.

        Raises:
            InputError: no row has a label and an answer that can be compared, or most of them are none of a binary
                problem.
        """
        if self.problem is ProblemType.REGRESSION:
            residuals: ResidualsState = profile.states[self.residuals]
            _some(residuals.n, residuals.missing.n, "a number as its label and as its prediction")
            return
        contingency: ContingencyState = profile.states[self.contingency]
        what = "a label and a prediction" if self.prediction else "a label and a number as its probability"
        _some(contingency.total.n, contingency.missing.n, what)
        for odd in self.oddities(profile):
            if 2 * odd.rows > odd.of:
                raise InputError(f"{odd}; {odd.remedy}")

    def oddities(self, profile: Profile) -> Iterator[Oddity]:
        """What a binary problem has no place for; nothing where the problem is another.

        Two classes of labels, one of which is 1, are binary whatever the other is called.
        """
        if self.problem is not ProblemType.BINARY:
            return
        cells = profile.states[self.contingency].cells
        truths = {actual for actual, _ in cells}
        known = {"0", "1"} | (truths if len(truths) <= 2 and classification.POSITIVE in truths else set())
        for i, what in enumerate(("label", "prediction") if self.prediction else ("label",)):
            names = sorted({cell[i] for cell in cells} - known)
            rows = sum(count.n for cell, count in cells.items() if cell[i] not in known)
            listed = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
            if rows:
                yield Oddity(what, rows, profile.states[self.contingency].total.n, f"neither 0 nor 1 ({listed})")
        if self.scores is not None:
            scores: ScoresState = profile.states[self.scores]
            if scores.outside.n:
                edges = [edge for side in (scores.positive, scores.negative) for edge in side.lower_edges().tolist()]
                reach = f" (they go from {min(edges):.6g} to {max(edges):.6g})" if edges else ""
                yield Oddity("probability", scores.outside.n, scores.total.n, f"outside [0, 1]{reach}")

    def _two_classes(self, whole: Profile) -> None:
        if self.problem is not ProblemType.BINARY:
            return
        contingency: ContingencyState = whole.states[self.contingency]
        positives = sum(
            count.n for (actual, _), count in contingency.cells.items() if actual == classification.POSITIVE
        )
        total = contingency.total.n
        if total and positives in (0, total):
            which = f"none of the {total} labels is 1" if positives == 0 else f"all {total} labels are 1"
            raise InputError(
                f"{which}, and a baseline of one class says nothing of recall, precision or AUC; give rows of both "
                f"classes (is the label column the right one?)"
            )

    def _asked(self, profile: Profile) -> Iterator[tuple[Metric[Any], object]]:
        if self.problem is ProblemType.REGRESSION:
            yield from ((metric, profile.states[self.residuals]) for metric in REGRESSION)
            return
        metrics = BINARY if self.problem is ProblemType.BINARY else MULTICLASS
        yield from ((metric, profile.states[self.contingency]) for metric in metrics)
        if self.scores is not None:
            yield from ((metric, profile.states[self.scores]) for metric in SCORED)


def _some(rows: int, missing: int, what: str) -> None:
    if rows == 0 and missing > 0:
        raise InputError(f"none of the {missing} rows has {what}; are these the right columns or paths?")
