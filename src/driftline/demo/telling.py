"""What the demo says on the terminal: one line a day, and at the end what happened and where it lies."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from driftline.catalog.catalog import Catalog
from driftline.constraints import Verdict
from driftline.demo.model import Model
from driftline.demo.story import Story, day_of, days_of, mean_auc
from driftline.metrics.metric import Estimate
from driftline.worker import Tick

DECAY: Final = "flights-decay"
_COLOURS: Final = {Verdict.HOLDS: "green", Verdict.VIOLATED: "bold red", Verdict.UNKNOWN: "dim"}


@dataclass(frozen=True, slots=True)
class Played:
    """What happened, for programs and for the last lines on the terminal."""

    requests: int
    labels: int
    windows: int
    runs: int
    revisions: int
    """Runs that looked again because labels came late."""
    auc_of_baseline: float
    input_windows_violated: int
    largest_distance: float
    """The furthest that any input was from January and February on any day."""
    alarms: list[dict[str, str]]
    notices: list[dict[str, Any]]
    actions: list[dict[str, Any]]
    auc: dict[str, float | None]
    """Mean of the daily AUC: before the alarm, in the last week before the new model, with it, and without it."""
    reports: str
    plan: str
    plot: str
    seconds: float


class Teller:
    """Tells a person how the demo goes."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)

    def trained(self, model: Model) -> None:
        """The model and its quality."""
        made = model.trained
        self._console.print(
            f"Trained on {made.rows:,} flights from {made.first} to {made.last}: "
            f"AUC {made.auc:.3f} on days it has not seen."
        )

    def serving(self, folder: Path, url: str) -> None:
        """Where things are."""
        self._console.print(f"Declared {folder / 'driftline.yaml'}; the model is served on {url}, capture is on.\n")
        self._console.print("day          requests  inputs    quality   AUC (interval)         alarm", style="bold")

    def day(self, day: date, requests: int, done: Tick, catalog: Catalog) -> None:
        """One line."""
        seen = next((d for d in reversed(list(days_of(catalog, last=3))) if d.day == day), None)
        line = Text(f"{day:%a %d %b}   {requests:8,}  ")
        for verdict in (None, None) if seen is None else (seen.inputs, seen.quality):
            shown = "no data" if verdict is None else verdict.value
            line.append(f"{shown:10}", style="" if verdict is None else _COLOURS[verdict])
        line.append(f"{_interval(None if seen is None else seen.auc):23}")
        firing = [s.name for s in catalog.alarms.states() if s.alarm.status.value == "firing"]
        line.append(", ".join(firing) or "-", style="bold red" if firing else "dim")
        self._console.print(line)
        for change in (change for ran in done.ran for change in ran.changes):
            self._console.print(f"    alarm {change.alarm} is {change.status.value}", style="bold")
        for key in done.delivered.sent:
            self._console.print(f"    delivered {key}", style="cyan")
        if done.delivered.sent:
            for action in catalog.outbox.actions(limit=1):
                if action.started_at.date() == day + timedelta(days=1):
                    self._console.print(f"    {action.detail}", style="cyan")
        for problem in done.problems:
            self._console.print(f"    {problem}", style="bold red")

    def ending(self, played: Played) -> None:
        """What happened, and where it lies."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for row in _ending(played):
            table.add_row(*row)
        self._console.print()
        self._console.print(table)


def _interval(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _ending(played: Played) -> Iterator[tuple[str, str]]:
    means = played.auc
    yield "played", f"{played.requests:,} requests, {played.labels:,} labels, {played.windows} days, {played.runs} runs"
    yield "late labels", f"{played.revisions} windows were looked at again"
    yield (
        "inputs",
        f"{played.input_windows_violated} of {played.windows} days violated; the largest distance to January and "
        f"February was {played.largest_distance:.3f} (bound 0.1)",
    )
    for change in played.alarms:
        yield f"{change['alarm']}", f"{change['status']} by the window of {change['day']}"
    if not played.alarms:
        yield "alarms", "none"
    yield "notices", f"{sum(n['status'] == 'sent' for n in played.notices)} delivered"
    for action in played.actions:
        yield "action", str(action["detail"])
    if means["with the new model"] is not None:
        yield (
            "daily AUC",
            f"{_number(means['before the alarm'])} until the alarm was raised, "
            f"{_number(means['last week of the old model'])} in the last week of the old model, "
            f"{_number(means['with the new model'])} with the new one "
            f"(the old one would have had {_number(means['had the old model stayed'])} on the same days)",
        )
    yield "reports", played.reports
    yield "plan", played.plan
    yield "plot", played.plot
    yield "look around", f"cd {Path(played.plan).parent} && {Path(sys.executable).with_name('driftline')} runs"
    yield "time", f"{played.seconds:.0f} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def firing_periods(changes: Iterable[Mapping[str, str]]) -> Iterator[tuple[date, date | None]]:
    """From the day whose window raised the alarm to the day that cleared it; None: it is still up."""
    since: date | None = None
    for change in changes:
        day = date.fromisoformat(change["day"])
        if change["status"] == "firing":
            since = day
        elif since is not None:
            yield since, day
            since = None
    if since is not None:
        yield since, None


def changes(catalog: Catalog, alarm: str | None = None) -> list[dict[str, str]]:
    """How the alarms changed, oldest first: which, to what, by the window of which day."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for told in reversed(catalog.outbox.notices(alarm)):
        last = day_of(datetime.fromisoformat(told.body["since"]) - timedelta(microseconds=1))
        found.setdefault(
            (told.alarm, told.change), {"alarm": told.alarm, "status": told.alarm_status, "day": str(last)}
        )
    return list(found.values())


def means(story: Story) -> dict[str, float | None]:
    """The daily AUC before and after the new model."""
    raised = story.firing[0][0] if story.firing else date.max
    swapped = story.retrained[0] if story.retrained else date.max
    week = timedelta(days=7)
    stayed = list(story.unmended.values())
    return {
        "before the alarm": mean_auc(d for d in story.days if d.day < min(raised, swapped)),
        "last week of the old model": mean_auc(d for d in story.days if d.day < swapped <= d.day + week)
        if story.retrained
        else None,
        "with the new model": mean_auc(d for d in story.days if d.day >= swapped),
        "had the old model stayed": sum(stayed) / len(stayed) if stayed else None,
    }
