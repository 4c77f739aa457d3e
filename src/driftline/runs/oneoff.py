"""A baseline or a check asked for once, of files somebody points at: no catalog, no schedule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from driftline.constraints import Mode, Verdict
from driftline.dataset.dataset import Answers, Captured, Dataset, Decoded, Files, Intake, Join, Progress, Side
from driftline.dataset.decode import decode
from driftline.dataset.decode_labels import decode_labels
from driftline.engines.engine import Engine
from driftline.errors import InputError
from driftline.monitors.data_quality import DataQuality
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Monitor
from driftline.objects.places import store_at
from driftline.runs.baseline import build, load, save
from driftline.runs.evaluate import Outcome, Question, evaluate, same_kind
from driftline.runs.fetched import here, parquet_at
from driftline.runs.report import REPORT, About, Inputs, inputs_told, report_files
from driftline.runs.source import Format, captured_in, data_files, ending_of, labels_for, resolve
from driftline.schema import ProblemType, Shape
from driftline.windows import Window

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the work is done with: an engine, a scratch folder, the time, and whom to tell how far it is."""

    engine: Engine
    scratch: Path
    now: datetime
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The data somebody points at, and how to read it."""

    path: Path | str
    """A file, a folder, or the URL of objects."""
    format: Format | None = None
    header: bool = True
    window: Window | None = None
    preprocess: Path | None = None
    sides: tuple[Side, ...] | None = None
    """Of captured records: which payloads become columns; None: as `Captured` says."""
    shapes: Mapping[Side, Shape] = field(default_factory=dict)
    """Of captured records: how rows lie in the payloads of a side, where that is not to be guessed."""

    def found(self, scratch: Path, names: tuple[str, ...] | None = None) -> Files | Captured:
        """The source, whose objects are read in place (Parquet), or copied to `scratch`.

        Args:
            names: of CSV columns that have none of their own.
        """
        source = self._resolved(scratch)
        if isinstance(source, Captured):
            paths = source.paths if self.window is None else captured_in(source.paths, self.window)
            return replace(
                source, paths=paths, window=self.window, names=names, preprocess=self.preprocess, sides=self.sides,
                shapes=self.shapes,
            )  # fmt: skip
        if self.window is not None or self.preprocess is not None or self.sides is not None or self.shapes:
            raise InputError(
                f"{self.path} is a dataset, not captured records: it has no times for a window, no records for a "
                f"preprocess script, and no input or output; leave out --window, --preprocess, --sides and --payload"
            )
        return source

    def _resolved(self, scratch: Path) -> Files | Captured:
        objects = parquet_at(self.path) if self.format in (None, "parquet") else None
        if objects is not None:
            return Files((), "parquet", self.header, objects)
        return resolve(here(self.path, scratch, self.window), format=self.format, header=self.header)


@dataclass(frozen=True, slots=True)
class Truth:
    """Where the labels are: ground-truth files (a file or folder), or a column of the dataset itself."""

    labels: Path | str | None = None
    column: str | None = None
    path: str | None = None
    """Path to the label inside a JSON ground-truth record."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a model is asked for, where its answers stand, and where the truth is."""

    problem: ProblemType
    answers: Answers
    truth: Truth


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, and where its report is."""

    outcome: Outcome
    inputs: Inputs
    output: Path | str
    files: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """How many constraints hold, are violated, or unknown."""
        return {v.value: sum(j.verdict is v for j in self.outcome.judgements) for v in Verdict}

    def lost(self) -> dict[str, int]:
        """Records that are not among the rows, in words, with their number."""
        found: dict[str, int] = {}
        for what, decoded in (("records", self.inputs.predictions), ("labels", self.inputs.labels)):
            if decoded is None:
                continue
            intake = decoded.intake
            found[f"{what} could not be read (dead letters in {self.output})"] = intake.dead
            found[f"{what} are answers with an error status{_share_of(intake)}: they make no rows"] = intake.errors
            found[f"{what} lie outside the window"] = intake.outside
            found[f"{what} came twice and count once"] = intake.duplicates
            found[f"{what} contradict an earlier one; the last one counts"] = intake.contradictions
        return {what: count for what, count in found.items() if count}

    def summary(self) -> dict[str, Any]:
        """The result for programs."""
        outcome = self.outcome
        return {
            "verdict": outcome.verdict.value,
            "reason": outcome.reason,
            "notes": list(outcome.notes),
            "mode": outcome.mode.value,
            "constraints": self.counts(),
            "rows": self.inputs.predictions.table.rows,
            "inputs": inputs_told(self.inputs, outcome.coverage),
            "violations": [
                {"metric": j.constraint.metric, "column": j.constraint.column, "reason": j.reason}
                for j in outcome.violated
            ],
            "output": str(self.output),
            "files": list(self.files),
        }


def baseline_of_data(source: Source, output: Path | str, shop: Workshop) -> dict[str, Any]:
    """Build a data-quality baseline of the source in the folder `output`."""
    found = source.found(shop.scratch)
    decoded = decode(found, shop.scratch / "rows", progress=shop.progress)
    notes = _doubts(found, decoded.table.columns) if isinstance(found, Files) and found.format == "csv" else []
    return {**_built(DataQuality(), decoded, output, shop), "notes": notes}


def _doubts(files: Files, columns: tuple[str, ...]) -> list[str]:
    """What makes a CSV header look like none. Raises InputError where the fields are not separated by commas."""
    file = files.paths[0]
    if not files.header:
        return []
    for mark, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(columns) == 1 and mark in columns[0]:
            raise InputError(
                f"{file}, line 1: one column, called {columns[0]!r}: its fields seem to be separated by {called}; "
                f"CSV is read with commas, so write the file with them"
            )
    if not all(_NUMBER.fullmatch(name.strip()) for name in columns):
        return []
    which = f"the name of the one column is a number ({columns[0]!r})"
    if len(columns) > 1:
        which = f"the names of all {len(columns)} columns are numbers ({columns[0]!r}, {columns[1]!r}, …)"
    return [f"{file}, line 1: {which}; if this line is data, build the baseline again with --no-header"]


def baseline_of_quality(source: Source, output: Path | str, model: Model, shop: Workshop) -> dict[str, Any]:
    """Build a model-quality baseline of a dataset with predictions and labels in columns."""
    monitor, label = quality_monitor(model.problem, model.answers), model.truth.column
    decoded = decode(
        source.found(shop.scratch), shop.scratch / "rows", answers=model.answers, label=label, progress=shop.progress
    )
    given = {"label": label, "prediction": model.answers.prediction, "probability": model.answers.score}
    return _built(monitor, decoded, output, shop, {what: name for what, name in given.items() if name is not None})


def _built(
    monitor: Monitor, decoded: Decoded, output: Path | str, shop: Workshop, named: Mapping[str, str] | None = None
) -> dict[str, Any]:
    files = build(monitor, decoded, shop.engine, shop.now, shop.progress, named)
    if decoded.intake.dead and decoded.dead_letters is not None:
        files["dead_letters.jsonl"] = decoded.dead_letters.read_bytes()
    save(files, output)
    if "dead_letters.jsonl" not in files:
        store_at(output).delete("dead_letters.jsonl")
    return {
        "kind": monitor.kind,
        "output": str(output),
        "rows": decoded.table.rows,
        "dead_letters": decoded.intake.dead,
        "files": sorted(files),
    }


def _share_of(intake: Intake) -> str:
    share = intake.error_share
    return "" if share is None else f" ({share:.2%} of the requests)"


def quality_monitor(problem: ProblemType, answers: Answers) -> ModelQuality:
    """The model-quality monitor for these answers.

    Raises:
        InputError: the answers do not fit the problem.
    """
    if answers.prediction is None and answers.score is None:
        raise InputError("say where the model's answers stand: --prediction, or --probability, or both")
    if problem is not ProblemType.BINARY and answers.prediction is None:
        raise InputError(f"{problem} needs --prediction: the predicted {'value' if 'Reg' in problem else 'class'}")
    return ModelQuality(
        problem=problem,
        prediction=answers.prediction is not None,
        score=answers.score is not None and problem is ProblemType.BINARY,
        threshold=answers.threshold,
    )


def _apart(output: Path | str, baseline: Path | str) -> None:
    """A report has a statistics.json and a constraints.json too: it must not be written over the baseline."""
    if isinstance(output, Path) and isinstance(baseline, Path):
        same = output.exists() and baseline.exists() and output.samefile(baseline)
    else:
        same = str(output).rstrip("/") == str(baseline).rstrip("/")
    if same:
        raise InputError(
            f"--output {output} is the folder of the baseline, which the report would overwrite; give another"
        )


def check_data(source: Source, baseline: Path | str, output: Path | str, mode: Mode | None, shop: Workshop) -> Checked:
    """Check the source column by column against the data-quality baseline in the folder `baseline`."""
    _apart(output, baseline)
    against = load(baseline)
    question = Question(against.data_quality(), against, mode or against.mode)
    same_kind(question)
    decoded = decode(source.found(shop.scratch, against.names), shop.scratch / "rows", progress=shop.progress)
    inputs = Inputs(decoded, window=source.window)
    return _checked(question, decoded.table, inputs, output, shop)


def check_quality(
    source: Source, baseline: Path | str, output: Path | str, mode: Mode | None, model: Model, shop: Workshop
) -> Checked:
    """Check how good the model was against the model-quality baseline in the folder `baseline`."""
    monitor, truth = quality_monitor(model.problem, model.answers), model.truth
    _apart(output, baseline)
    against = load(baseline)
    question = Question(monitor, against, mode or against.mode)
    same_kind(question)
    found = source.found(shop.scratch)
    if isinstance(found, Captured) != (truth.labels is not None):
        what, need = ("captured records", "--labels") if isinstance(found, Captured) else ("a dataset", "--label")
        raise InputError(f"{source.path} is {what}: say where the truth is with {need}")
    decoded = decode(found, shop.scratch / "rows", answers=model.answers, label=truth.column, progress=shop.progress)
    dataset: Dataset = decoded.table
    labels = None
    if truth.labels is not None:
        below = here(truth.labels, shop.scratch, source.window, later=True)
        given = tuple(data_files(below))
        odd = [file for file in given if ending_of(file) not in (".jsonl", ".json")]
        if odd and below.is_file():
            raise InputError(
                f"{odd[0]} is not ground truth in Model Monitor's format (JSON lines); a table of ids and labels is "
                f"turned into it by `driftline labels put`"
            )
        files = labels_for(tuple(file for file in given if file not in odd), source.window)
        if not files:
            raise InputError(f"{truth.labels}: there is no ground-truth file (.jsonl) for this window")
        labels = decode_labels(files, shop.scratch / "labels", path=truth.path, progress=shop.progress)
        dataset = Join(decoded.table, labels.table)
    return _checked(question, dataset, Inputs(decoded, labels, source.window), output, shop)


def _checked(question: Question, dataset: Dataset, inputs: Inputs, output: Path | str, shop: Workshop) -> Checked:
    outcome = evaluate(question, dataset, shop.engine, shop.progress)
    files = report_files(outcome, question, inputs, About(monitor=question.monitor.kind), shop.now)
    write_report(files, output)
    return Checked(outcome, inputs, output, tuple(sorted(files)))


def write_report(files: Mapping[str, bytes], place: Path | str) -> None:
    """Write the report to `place`, a folder or a URL; nothing of an earlier check stays behind."""
    store = store_at(place)
    for name, data in files.items():
        store.put(name, data)
    for name in REPORT:
        if name not in files:
            store.delete(name)
