"""The demo: a summer of flights against a model from the winter. Everything is real but the clock, which is advanced.

Each day its flights are asked about over HTTP; at five in the morning the labels of those that have landed are
uploaded, and the worker does what is due. What it decides, nobody here knows in advance.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from driftline.assemble import App, opened, workshop
from driftline.constraints import Verdict
from driftline.dataset.dataset import Answers
from driftline.dataset.labels import put_labels
from driftline.demo.flights import COLUMNS, Flights, local, read_flights
from driftline.demo.hook import listening
from driftline.demo.model import Model, load, save, train
from driftline.demo.plot import draw
from driftline.demo.service import ENDPOINT, MODEL_FILE, Clock
from driftline.demo.story import INPUTS, QUALITY, Story, days_of, had_it_stayed, require_days
from driftline.demo.telling import DECAY, Played, Teller, changes, firing_periods, means
from driftline.demo.traffic import Endpoint, serving
from driftline.errors import InputError
from driftline.planfile import read_plan
from driftline.runs.oneoff import Model as Asked
from driftline.runs.oneoff import Source, Truth, baseline_of_data, baseline_of_quality
from driftline.runs.run import check_plan
from driftline.schema import ProblemType
from driftline.worker import Tick, tick

LEARNED: Final = (date(2013, 1, 1), date(2013, 2, 28))
PLAYED: Final = (date(2013, 7, 1), date(2013, 8, 20))
SHARE: Final = (2, 3)
"""Of every three flights two are asked about."""
THRESHOLD: Final = 0.3
NIGHT_HOUR: Final = 5
"""Local hour of the labels and of the worker: nearly all flights are down, and the first is not yet up."""
SECRET: Final = "FLIGHTS_HOOK_SECRET"  # noqa: S105  the name of the variable, not the secret
MARK: Final = ".driftline-demo"

PLAN: Final = """\
# What `driftline apply` was given in this demo. Copy it for an endpoint of your own.
version: 1

endpoints:
  {endpoint}:
    problem_type: BinaryClassification
    probability: 0            # the first (and only) value of each answer
    threshold: {threshold}

baselines:
  {inputs}: baselines/inputs      # driftline baseline data-quality january-february.csv
  {quality}: baselines/quality      # driftline baseline model-quality held-out.csv --label late …

monitors:
  {inputs}:
    kind: data-quality
    endpoint: {endpoint}
    baseline: {inputs}
    schedule: {{cron: "0 0 * * *", zone: America/New_York, grace: PT5H}}
  {quality}:
    kind: model-quality
    endpoint: {endpoint}
    baseline: {quality}
    # The other metrics are measured as well, but they follow the share of late flights, which the season moves.
    metrics: [auc]
    # The default is one in ten months: sure, but slower (here seven weeks). Who looks every month may be told sooner.
    false_alarms_per_month: 1
    # Most flights have landed five hours after midnight; the labels of the others make a new revision of the run.
    schedule: {{cron: "0 0 * * *", zone: America/New_York, grace: PT5H, late: PT30H}}

channels:
  team: {{kind: webhook, url: "{url}", secret_env: {secret}}}
  retrain:
    kind: command
    command: {command}
    cooldown: P14D

alarms:
  flights-decay:
    monitor: {quality}
    datapoints: 3             # so many of the last
    of: 7                     # windows that could be judged
    clear: 3                  # so many good ones in a row
    notify: [team]
    act: [retrain]
  flights-inputs-moved:
    monitor: {inputs}
    datapoints: 2
    of: 3
    notify: [team]
