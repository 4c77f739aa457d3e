"""`driftline capture import`: batches that were scored elsewhere become captured records."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from driftline.cli.console import as_json, counted, progress, say, show_json

if TYPE_CHECKING:
    from datetime import datetime

    from driftline.dataset.importing import Receipt

EXISTING = click.Path(exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class TimeText(click.ParamType):  # type: ignore[type-arg]  # older releases of click take no argument here
    """A time; what cannot be read as one is wrong usage."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | Any:
        """The time that the text means."""
        from driftline.errors import DriftlineError
        from driftline.windows import parse_time

        try:
            return parse_time(value) if isinstance(value, str) else value
        except DriftlineError as why:
            self.fail(str(why), param, ctx)


@click.command("import")
@click.argument("source", type=EXISTING)
@click.option("--endpoint", required=True, help="The endpoint that the records are of.")
@click.option("--variant", default="AllTraffic", show_default=True, help="Which of its models answered.")
@click.option("--answers", type=EXISTING, help="File or folder of the answers: line n answers line n of SOURCE.")
@click.option(
    "--output-column", "outputs", metavar="COLUMN", multiple=True, help="A column that the model answered; repeat it."
)
@click.option(
    "--input-column",
    "inputs",
    metavar="COLUMN",
    multiple=True,
    help="A column that the model was asked with; repeat it, in order. Default: all that are nothing else.",
)
@click.option(
    "--id", "id_column", metavar="COLUMN", help="Column of the id that labels name. Default: made of the line."
)
@click.option("--time", "time_column", metavar="COLUMN", help="Column of the time of the inference.")
@click.option("--at", type=TimeText(), metavar="TIME", help="When all of it was scored, where there is no such column.")
@click.option("--zone", default="UTC", show_default=True, help="Time zone of times that say none.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "jsonl", "parquet", "bentoml"]),
    help="What SOURCE holds. Default: told by the names, and by manifests.",
)
@click.option(
    "--header/--no-header",
    default=None,
    help="Whether CSV has a header line; without one, columns are named by their position, from 0. "
    "Default: it has, but not with answers in files of their own.",
)
@click.option("--ids", type=FILE, help="Write file, line and id of every record to this CSV file.")
@click.option(
    "--dead-letters",
    type=FILE,
    default=Path("import-dead-letters.jsonl"),
    show_default=True,
    help="File for the lines that cannot be read, with the reasons.",
)
@as_json
def import_(
    source: Path,
    endpoint: str,
    variant: str,
    answers: Path | None,
    outputs: tuple[str, ...],
    inputs: tuple[str, ...],
    id_column: str | None,
    time_column: str | None,
    at: datetime | None,
    zone: str,
    format_: str | None,
    header: bool | None,
    ids: Path | None,
    dead_letters: Path,
    as_json: bool,
) -> None:
    """Import a batch that was scored: SOURCE becomes captured records of an endpoint.

    \b
    SOURCE is one of
    - a CSV, JSON lines or Parquet file, or a folder of them, with answers in --output-column or in --answers
    - the inputs and `.out` files of a batch transform job, or the folder of its captured manifests
    - the folder of a BentoML monitor (with data/ and schema/ in it)

    The same input imported again, or grown since, is imported once. Exit status: 0, or 1 where no line could be read.
    """
    import os

    from driftline.assemble import store_of, utc_now
    from driftline.dataset.imported import Importer
    from driftline.dataset.importing import Batch, import_batch
    from driftline.dataset.scored import Columns
    from driftline.dataset.scored_files import Layout
    from driftline.settings import read_settings
    from driftline.windows import zone_of

    columns = Columns(id_column, time_column, inputs, outputs)
    batch = Batch(source, answers, Layout(format_, header, columns), at, zone_of(zone))
    into = Importer(store_of(read_settings(os.environ)), endpoint, variant, now=utc_now())
    with progress("import") as bar:
        receipt = import_batch(batch, into, dead_letters, ids=ids, progress=bar)
    if as_json:
        show_json({"endpoint": endpoint, "variant": variant, **_told(receipt)})
    else:
        _tell(receipt, f"{endpoint}/{variant}")
    if receipt.bad and not receipt.records + receipt.already:
        sys.exit(1)


def _told(receipt: Receipt) -> dict[str, Any]:
    from dataclasses import asdict

    letters = receipt.dead_letters
    return asdict(receipt) | {"dead_letters": None if letters is None else str(letters)}


def _tell(receipt: Receipt, where: str) -> None:
    from driftline.windows import stamp

    hours = (
        ""
        if receipt.start is None or receipt.end is None
        else (f", hours {stamp(receipt.start)} to {stamp(receipt.end)}")
    )
    click.echo(f"{counted(receipt.records, 'record')} of {counted(receipt.files, 'file')} imported to {where}{hours}")
    if receipt.already:
        say(f"{counted(receipt.already, 'record')} had been imported before")
    if receipt.labels:
        say(f"{counted(receipt.labels, 'label')} came with them")
    if receipt.dead_letters is not None:
        say(f"{counted(receipt.bad, 'line')} could not be read: see {receipt.dead_letters}")
        for reason, count in sorted(receipt.reasons.items(), key=lambda pair: -pair[1])[:5]:
            say(f"  {count:,} {reason}")
