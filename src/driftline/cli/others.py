"""`driftline labels put`, `driftline demo` and `driftline completion`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from driftline.cli.console import Tidy, as_json, counted, say, show_json


@click.group(cls=Tidy)
def labels() -> None:
    """Upload ground truth."""


@labels.command("put")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--endpoint", required=True, help="The endpoint whose predictions these labels are for.")
@click.option(
    "--id", "id_column", default="id", show_default=True, metavar="COLUMN", help="Column of the request's id."
)
@click.option(
    "--label", "label_column", default="label", show_default=True, metavar="COLUMN", help="Column of the label."
)
@click.option("--format", "format_", type=click.Choice(["csv", "jsonl", "parquet"]), help="Default: told by the name.")
@as_json
def put(
    file: Path,
    endpoint: str,
    id_column: str,
    label_column: str,
    format_: Literal["csv", "jsonl", "parquet"] | None,
    as_json: bool,
) -> None:
    """Upload the labels in FILE (CSV, JSON lines or Parquet with an id and a label column).

    The id is the inference id that the caller sent with the request; without one, the event id of the answer.
    Labels may come late and may be corrected: the last one written counts.
    """
    import os

    from driftline.assemble import store_of, utc_now
    from driftline.dataset.labels import put_labels, read_label_file
    from driftline.settings import read_settings

    store = store_of(read_settings(os.environ))
    receipt = put_labels(store, endpoint, read_label_file(file, id_column, label_column, format_), now=utc_now())
    if as_json:
        show_json(receipt)
    else:
        where = f" to {receipt.key}" if receipt.key else ": the file has no rows"
        click.echo(f"{counted(receipt.written, 'label')} written{where}")
        for what, count in (("came twice", receipt.duplicates), ("contradict an earlier line", receipt.contradictions)):
            if count:
                say(f"{count:,} {what}; the last one counts")


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("driftline-demo"),
    show_default=True,
    help="Folder for everything the demo makes.",
)
@as_json
def demo(output: Path, as_json: bool) -> None:
    """Run the whole loop on real flights: capture, labels, monitors, alarm, retraining.

    Trains a model on January and February 2013, serves it over HTTP, sends it the flights of July and August, and
    watches it. Takes under two minutes. Needs the extra `demo`.
    """
    from driftline.errors import InputError

    try:
        from driftline.demo.play import play
    except ModuleNotFoundError as why:
        if str(why.name).startswith("driftline"):
            raise
        raise InputError(f"the demo needs {why.name}, of the extra `demo`: in a clone: pip install '.[demo]'") from why

    played = play(output, quiet=as_json)
    if as_json:
        show_json(played)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@as_json
def completion(shell: str, as_json: bool) -> None:
    """Print the script by which SHELL completes the commands of driftline on the Tab key.

    \b
    Store it where your shell looks for it:
    bash   driftline completion bash > ~/.local/share/bash-completion/completions/driftline
    zsh    driftline completion zsh > ~/.zfunc/_driftline     (a folder of your $fpath)
    fish   driftline completion fish > ~/.config/fish/completions/driftline.fish
    """
    from click.shell_completion import get_completion_class

    from driftline.cli import main

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    script = kind(main, {}, "driftline", "_DRIFTLINE_COMPLETE").source()
    if as_json:
        show_json({"shell": shell, "script": script})
    else:
        click.echo(script)
