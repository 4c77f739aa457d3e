"""`driftline sink`: capture from KServe, by what its payload logger sends."""

from __future__ import annotations

from typing import Any

import click

from driftline.cli.console import as_json
from driftline.cli.gateway import CAPTURING, LISTENING, capturing, needed, options, run


@click.command()
@options(CAPTURING)
@click.option(
    "--names",
    default="{service}.{namespace}",
    show_default=True,
    metavar="TEMPLATE",
    help="Under which endpoint records are kept: made of {service}, {namespace}, {component} and {endpoint}.",
)
@click.option(
    "--endpoint", default="kserve", show_default=True, metavar="NAME", help="… where an event names no service."
)
@click.option(
    "--variant", default="AllTraffic", show_default=True, metavar="NAME", help="… where it names no endpoint."
)
@click.option(
    "--mode",
    type=click.Choice(["all", "request", "response"]),
    default="all",
    show_default=True,
    help="What the logger is set to send; all: a request waits for its answer.",
)
@click.option(
    "--id-header",
    metavar="NAME",
    help="Header of the caller's id, which the logger sends as metadata. Default: the event's id.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a request waits for its answer before it is counted as lost.",
)
@click.option(
    "--most-waiting", type=click.IntRange(1), default=10_000, show_default=True, help="More are counted as lost."
)
@options(LISTENING)
@as_json
def sink(as_json: bool, **given: Any) -> None:
    """Capture what KServe's payload logger sends: set the logger's url to where this listens.

    Takes CloudEvents over HTTP, one by one or in batches; the request and the answer of the same id become one record.
    Listens on this machine only unless --host says otherwise. Stops on SIGTERM, after what is in flight.

    With --json one line on stdout says where it listens.
    """
    needed()
    from driftline.capture.sink import Sink, Waiting

    capture = capturing(given)
    service = Sink(
        capture,
        names=given["names"],
        mode=given["mode"],
        waiting=Waiting(given["wait"], given["most_waiting"]),
        id_header=given["id_header"],
        max_body_bytes=given["max_body_bytes"],
    )
    about = {"names": given["names"], "mode": given["mode"]}
    beyond = "it listens beyond this machine: whoever reaches the port can write records"
    run(service, capture, about, given, as_json, beyond)
