"""The command line: data on stdout (`--json` for programs), all else on stderr, the exit status as an interface."""

from __future__ import annotations

import click

from driftline import __version__
from driftline.cli.capturing import capture
from driftline.cli.console import Tidy
from driftline.cli.gateway import gateway
from driftline.cli.loop import alarms, apply, plan, run, runs, worker
from driftline.cli.objects import objects
from driftline.cli.offline import baseline, check
from driftline.cli.others import completion, demo, labels
from driftline.cli.sink import sink


@click.group(cls=Tidy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="driftline")
def main() -> None:
    """Watch machine-learning models in production.

    Capture what a model is asked and answers, build a baseline, and check every closed hour or day against it.

    \b
    A first look:      driftline demo
    One-off:           driftline baseline data-quality train.csv --output baseline/
                       driftline check data-quality live.csv --baseline baseline/ --output report/
    On a schedule:     driftline apply driftline.yaml && driftline worker

    \b
    Exit status: 0 all is well, 3 a constraint is violated, 4 one is unknown and none is violated,
    1 it failed, 2 wrong usage.
    """


COMMANDS = (
    baseline,
    check,
    plan,
    apply,
    worker,
    run,
    runs,
    alarms,
    gateway,
    sink,
    capture,
    labels,
    objects,
    demo,
    completion,
)
for command in COMMANDS:
    main.add_command(command)
