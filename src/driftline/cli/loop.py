"""`driftline plan`, `apply`, `worker`, `run`, `runs` and `alarms`: monitors as code, on a schedule."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from driftline.cli.console import WindowText, as_json, finish, progress, say, show_json, show_line, show_table

if TYPE_CHECKING:
    from driftline.assemble import App
    from driftline.catalog.declared import Difference
    from driftline.catalog.ledger import Run
    from driftline.windows import Window

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("file", type=FILE)
@as_json
def plan(file: Path, as_json: bool) -> None:
    """Show what `apply FILE` would change; change nothing."""
    from driftline.assemble import opened
    from driftline.planfile import read_plan

    with opened() as app:
        _show_difference(app.catalog.declared.plan(read_plan(file)), as_json, "would be ")


@click.command()
@click.argument("file", type=FILE)
@as_json
def apply(file: Path, as_json: bool) -> None:
    """Declare the endpoints, baselines, monitors, channels and alarms in FILE (YAML).

    What FILE no longer names is removed; runs and reports stay. Nothing changes unless all of FILE is right.
    """
    from driftline.assemble import opened
    from driftline.planfile import read_plan
    from driftline.runs.run import check_plan

    with opened() as app:
        declared = read_plan(file)
        check_plan(declared)
        _show_difference(app.catalog.declared.apply(declared, app.clock()), as_json, "")


def _show_difference(difference: Difference, as_json: bool, would: str) -> None:
    kinds = ("created", "changed", "removed", "unchanged")
    if as_json:
        show_json({kind: [str(item) for item in getattr(difference, kind)] for kind in kinds})
        return
    rows = [(f"{would}{kind}", str(item)) for kind in kinds[:3] for item in getattr(difference, kind)]
    if rows:
        show_table(None, ("what", "name"), rows)
    click.echo("nothing to change" if difference.nothing else f"{len(difference.unchanged)} unchanged")


@click.command()
@click.option("--once", is_flag=True, help="Do what is due now, then end.")
@click.option("--every", type=click.IntRange(1, 3600), default=30, show_default=True, help="Seconds between rounds.")
@as_json
def worker(once: bool, every: int, as_json: bool) -> None:
    """Run what is due, look again at windows with late labels, deliver notices; until stopped.

    Several workers may share a catalog: each window is worked on by one. With --json every run is a line on stdout.

    Exit status with --once: 0 all was done, 1 a run failed, or a notice could not be delivered.
    """
    import signal
    from datetime import timedelta
    from threading import Event

    from driftline.assemble import opened
    from driftline.runs.run import Ran
    from driftline.worker import describe, loop, tick

    def tell(what: str | Ran) -> None:
        if isinstance(what, str):
            say(what)
        elif as_json:
            show_line({**_run(what.run), "alarms": [{"alarm": c.alarm, "status": c.status} for c in what.changes]})
        else:
            say(describe(what))

    with opened() as app:
        unserved = app.unserved()
        for problem in unserved:
            say(problem)
        if once:
            done = tick(app.site, app.channels(), app.clock(), tell)
            for problem in done.problems:
                say(problem)
            for key in done.delivered.failed:
                say(f"notice {key} could not be delivered; see `driftline alarms --notices`")
            failed = done.problems or done.delivered.failed or unserved or any(r.failure for r in done.ran)
            sys.exit(1 if failed else 0)
        stop = Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        say(f"worker {app.site.owner}: every {every} s, in {app.settings.home}; Ctrl-C ends it")
        loop(app.site, app.channels, app.clock, tell, stop, timedelta(seconds=every))


@click.command()
@click.argument("monitor")
@click.option("--window", type=WindowText(), metavar="START/END", help="ISO 8601, UTC. Default: the last closed one.")
@click.option(
    "--again", is_flag=True, help="Also where the same inputs were looked at before: the baseline is new, say."
)
@as_json
def run(monitor: str, window: Window | None, again: bool, as_json: bool) -> None:
    """Run MONITOR once and print its verdict.

    Where the same inputs were looked at before, it prints that verdict and runs nothing (unless --again, or that run
    failed). A window that the schedule does not know may be asked for too; no alarm counts it.

    Exit status: 0 all constraints hold, 3 one is violated, 4 one is unknown and none is violated, 1 the run failed.
    """
    from driftline.assemble import opened
    from driftline.worker import run_window

    with opened() as app, progress(monitor) as bar:
        done = run_window(app.site, monitor, window, app.clock(), again=again, progress=bar)
        measured = app.catalog.ledger.measured(done.id)
        report = _report(app, done)
    if as_json:
        capture = report.get("inputs", {}).get("capture")
        show_json({**_run(done), "measurements": [_measured(m) for m in measured], "capture": capture})
    else:
        click.echo(f"{monitor} {done.window}: {done.verdict or done.status}")
        if done.reason:
            click.echo(done.reason)
        told = [m for m in measured if m.verdict is not None and m.verdict.value == "violated"]
        rows = [(m.measurement.metric, m.measurement.column or "(all)", _value(m.measurement)) for m in told]
        if rows:
            show_table(None, ("violated", "column", "value and interval"), rows)
        for note in report.get("notes", ()):
            say(f"note: {note}")
        if done.report:
            click.echo(f"report: {app.store.location(done.report + 'report.json')}")
    if done.verdict is None:
        sys.exit(1)
    finish(done.verdict.value)


def _report(app: App, done: Run) -> dict[str, Any]:
    """The report of the run as far as it is there; it may have expired."""
    import msgspec

    from driftline.errors import NotFound

    if done.report is None:
        return {}
    with suppress(NotFound):
        found: dict[str, Any] = msgspec.json.decode(app.store.get(f"{done.report}report.json"))
        return found
    return {}


def _value(measurement: Any) -> str:
    estimate = measurement.estimate
    return "" if estimate is None else f"{estimate.value:.6g} ({estimate.low:.6g} to {estimate.high:.6g})"


def _measured(measured: Any) -> dict[str, Any]:
    one, estimate = measured.measurement, measured.measurement.estimate
    return {
        "metric": one.metric,
        "column": one.column,
        "value": one.value,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "undefined": one.reason,
        "verdict": measured.verdict,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "monitor": run.monitor,
        "start": run.window.start,
        "end": run.window.end,
        "scheduled_at": run.due.scheduled_at,
        "revision": run.revision,
        "status": run.status,
        "verdict": run.verdict,
        "reason": run.reason,
        "rows": run.rows,
        "coverage": run.coverage,
        "report": run.report,
        "asked": run.asked,
        "attempts": run.attempts,
        "retry_at": run.retry_at,
        "finished_at": run.finished_at,
    }


@click.command()
@click.option("--monitor", help="Only of this monitor.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=30, show_default=True, help="The newest so many.")
@as_json
def runs(monitor: str | None, limit: int, as_json: bool) -> None:
    """List the runs, newest window first."""
    from driftline.assemble import opened

    with opened() as app:
        found = app.catalog.ledger.runs(monitor, limit=limit)
        if monitor is not None and not found:  # one that is no longer declared keeps its runs
            app.catalog.declared.monitor(monitor)
        home = app.settings.home
    if as_json:
        show_json([_run(one) for one in found])
        return
    if not found:
        say(f"no runs yet in {home}: `driftline worker` runs what is due")
        return
    heads = ("monitor", "window", "rev", "status", "verdict", "rows", "labelled", "why")
    rows = [
        (r.monitor, r.window, r.revision, r.status.value, r.verdict, r.rows, _share(r.coverage), r.reason)
        for r in found
    ]
    show_table(None, heads, rows)


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


@click.command()
@click.option("--notices", is_flag=True, help="List who was told, and what became of it.")
@as_json
def alarms(notices: bool, as_json: bool) -> None:
    """List the alarms and where they stand.

    Exit status: 0 none is firing, 3 one is.
    """
    from driftline.alarms import Status
    from driftline.assemble import opened

    with opened() as app:
        states = app.catalog.alarms.states()
        told = app.catalog.outbox.notices() if notices else []
        acted = app.catalog.outbox.actions() if notices else []
        home = app.settings.home
    if as_json:
        more = {"notices": told, "actions": acted} if notices else {}
        show_json({"alarms": [_alarm(s) for s in states], **more})
    else:
        if states:
            show_table(None, ("alarm", "status", "since", "monitor", "last windows"), [_row(s) for s in states])
        else:
            say(f"no alarms are declared in {home}: `driftline apply FILE` declares them")
        if notices:
            rows = [(n.created_at, n.alarm, n.channel, n.alarm_status, n.status, n.attempts, n.detail) for n in told]
            show_table("notices", ("created", "alarm", "channel", "said", "status", "attempts", "detail"), rows)
            show_table(
                "actions",
                ("channel", "started", "finished", "exit", "detail"),
                [(a.channel, a.started_at, a.finished_at, a.exit_status, a.detail) for a in acted],
            )
    if any(s.alarm.status is Status.FIRING for s in states):
        sys.exit(3)


def _alarm(state: Any) -> dict[str, Any]:
    return {
        "alarm": state.name,
        "status": state.alarm.status,
        "since": state.alarm.since,
        "monitor": state.spec.monitor,
        "recent": state.alarm.recent,
        "changes": state.changes,
    }


def _row(state: Any) -> tuple[object, ...]:
    recent = " ".join(v.value for v in state.alarm.recent)
    return state.name, state.alarm.status.value, state.alarm.since, state.spec.monitor, recent
