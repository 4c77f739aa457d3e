"""One monitor over one set of rows: fold, measure, judge. Who calls it says where the rows came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftline.constraints import Constraint, Judgement, Mode, Verdict, judge, overall, per_test_confidence
from driftline.dataset.dataset import Coverage, Dataset, Join, Progress
from driftline.dialects.sagemaker_files import DataConstraints, QualityConstraints, constraints_of
from driftline.engines.engine import Engine
from driftline.errors import InputError
from driftline.metrics.metric import Measurement
from driftline.monitors.effects import required
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Monitor, Profile
from driftline.runs.baseline import Baseline

CHECK_BUDGET = 0.01
"""Probability of any false alarm in a window without drift, where nobody states a budget."""
UNCONSTRAINED_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found."""

    verdict: Verdict
    reason: str | None
    """Why the verdict is not `holds`, in a line: what is violated, what lacks evidence, no data, labels pending."""
    mode: Mode
    confidence: float
    """Of every interval: the false-alarm budget shared out among the constraints."""
    measurements: tuple[Measurement, ...]
    judgements: tuple[Judgement, ...]
    profile: Profile | None
    coverage: Coverage | None
    notes: tuple[str, ...] = ()
    """What a reader should know of the answers and labels beside the verdict."""

    @property
    def violated(self) -> list[Judgement]:
        """The judgements that are violations."""
        return [j for j in self.judgements if j.verdict is Verdict.VIOLATED]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a monitor against a baseline, in a mode, with a false-alarm budget per window."""

    monitor: Monitor
    baseline: Baseline
    mode: Mode
    budget: float = CHECK_BUDGET
    metrics: tuple[str, ...] | None = None
    """Judge only these metrics; None: all that have a constraint. Fewer tests share the budget, so each sees more."""
    columns: tuple[str, ...] | None = None

    def constraints(self, rows: int) -> tuple[Constraint, ...]:
        """The constraints of the baseline in this mode, for a window of so many rows."""
        found = constraints_of(self.baseline.constraints, self.mode, self.baseline.effects(rows))
        return tuple(
            c
            for c in found
            if (self.metrics is None or c.metric in self.metrics)
            and (self.columns is None or c.column in self.columns)
            and self.baseline.speaks_of(c)
        )


def evaluate(question: Question, dataset: Dataset, engine: Engine, progress: Progress | None = None) -> Outcome:
    """Fold the rows once, measure them, and hold every constraint of the baseline against them.

    No rows, rows without any label, and labels that are not those of the problem type are verdicts (`unknown`, with the
    reason), not failures.

    Raises:
        InputError: the baseline is another model's.
    """
    table = dataset.predictions if isinstance(dataset, Join) else dataset
    if table.rows == 0:
        return nothing(question, "no data: the window has no rows")
    if isinstance(dataset, Join) and dataset.labels.rows == 0:
        return nothing(
            question,
            f"labels pending: {table.rows} predictions, and no label yet",
            Coverage(predictions=table.rows, labelled=0, labels=0, unmatched_labels=0),
        )
    _same_model(question, table.columns)
    columns = table.columns if question.monitor.kind == "data-quality" else ()
    folded = engine.fold(question.monitor.plan(columns), dataset, progress)
    coverage = folded.coverage
    if coverage is not None and coverage.labelled == 0:
        return nothing(
            question,
            f"labels pending: none of {coverage.labels} labels belongs to one of the {coverage.predictions} "
            f"predictions of the window",
            coverage,
        )
    profile = Profile(folded.states, tuple(columns))
    if isinstance(question.monitor, ModelQuality):
        try:
            question.monitor.check(profile)
        except InputError as why:
            return nothing(question, str(why), coverage)
    outcome = judged(question, profile, table.rows if coverage is None else coverage.labelled, coverage)
    if isinstance(question.monitor, ModelQuality):
        notes = tuple(f"{odd}; {odd.remedy}" for odd in question.monitor.oddities(profile))
        return replace(outcome, notes=notes)
    return outcome


def judged(question: Question, profile: Profile, rows: int, coverage: Coverage | None) -> Outcome:
    """What the profile of a window of so many rows says."""
    constraints = question.constraints(rows)
    confidence = per_test_confidence(question.budget, len(constraints)) if constraints else UNCONSTRAINED_CONFIDENCE
    measurements = tuple(question.monitor.measure(profile, question.baseline.profile, confidence))
    measurements += _unmeasured(measurements, constraints)
    known = {(m.metric, m.column): m for m in measurements}
    judgements = tuple(
        _judge(question, c, known[c.metric, c.column], confidence=confidence, rows=rows) for c in constraints
    )
    verdict = overall(judgements) if judgements else Verdict.UNKNOWN
    reason = _summary(verdict, judgements)
    return Outcome(verdict, reason, question.mode, confidence, measurements, judgements, profile, coverage)


def _summary(verdict: Verdict, judgements: Sequence[Judgement]) -> str | None:
    if not judgements:
        return "there is no constraint to judge: the baseline has none, or all are switched off"
    if verdict is Verdict.HOLDS:
        return None
    named = [j.constraint for j in judgements if j.verdict is verdict]
    listed = ", ".join(c.metric if c.column is None else f"{c.metric} of {c.column}" for c in named[:3])
    what = "violated" if verdict is Verdict.VIOLATED else "without enough evidence or a value"
    return f"{len(named)} of {len(judgements)} constraints {what}: {listed}{', …' if len(named) > 3 else ''}"


def _judge(
    question: Question, constraint: Constraint, measurement: Measurement, *, confidence: float, rows: int
) -> Judgement:
    if measurement.estimate is not None and question.mode is Mode.CONFIDENT:
        constraint = replace(constraint, effect=required(constraint, measurement.estimate, confidence))
    return judge(constraint, measurement, question.mode, confidence=confidence, rows=rows)


def nothing(question: Question, reason: str, coverage: Coverage | None = None) -> Outcome:
    """The outcome of a window that says nothing."""
    return Outcome(
        verdict=Verdict.UNKNOWN,
        reason=reason,
        mode=question.mode,
        confidence=UNCONSTRAINED_CONFIDENCE,
        measurements=(),
        judgements=(),
        profile=None,
        coverage=coverage,
    )


def _unmeasured(measured: Sequence[Measurement], constraints: Sequence[Constraint]) -> tuple[Measurement, ...]:
    known = {(m.metric, m.column) for m in measured}
    wanted = dict.fromkeys((c.metric, c.column) for c in constraints)
    return tuple(
        Measurement(metric, column, None, f"no metric {metric!r} is measured here")
        for metric, column in wanted
        if (metric, column) not in known
    )


def same_kind(question: Question) -> None:
    """Refuse a baseline of another kind or problem type. Raises InputError."""
    constraints, monitor = question.baseline.constraints, question.monitor
    fits = DataConstraints if monitor.kind == "data-quality" else QualityConstraints
    if not isinstance(constraints, fits):
        raise InputError(
            f"{question.baseline.where} is not a baseline for {monitor.kind}: its constraints.json is about "
            f"{'columns' if isinstance(constraints, DataConstraints) else 'model quality'}; "
            f"build one with `driftline baseline {monitor.kind}`"
        )
    if isinstance(monitor, ModelQuality) and question.baseline.problem is not monitor.problem:
        raise InputError(
            f"{question.baseline.where} is a baseline for {question.baseline.problem}, but the problem type here is "
            f"{monitor.problem}"
        )


def _same_model(question: Question, columns: Sequence[str]) -> None:
    """Refuse a baseline that shares no column with the data."""
    same_kind(question)
    constraints = question.baseline.constraints
    if isinstance(constraints, DataConstraints) and constraints.names and not set(constraints.names) & set(columns):
        raise InputError(
            f"{question.baseline.where} seems to describe another model: none of its {len(constraints.names)} columns "
            f"({_some(constraints.names)}) is in the data, which has {_some(columns)}; "
            f"give the baseline that was built from this model's data"
        )


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:5])
    return f"{listed}, …" if len(names) > 5 else listed or "no columns"
