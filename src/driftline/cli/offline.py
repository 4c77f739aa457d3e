"""`driftline baseline …` and `driftline check …`: one-off, without catalog or schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from driftline.cli.console import (
    PlaceText,
    Tidy,
    WindowText,
    as_json,
    counted,
    finish,
    progress,
    say,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from driftline.constraints import Mode
    from driftline.dataset.dataset import Side
    from driftline.runs.evaluate import Outcome
    from driftline.runs.oneoff import Checked
    from driftline.schema import Shape
    from driftline.windows import Window

Command = TypeVar("Command", bound=Callable[..., Any])
PROBLEMS = ("BinaryClassification", "MulticlassClassification", "Regression")
EXISTING = PlaceText(exists=True, path_type=Path)
FOLDER = PlaceText(file_okay=False, path_type=Path)
SCRIPT = click.Path(exists=True, path_type=Path)


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _shapes_of(ctx: click.Context, param: click.Parameter, said: tuple[str, ...]) -> dict[Side, Shape]:
    from typing import get_args

    from driftline.schema import Shape

    known: tuple[Shape, ...] = get_args(Shape)
    sides: tuple[Side, Side] = ("input", "output")
    places = {f"{side}={shape}": (side, shape) for side in sides for shape in known}
    for each in said:
        if each not in places:
            raise click.BadParameter(f"{each!r} is not input=SHAPE or output=SHAPE with one of {', '.join(known)}")
    return dict(places[each] for each in said)


_format = _together(
    click.option(
        "--format",
        "format_",
        type=click.Choice(["csv", "jsonl", "parquet"]),
        help="Format of the files. Default: told by their names.",
    ),
    click.option(
        "--header/--no-header",
        default=True,
        show_default=True,
        help="Whether CSV files have a header line. Without one the columns are called _c0, _c1, …",
    ),
)
_answers = _together(
    click.option("--prediction", metavar="COLUMN|INDEX|PATH", help="Where the predicted class or value stands."),
    click.option("--probability", metavar="COLUMN|INDEX|PATH", help="Where the probability of class 1 stands."),
    click.option(
        "--threshold",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="With a probability and no prediction, class 1 is predicted above it.",
    ),
)
_checked = _together(
    click.option("--baseline", "baseline_", type=FOLDER, required=True, help="Folder or URL of the baseline."),
    click.option("--output", type=FOLDER, required=True, help="Folder or URL for the report."),
    click.option(
        "--window", type=WindowText(), metavar="START/END", help="Only requests of this time (ISO 8601). Default: all."
    ),
    click.option(
        "--mode",
        type=click.Choice(["point", "confident"]),
        help="How to judge: the value alone, or its whole interval. "
        "Default: point for Model Monitor's baselines, confident for our own.",
    ),
    click.option(
        "--preprocess", type=SCRIPT, help="Script with Model Monitor's preprocess_handler, run in its own process."
    ),
)
_sides = click.option(
    "--sides",
    type=click.Choice(["input", "output", "both"]),
    help="Which payloads of captured records become columns. "
    "Default: both, or the input alone where it is CSV with as many columns as the baseline.",
)
_shapes = click.option(
    "--payload",
    "shapes",
    metavar="SIDE=SHAPE",
    multiple=True,
    callback=_shapes_of,
    help="How rows lie in the payloads of a side where guessing errs: input=document, output=csv, … (docs/servers.md).",
)
_engine = click.option(
    "--engine",
    metavar="local|URL",
    default="local",
    envvar="DRIFTLINE_ENGINE",
    show_default=True,
    help="Where the rows are read: this process, or a Spark (spark://host:port, local[*], sc://host:port).",
)
_problem = click.option("--problem-type", type=click.Choice(PROBLEMS), required=True, help="What the model is asked.")


@click.group(cls=Tidy)
def baseline() -> None:
    """Build a baseline: statistics and suggested constraints."""


@baseline.command("data-quality")
@click.argument("dataset", type=EXISTING)
@click.option("--output", type=FOLDER, required=True, help="Folder or URL for the baseline.")
@_sides
@_shapes
@_format
@_engine
@as_json
def baseline_data_quality(
    dataset: Path | str,
    output: Path | str,
    sides: str | None,
    shapes: dict[Side, Shape],
    format_: Literal["csv", "jsonl", "parquet"] | None,
    header: bool,
    engine: str,
    as_json: bool,
) -> None:
    """Learn what the columns of DATASET hold.

    DATASET is a CSV, JSON lines or Parquet file, a folder of them, or captured records; on disk, or in a bucket
    (s3://bucket/prefix, gs://…, az://…). Writes statistics.json and
    constraints.json (Model Monitor's format; edit the constraints as you like), baseline.json and states.bin.
    """
    from driftline.assemble import workshop
    from driftline.runs.oneoff import Source, baseline_of_data

    with progress("baseline") as bar, workshop(bar, engine) as shop:
        built = baseline_of_data(Source(dataset, format_, header, sides=_payloads(sides), shapes=shapes), output, shop)
    _show_baseline(built, as_json)


@baseline.command("model-quality")
@click.argument("dataset", type=EXISTING)
@_problem
@click.option("--label", metavar="COLUMN", required=True, help="Column of the true label.")
@_answers
@click.option("--output", type=FOLDER, required=True, help="Folder or URL for the baseline.")
@_format
@_engine
@as_json
def baseline_model_quality(
    dataset: Path | str,
    problem_type: str,
    label: str,
    prediction: str | None,
    probability: str | None,
    threshold: float,
    output: Path | str,
    format_: Literal["csv", "jsonl", "parquet"] | None,
    header: bool,
    engine: str,
    as_json: bool,
) -> None:
    """Learn how good the model is on DATASET, which holds predictions and labels in columns."""
    from driftline.assemble import workshop
    from driftline.dataset.dataset import Answers
    from driftline.runs.oneoff import Model, Source, Truth, baseline_of_quality
    from driftline.schema import ProblemType

    model = Model(ProblemType(problem_type), Answers(prediction, probability, threshold), Truth(column=label))
    with progress("baseline") as bar, workshop(bar, engine) as shop:
        built = baseline_of_quality(Source(dataset, format_, header), output, model, shop)
    _show_baseline(built, as_json)


@click.group(cls=Tidy)
def check() -> None:
    """Check data against a baseline, once."""


@check.command("data-quality")
@click.argument("source", type=EXISTING)
@_checked
@_sides
@_shapes
@_format
@_engine
@as_json
def check_data_quality(
    source: Path | str,
    baseline_: Path | str,
    output: Path | str,
    window: Window | None,
    mode: str | None,
    preprocess: Path | None,
    sides: str | None,
    shapes: dict[Side, Shape],
    format_: Literal["csv", "jsonl", "parquet"] | None,
    header: bool,
    engine: str,
    as_json: bool,
) -> None:
    """Check SOURCE (captured records, or dataset files) column by column.

    Exit status: 0 all constraints hold, 3 one is violated, 4 one is unknown and none is violated.
    """
    from driftline.assemble import workshop
    from driftline.runs.oneoff import Source, check_data

    found = Source(source, format_, header, window, preprocess, _payloads(sides), shapes)
    with progress("check") as bar, workshop(bar, engine) as shop:
        checked = check_data(found, baseline_, output, _mode(mode), shop)
    _show_check(checked, as_json)


@check.command("model-quality")
@click.argument("source", type=EXISTING)
@click.option("--labels", type=EXISTING, help="Ground truth: a file, a folder of them, or a URL (captured SOURCE).")
@click.option("--label", metavar="COLUMN", help="Column of the true label (dataset SOURCE).")
@click.option("--label-path", metavar="PATH", help="Path to the label inside JSON ground truth.")
@_problem
@_answers
@_checked
@_shapes
@_format
@_engine
@as_json
def check_model_quality(
    source: Path | str,
    labels: Path | str | None,
    label: str | None,
    label_path: str | None,
    problem_type: str,
    prediction: str | None,
    probability: str | None,
    threshold: float,
    baseline_: Path | str,
    output: Path | str,
    window: Window | None,
    mode: str | None,
    preprocess: Path | None,
    shapes: dict[Side, Shape],
    format_: Literal["csv", "jsonl", "parquet"] | None,
    header: bool,
    engine: str,
    as_json: bool,
) -> None:
    """Check how good the model was, with the labels that came since.

    SOURCE is captured records (then --labels says where the ground truth is, --prediction and --probability are an
    index into the CSV output or a path into the JSON output), or dataset files (then --label, --prediction and
    --probability are columns).

    Exit status: 0 all constraints hold, 3 one is violated, 4 one is unknown and none is violated.
    """
    from driftline.assemble import workshop
    from driftline.dataset.dataset import Answers
    from driftline.runs.oneoff import Model, Source, Truth, check_quality
    from driftline.schema import ProblemType

    if (labels is None) == (label is None):
        raise click.UsageError("say where the truth is: --labels PREFIX for captured records, or --label COLUMN")
    if label_path is not None and labels is None:
        raise click.UsageError("--label-path is a path inside ground-truth files; it needs --labels")
    found = Source(source, format_, header, window, preprocess, shapes=shapes)
    model = Model(
        ProblemType(problem_type),
        Answers(prediction, probability, threshold),
        Truth(labels=labels, column=label, path=label_path),
    )
    with progress("check") as bar, workshop(bar, engine) as shop:
        checked = check_quality(found, baseline_, output, _mode(mode), model, shop)
    _show_check(checked, as_json)


def _payloads(text: str | None) -> tuple[Side, ...] | None:
    return {None: None, "input": ("input",), "output": ("output",), "both": ("output", "input")}[text]


def _mode(text: str | None) -> Mode | None:
    from driftline.constraints import Mode

    return None if text is None else Mode(text)


FILES = {
    "statistics.json": "what the columns hold, or how good the model is (Model Monitor's format)",
    "constraints.json": "the bounds that follow (Model Monitor's format); edit it as you like",
    "baseline.json": "how it was built, and how much each metric varies by itself",
    "states.bin": "the states that later windows are compared with",
    "dead_letters.jsonl": "records that could not be read: file, line, reason",
}


def _show_baseline(built: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(built)
        return
    click.echo(f"{built['kind']} baseline of {counted(built['rows'], 'row')} written to {built['output']}")
    show_table(None, ("file", "what it holds"), [(name, FILES[name]) for name in built["files"]])
    for note in built.get("notes", ()):
        say(f"note: {note}")
    if built["dead_letters"]:
        letters = f"{built['output']}/dead_letters.jsonl"
        say(f"{counted(built['dead_letters'], 'record')} could not be read: file, line and reason stand in {letters}")


def _show_check(checked: Checked, as_json: bool) -> None:
    outcome = checked.outcome
    if as_json:
        show_json(checked.summary())
    else:
        _tell(checked, outcome)
    finish(outcome.verdict.value)


def _tell(checked: Checked, outcome: Outcome) -> None:
    counts = checked.counts()
    click.echo(
        f"{outcome.verdict.value}: {counts['violated']} violated, {counts['unknown']} unknown, {counts['holds']} hold "
        f"(mode {outcome.mode.value}); report in {checked.output}"
    )
    if outcome.reason:
        click.echo(outcome.reason)
    bad = (j for j in outcome.judgements if j.verdict.value != "holds")
    told = sorted(bad, key=lambda j: j.verdict.value != "violated")
    rows = [(j.verdict.value, j.constraint.column or "(all)", j.reason) for j in told[:20]]
    if rows:
        show_table(None, ("verdict", "column", "why"), rows)
    if len(told) > len(rows):
        click.echo(f"and {len(told) - len(rows)} more: see {checked.output}/report.json")
    for note in outcome.notes:
        say(f"note: {note}")
    for what, count in checked.lost().items():
        say(f"{count:,} {what}")
