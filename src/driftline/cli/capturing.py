"""`driftline capture …`: what a model was asked and answered, by other ways than a tap."""

from __future__ import annotations

import click

from driftline.cli.console import Tidy
from driftline.cli.importing import import_


@click.group(cls=Tidy)
def capture() -> None:
    """Captured requests and answers."""


capture.add_command(import_)
