"""`driftline objects expire` and `erase`: what is stored goes after its time, or because somebody asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from driftline.cli.console import Tidy, as_json, counted, say, show_json, show_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

_Command = TypeVar("_Command", bound="Callable[..., Any]")


class Duration(click.ParamType):  # type: ignore[type-arg]  # older releases of click take no argument here
    """A duration such as P90D; what cannot be read as one is wrong usage."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The duration that the text means."""
        from driftline.errors import InputError
        from driftline.windows import parse_duration

        try:
            return parse_duration(value) if isinstance(value, str) else value
        except InputError as why:
            self.fail(str(why), param, ctx)


@click.group(cls=Tidy)
def objects() -> None:
    """Remove what is stored: all that is too old, or one request."""


def _keep(name: str, what: str) -> Callable[[_Command], _Command]:
    return click.option(f"--{name}", type=Duration(), metavar="DURATION", help=f"How long {what} are kept.")


dry_run = click.option("--dry-run", is_flag=True, help="Tell what would be removed; remove nothing.")


@objects.command()
@_keep("captured", "captured records and their counters")
@_keep("labels", "labels, from their upload on,")
@_keep("reports", "reports with all that is in them")
@_keep("dead-letters", "the dead letters in reports")
@_keep("cache", "decoded rows and their states on this machine")
@click.option("--endpoint", help="Only objects of this endpoint.")
@click.option("--force", is_flag=True, help="Also what windows that are still open may read.")
@dry_run
@as_json
def expire(endpoint: str | None, force: bool, dry_run: bool, as_json: bool, **keep: timedelta | None) -> None:
    """Remove objects that are older than their retention.

    Durations are ISO 8601, such as P90D. Without any, those of the section `retention` of the applied YAML file count,
    as they do for the worker, once a day. Every run, also a dry one, is a line of the audit log.
    """
    from driftline.assemble import opened
    from driftline.errors import InputError
    from driftline.runs.retention import declared
    from driftline.runs.retention import expire as expire_

    with opened() as app:
        asked = {kind.replace("_", "-"): age for kind, age in keep.items() if age is not None}
        kept = asked or declared(app.catalog)
        if not kept:
            raise InputError("nothing says how long to keep what: give --captured P90D, say, or declare `retention`")
        done = expire_(app.site, kept, app.clock(), endpoint=endpoint, dry_run=dry_run, force=force)
    if as_json:
        show_json(done.summary())
        return
    heads = ("kind", "kept for", "would go" if dry_run else "removed", "bytes", "needed by open windows")
    told = done.summary()["removed"]
    show_table(None, heads, [(k, t["keep"], t["objects"], f"{t['bytes']:,}", t["needed"]) for k, t in told.items()])
    for monitor, since in done.waiting.items():
        say(f"monitor {monitor} has windows open since {since}: what they may read is kept (--force removes it too)")
    removed = sum(one.objects for one in done.kinds)
    say(f"{counted(removed, 'object')} {'would be ' if dry_run else ''}removed; audit line in {done.audit}")


@objects.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A file with one id per line, - for the standard input.",
)
@click.option("--endpoint", help="Only objects of this endpoint.")
@click.option("--reason", metavar="TEXT", help="Kept in the audit log, such as the number of a request.")
@dry_run
@as_json
def erase(
    ids: tuple[str, ...], file: Path | None, endpoint: str | None, reason: str | None, dry_run: bool, as_json: bool
) -> None:
    """Remove what is kept of the requests with these inference ids.

    Records, labels, dead letters and decoded rows with one of the IDs (of a request without an inference id: its event
    id) are removed; reports and statistics, which are sums, stay. Safe to do again after a crash. What capture has not
    stored yet is not found: run it again later. Every run, also a dry one, is a line of the audit log.
    """
    from driftline.assemble import opened
    from driftline.errors import InputError
    from driftline.runs.erase import erase as erase_

    asked = [*ids, *(() if file is None else _lines(file))]
    if not asked:
        raise InputError("there is no id: name one or more, or a file of them with --from")
    with opened() as app:
        done = erase_(app.site, asked, app.clock(), endpoint=endpoint, reason=reason, dry_run=dry_run)
    if as_json:
        show_json(done)
        return
    heads = ("kind", "files" if dry_run else "files written anew", "would go" if dry_run else "removed")
    told = done.counts()
    show_table(None, heads, [(k, t["objects"], t["records"]) for k, t in told.items() if k != "cache"])
    say(f"{counted(done.cache.objects, 'decoded result')} of the cache {'would go' if dry_run else 'removed'}")
    if done.waiting:
        say(
            f"{counted(done.waiting, 'file')} in the spool of this machine {'waits' if done.waiting == 1 else 'wait'} "
            "for the store, and nothing was looked for there: do it again once `driftline capture status` shows none"
        )
    for key in done.unreadable:
        say(f"{key} cannot be unpacked, so nothing in it was looked at; delete it if it may hold such a request")
    if done.missing:
        say(f"no record and no label has {', '.join(map(repr, done.missing[:5]))}{_more(len(done.missing) - 5)}")
    say(f"audit line in {done.audit}")


def _lines(file: Path) -> list[str]:
    with click.open_file(str(file), encoding="utf-8-sig") as text:
        return [line.rstrip("\r\n") for line in text if line.strip()]


def _more(count: int) -> str:
    return f" and {count:,} more" if count > 0 else ""
