"""`driftline capture …`: what a model was asked and answered, by other ways than a tap."""

from __future__ import annotations

import click

from driftline.cli.console import Tidy
from driftline.cli.importing import import_
from driftline.cli.status import status


@click.group(cls=Tidy)
def capture() -> None:
    """Captured requests and answers: how capture fares, and batches that were scored elsewhere."""


capture.add_command(import_)
capture.add_command(status)
