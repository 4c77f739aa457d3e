"""What a run leaves behind: Model Monitor's files, and `report.json` with intervals, losses and frequent values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from driftline import __version__
from driftline.constraints import Verdict
from driftline.dataset.dataset import Coverage, Decoded, Intake
from driftline.dialects.sagemaker_files import (
    VIOLATIONS,
    quality_constraints,
    standard_deviations,
    suggested_constraints,
    violations,
    write_constraints,
    write_quality_statistics,
    write_statistics,
    write_violations,
)
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Profile
from driftline.runs.evaluate import Outcome, Question
from driftline.runs.losses import NOT_KNOWN, Losses
from driftline.states.column import Column, ColumnState
from driftline.states.frequent import FrequentState
from driftline.windows import Window

VERSION = 0
_FREQUENT: Final = 10  # values of a column that are told at most
_ROWS_A_VALUE: Final = 10  # what fewer rows have may be somebody's name, and is no news
REPORT: Final = (
    "statistics.json",
    "constraints.json",
    VIOLATIONS,
    "dead_letters.jsonl",
    "dead_labels.jsonl",
    "report.json",
)
"""All files that a report may have; one that it has not must not be left over from an earlier one."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the rows of a run came from, and what became of every record."""

    predictions: Decoded
    labels: Decoded | None = None
    window: Window | None = None
    losses: Losses = NOT_KNOWN
    """What capture itself says that it lost."""
    fingerprint: str | None = None
    """Of the inputs: the revision of the run."""


@dataclass(frozen=True, slots=True)
class About:
    """What the report is about."""

    monitor: str
    endpoint: str | None = None
    scheduled_at: datetime | None = None


def report_files(outcome: Outcome, question: Question, inputs: Inputs, about: About, now: datetime) -> dict[str, bytes]:
    """The files of the report by name; `constraint_violations.json` only where there are violations."""
    files: dict[str, bytes] = {}
    deviations: Mapping[str, float | None] = {}
    monitor, profile = question.monitor, outcome.profile
    if profile is not None:
        if isinstance(monitor, ModelQuality):
            deviations = standard_deviations(monitor, profile)
            suggested = quality_constraints(monitor.problem, monitor.suggest(profile, ()))
            files["statistics.json"] = write_quality_statistics(monitor, profile, now)
            files["constraints.json"] = write_constraints(suggested)
        else:
            files["statistics.json"] = write_statistics(profile)
            files["constraints.json"] = write_constraints(suggested_constraints(profile))
    columns = () if profile is None else profile.columns
    found = write_violations(violations(outcome.judgements, question.baseline.constraints, columns, deviations))
    if found is not None:
        files[VIOLATIONS] = found
    files["report.json"] = _json(_report(outcome, question, inputs, about, now))
    for name, decoded in (("dead_letters.jsonl", inputs.predictions), ("dead_labels.jsonl", inputs.labels)):
        if decoded is not None and decoded.dead_letters is not None and decoded.intake.dead:
            files[name] = decoded.dead_letters.read_bytes()
    return files


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _report(outcome: Outcome, question: Question, inputs: Inputs, about: About, now: datetime) -> dict[str, Any]:
    counts = {v.value: sum(j.verdict is v for j in outcome.judgements) for v in Verdict}
    judged = {(j.constraint.metric, j.constraint.column): j for j in outcome.judgements}
    return {
        "version": VERSION,
        "driftline": __version__,
        "monitor": about.monitor,
        "kind": question.monitor.kind,
        "endpoint": about.endpoint,
        "window": None if inputs.window is None else {"start": inputs.window.start, "end": inputs.window.end},
        "scheduled_at": about.scheduled_at,
        "evaluated_at": now,
        "revision": inputs.fingerprint,
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
        "notes": [*outcome.notes, *filter(None, [inputs.losses.note])],
        "mode": outcome.mode.value,
        "constraints": counts,
        "false_alarms": {
            "budget_per_window": question.budget,
            "tests": len(outcome.judgements),
            "confidence_per_test": outcome.confidence,
            "note": "at most so many windows without drift raise a false alarm, if judged in mode confident",
        },
        "baseline": {"from": question.baseline.where, "digest": question.baseline.digest},
        "inputs": inputs_told(inputs, outcome.coverage),
        "violations": [
            {"metric": j.constraint.metric, "column": j.constraint.column, "reason": j.reason} for j in outcome.violated
        ],
        "measurements": [
            {
                "metric": m.metric,
                "column": m.column,
                "value": m.value,
                "low": None if m.estimate is None else m.estimate.low,
                "high": None if m.estimate is None else m.estimate.high,
                "undefined": m.reason,
                **_judgement(judged.get((m.metric, m.column))),
            }
            for m in outcome.measurements
        ],
        "frequent": [] if outcome.profile is None else _frequent(outcome.profile),
    }


def _frequent(profile: Profile) -> list[dict[str, Any]]:
    """The most frequent values of every column of texts."""
    columns = {name: profile.states[Column(name)] for name in profile.columns if Column(name) in profile.states}
    return [
        {"column": name, "exact": column.values.exact, "distinct": column.values.distinct, "values": _told(column)}
        for name, column in columns.items()
        if column.values is not None and column.kinds.boolean.n < column.kinds.present.n
    ]


def _told(column: ColumnState) -> list[dict[str, Any]]:
    values, rows = column.values or FrequentState(), column.kinds.present.n
    found = [value for value in values.frequent() if value.count >= _ROWS_A_VALUE]
    return [
        {
            "value": value.value if value.whole else f"{value.value}…",
            "whole": value.whole,
            "count": value.count,
            "share": value.count / rows,
            "error": value.error / rows,
        }
        for value in found[:_FREQUENT]
    ]


def inputs_told(inputs: Inputs, coverage: Coverage | None) -> dict[str, Any]:
    """What became of every record, for programs."""
    return {
        "predictions": _intake(inputs.predictions.intake),
        "labels": None if inputs.labels is None else _intake(inputs.labels.intake),
        "coverage": _coverage(coverage),
        "lost_by_capture": inputs.losses.by_reason,
        "capture": inputs.losses.told(),
    }


def _judgement(judgement: Any) -> dict[str, Any]:
    if judgement is None:
        return {}
    constraint = judgement.constraint
    return {
        "verdict": judgement.verdict.value,
        "bounds": [constraint.low, constraint.high],
        "effect": constraint.effect,
        "judged": judgement.reason,
    }


def _intake(intake: Intake) -> dict[str, Any]:
    told: dict[str, Any] = {name: getattr(intake, name) for name in intake.__slots__ if not name.endswith("_weight")}
    told |= {"reasons": dict(intake.reasons), "statuses": dict(intake.statuses)}
    return told | ({} if intake.error_share is None else {"error_share": intake.error_share})


def _coverage(coverage: Coverage | None) -> dict[str, Any] | None:
    if coverage is None:
        return None
    share = coverage.labelled / coverage.predictions if coverage.predictions else None
    return {**{name: getattr(coverage, name) for name in coverage.__slots__}, "labelled_share": share}
