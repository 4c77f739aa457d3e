"""How commands speak: results, tables, progress, errors and exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from driftline.errors import DriftlineError

if TYPE_CHECKING:
    from driftline.dataset.dataset import Progress

EXIT: Final = {"holds": 0, "violated": 3, "unknown": 4}
"""Exit status by verdict; 1 is a failure, 2 wrong usage."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")


class Tidy(click.Group):
    """A group whose commands print our errors as a sentence, never as a traceback, in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands as they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our own errors end with status 1 and their message."""
        try:
            return super().invoke(ctx)
        except DriftlineError as why:
            click.echo(f"driftline: {why}", err=True)
            ctx.exit(1)
        except BrokenPipeError:  # who read our output has gone: click ends quietly
            raise
        except OSError as why:  # a full disk, a folder that cannot be written
            click.echo(f"driftline: {f'{why.filename}: {why.strerror}' if why.filename else why}", err=True)
            ctx.exit(1)


class WindowText(click.ParamType):  # type: ignore[type-arg]  # older releases of click take no argument here
    """A window START/END; what cannot be read as one is wrong usage."""

    name = "window"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The window that the text means."""
        from driftline.windows import parse_window

        try:
            return parse_window(value) if isinstance(value, str) else value
        except DriftlineError as why:
            self.fail(str(why), param, ctx)


class PlaceText(click.Path):
    """A path, or the URL of objects in a bucket; a URL that Driftline does not know is wrong usage."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or the URL as it was written."""
        from driftline.objects.urls import Place, is_url

        if not isinstance(value, str) or not is_url(value):
            return super().convert(value, param, ctx)
        try:
            return Place.of(value).url
        except DriftlineError as why:
            self.fail(str(why), param, ctx)


def show_json(value: Any) -> None:
    """Print `value` as JSON on stdout."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=1).decode())


def show_line(value: Any) -> None:
    """Print `value` as one line of JSON on stdout, at once."""
    import msgspec

    click.echo(msgspec.json.encode(value).decode())
    sys.stdout.flush()


def show_table(title: str | None, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout, as wide as the terminal (or 160 characters in a pipe)."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from driftline.windows import stamp

    def text(cell: object) -> str:
        return stamp(cell) if isinstance(cell, datetime) else "" if cell is None else str(cell)

    table = Table(*heads, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(text(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)


def counted(number: int, what: str) -> str:
    """A number of things in words.

    >>> counted(1, "label"), counted(2000, "label")
    ('1 label', '2,000 labels')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    click.echo(text, err=True)


@contextmanager
def progress(what: str) -> Iterator[Progress | None]:
    """A progress bar on stderr with the rate, where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, told="")

        def update(done: int, total: int | None, unit: Literal["rows", "bytes"]) -> None:
            if done < bar.tasks[0].completed:  # the next stage, with other units: its rate begins anew
                bar.reset(task, total=total)
            speed = bar.tasks[0].speed

            def amount(of: float) -> str:
                return decimal(int(of)) if unit == "bytes" else f"{of:,.0f} rows"

            told = amount(done) if total is None else f"{amount(done)} of {amount(total)}"
            told += "" if speed is None else f", {amount(speed)}/s"
            bar.update(task, completed=done, total=total, told=told)

        yield update


def finish(verdict: str) -> None:
    """End the command with the exit status of the verdict."""
    sys.exit(EXIT[verdict])
