"""`driftline capture status`: what was seen, kept and lost, and what waits on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from driftline.cli.console import PlaceText, as_json, counted, say, show_json, show_table

if TYPE_CHECKING:
    from driftline.capture.status import Lane, Process, Status

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


@click.command()
@click.option("--endpoint", default="", metavar="NAME", help="Only this one. Default: all.")
@click.option(
    "--hours",
    type=click.IntRange(1, 24 * 366),
    default=24,
    show_default=True,
    help="So many hours count, with the one that is not over.",
)
@click.option(
    "--store",
    type=PlaceText(file_okay=False),
    metavar="FOLDER|URL",
    help="Default: the config's, else DRIFTLINE_OBJECTS.",
)
@click.option(
    "--spool",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="The folder of all spools. Default: the config's, else DRIFTLINE_SPOOL, else the one of this user.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar="DRIFTLINE_CAPTURE_CONFIG",
    show_envvar=True,
    help="The file that declares the capture: its store and its spool.",
)
@as_json
def status(
    endpoint: str, hours: int, store: str | None, spool: Path | None, config: Path | None, as_json: bool
) -> None:
    """Tell how capture fares, by endpoint and variant.

    Requests, what was chosen and stored, losses by reason, the sampling in force and the last error, from the counters
    beside the records (of all machines, a minute old at most) and from the spools of this machine (as they are now,
    also those of processes that died). Nothing is changed.
    """
    import os

    from driftline.assemble import utc_now
    from driftline.capture.config import read_config
    from driftline.capture.status import status as status_
    from driftline.objects.places import store_at
    from driftline.settings import read_settings

    if config is not None:
        declared = read_config(config.absolute())
        store = store or declared.store
        spool = spool or (Path(declared.spool.folder) if declared.spool and declared.spool.folder else None)
    where = store_at(store or read_settings(os.environ).objects)
    found = status_(where, utc_now(), hours=hours, spool=spool, endpoint=endpoint)
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: Status) -> None:
    if found.unreachable is not None:
        say(f"the counters in the store cannot be read, what follows is of this machine only: {found.unreachable}")
    if not found.endpoints and not found.processes:
        say(f"nothing was captured into {found.store} in the last {counted(_hours(found), 'hour')}")
        return
    show_table(
        f"since {found.since:%Y-%m-%d %H:%M} UTC, in {found.store}",
        (
            "endpoint",
            "variant",
            "requests",
            "per s",
            "sampling",
            "chosen",
            "stored",
            "on the way",
            "lost",
            "here",
            "lag",
        ),
        map(_row, found.endpoints),
    )
    losses = [
        (lane.endpoint, lane.variant, reason, f"{count:,}", _share(count, lane.sampled))
        for lane in found.endpoints
        for reason, count in sorted(lane.dropped.items())
    ]
    if losses:
        click.echo()
        show_table("lost", ("endpoint", "variant", "reason", "records", "of those chosen"), losses)
    withheld = [
        (lane.endpoint, lane.variant, reason, f"{count:,}")
        for lane in found.endpoints
        for reason, count in sorted(lane.withheld.items())
    ]
    if withheld:
        click.echo()
        show_table("left out of records by the privacy policy", ("endpoint", "variant", "reason", "times"), withheld)
    if found.processes:
        click.echo()
        show_table(
            f"on this machine, in {found.spool}",
            ("process", "spool", "", "waiting", "lag"),
            map(_process_row, found.processes),
        )
    if any(process.conditional_writes is False for process in found.processes):
        click.echo()
        click.echo(
            f"{found.store} does not refuse to replace an object that must not be there (docs/objects.md, Conditional "
            "writes): capture looks first whether it is there"
        )
    _show_errors(found)


def _show_errors(found: Status) -> None:
    errors = {(lane.error_at, lane.error): f"{lane.endpoint}/{lane.variant}" for lane in found.endpoints}
    errors |= {(each.error_at, each.error): f"process {each.pid}" for each in found.processes}
    told = sorted((at, who, what) for (at, what), who in errors.items() if at is not None and what is not None)
    if told:
        click.echo()
        show_table("last errors", ("at", "of", "what"), told)


def _row(lane: Lane) -> tuple[Any, ...]:
    return (
        lane.endpoint,
        lane.variant,
        f"{lane.seen:,}",
        f"{lane.per_second:,.3g}" if lane.per_second < 100 else f"{lane.per_second:,.0f}",
        " or ".join(map(_sampling, lane.sampling)),
        f"{lane.sampled:,}",
        f"{lane.written:,}",
        f"{lane.pending:,}",
        f"{lane.lost:,}",
        _size(lane.waiting_bytes) if lane.waiting_files else None,
        _lag(lane.lag_s),
    )


def _process_row(process: Process) -> tuple[Any, ...]:
    how = "lives" if process.alive else "dead: the next one to start here uploads what it left"
    return (
        process.pid,
        process.spool,
        "lives, but paused: the disk is full" if process.alive and process.paused else how,
        _size(process.waiting_bytes) if process.waiting_files else None,
        _lag(process.lag_s),
    )


def _sampling(told: dict[str, Any]) -> str:
    rules, most = told.get("rules", ()), told.get("most_per_second")
    more = [counted(len(rules), "rule")] if rules else []
    more += [f"at most {most:g}/s"] if most is not None else []
    return ", ".join([f"{told.get('rate', 1.0):g}", *more])


def _share(count: int, of: int) -> str:
    return f"{count / of:.2%}" if of else ""


def _size(size: int) -> str:
    return next((f"{size / unit:.1f} {name}" for unit, name in _UNITS if size >= unit), f"{size} B")


def _lag(lag_s: float | None) -> str | None:
    if lag_s is None:
        return None
    lag_s = max(lag_s, 0.0)
    if lag_s < 120:
        return f"{lag_s:.0f} s"
    return f"{lag_s / 60:.0f} min" if lag_s < 7200 else f"{lag_s / 3600:.1f} h"


def _hours(found: Status) -> int:
    return round((found.at - found.since).total_seconds() / 3600 + 0.5)