"""


@dataclass
class Stage:
    """What is needed while the play is on."""

    folder: Path
    app: App
    clock: Clock
    endpoint: Endpoint
    flights: Flights
    first: Model
    due: list[tuple[datetime, str, int]] = field(default_factory=list)
    """Flights that were asked about and whose label is not uploaded yet: landing time, id, truth."""
    labels: int = 0
    runs: int = 0
    served: list[tuple[date, str]] = field(default_factory=list)
    """From which day which model answered."""


def play(
    folder: Path, *, quiet: bool = False, days: tuple[date, date] = PLAYED, share: tuple[int, int] = SHARE
) -> Played:
    """Play the days, and leave everything in `folder`: plan, baselines, model, captured requests, reports, plot.

    Args:
        folder: new, empty, or of an earlier demo (which is replaced).
        quiet: print nothing.
        days: first and last day, both included.
        share: (2, 3) asks about two of every three flights.

    Raises:
        InputError: the folder holds something else.
    """
    began = perf_counter()
    teller = Teller(quiet)
    with staged(folder.absolute(), days, share, teller) as stage:
        for day, flights in stage.flights.by_day():
            done = night(stage, day, flights)
            teller.day(day, len(flights), done, stage.app.catalog)
        story = story_of(stage)
        played = _played(stage, story, draw(story, stage.folder), perf_counter() - began)
    teller.ending(played)
    return played


@contextmanager
def staged(folder: Path, days: tuple[date, date], share: tuple[int, int], teller: Teller) -> Iterator[Stage]:
    """Everything trained, declared and running; it ends with this block, however the block ends."""
    _clear(folder)
    everything = read_flights()
    known = everything.between(*LEARNED)
    model, held_out = train(known.facts, known.late, known.days, f"trained-{LEARNED[1]}")
    save(model, folder / MODEL_FILE)
    teller.trained(model)
    _baselines(folder, known, held_out)
    clock = Clock(local(days[0], 0))
    home = folder / ".driftline"
    environ = {"DRIFTLINE_HOME": str(home), SECRET: secrets.token_hex(16)}
    with ExitStack() as stack:
        inbox = stack.enter_context(listening(environ[SECRET], clock, folder / "notices.jsonl"))
        app = stack.enter_context(opened(environ, clock))
        _declare(folder, app, inbox.url)
        endpoint = stack.enter_context(serving(folder, Path(app.settings.objects), clock()))
        teller.serving(folder, endpoint.url)
        flights = everything.between(*days).share(*share)
        yield Stage(folder, app, clock, endpoint, flights, model, served=[(days[0], model.version)])


def night(stage: Stage, day: date, flights: Flights) -> Tick:
    """One day's traffic, then its night: labels of what has landed, and the worker's round."""
    stage.endpoint.ask(flights)
    stage.endpoint.flush()
    stage.due += zip(flights.lands_at, flights.ids, flights.late.tolist(), strict=True)
    stage.clock.at = local(day + timedelta(days=1), NIGHT_HOUR)
    landed = [flight for flight in stage.due if flight[0] <= stage.clock.at]
    stage.due = [flight for flight in stage.due if flight[0] > stage.clock.at]
    pairs = [(flight_id, late) for _, flight_id, late in landed]
    stage.labels += put_labels(stage.app.store, ENDPOINT, pairs, now=stage.clock.at).written
    done = tick(stage.app.site, stage.app.channels(), stage.clock.at)
    stage.runs += len(done.ran)
    version = load(stage.folder / MODEL_FILE).version
    if version != stage.served[-1][1]:
        stage.served.append((day + timedelta(days=1), version))
    return done


def story_of(stage: Stage) -> Story:
    """What the catalog knows by now."""
    retrained = tuple(day for day, _ in stage.served[1:])
    days = require_days(days_of(stage.app.catalog))
    return Story(
        days=days,
        bound=stage.first.trained.auc,
        firing=tuple(firing_periods(changes(stage.app.catalog, DECAY))),
        retrained=retrained,
        unmended=had_it_stayed(stage.first, stage.flights, retrained[0]) if retrained else {},
    )


def _played(stage: Stage, story: Story, plot: Path, seconds: float) -> Played:
    outbox = stage.app.catalog.outbox
    return Played(
        requests=len(stage.flights),
        labels=stage.labels,
        windows=len(story.days),
        runs=stage.runs,
        revisions=sum(day.revision > 0 for day in story.days),
        auc_of_baseline=story.bound,
        input_windows_violated=sum(day.inputs is Verdict.VIOLATED for day in story.days),
        largest_distance=max((max(day.distances.values(), default=0.0) for day in story.days), default=0.0),
        alarms=changes(stage.app.catalog),
        notices=[
            {"key": told.key, "channel": told.channel, "status": told.status.value, "subject": told.subject}
            for told in reversed(outbox.notices())
        ],
        actions=[
            {"channel": action.channel, "exit_status": action.exit_status, "detail": action.detail}
            for action in reversed(outbox.actions())
        ],
        auc=means(story),
        reports=str(Path(stage.app.settings.objects) / "reports"),
        plan=str(stage.folder / "driftline.yaml"),
        plot=str(plot),
        seconds=round(seconds, 1),
    )


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise InputError(f"{folder} holds something that is not from this demo; give --output another folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("The demo may replace this folder.\n")


def _baselines(folder: Path, known: Flights, held_out: npt.NDArray[np.float64]) -> None:
    """Write both datasets as files, and build the baselines as `driftline baseline` does."""
    inputs, answers = folder / "january-february.csv", folder / "held-out.csv"
    pyarrow.csv.write_csv(known.table.select(list(COLUMNS)), inputs)
    pyarrow.csv.write_csv(pa.table({"probability": held_out.round(6), "late": known.late}), answers)
    with workshop() as shop:
        baseline_of_data(Source(inputs), folder / "baselines/inputs", shop)
    asked = Asked(ProblemType.BINARY, Answers(score="probability", threshold=THRESHOLD), Truth(column="late"))
    with workshop() as shop:
        baseline_of_quality(Source(answers), folder / "baselines/quality", asked, shop)


def _declare(folder: Path, app: App, hook: str) -> None:
    command = [sys.executable, "-m", "driftline.demo.retrain", ".", "--objects", app.settings.objects]
    text = PLAN.format(
        endpoint=ENDPOINT,
        threshold=THRESHOLD,
        inputs=INPUTS,
        quality=QUALITY,
        url=hook,
        secret=SECRET,
        command=json.dumps(command),
    )
    (folder / "driftline.yaml").write_text(text, encoding="utf-8")
    plan = read_plan(folder / "driftline.yaml")
    check_plan(plan)
    app.catalog.declared.apply(plan, app.clock())
