"""`driftline gateway`: capture from any server, by a reverse proxy before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from driftline.cli.console import as_json, say, show_line

if TYPE_CHECKING:
    from driftline.capture import Capture
    from driftline.capture.gateway_server import Listening, Service, Serving

_SAID = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
_Command = TypeVar("_Command", bound=Callable[..., Any])
LISTENING = (
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all."),
    click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one."),
    click.option("--admin-host", default="127.0.0.1", show_default=True, help="Address of the operator's port."),
    click.option(
        "--admin-port",
        type=click.IntRange(-1, 65535),
        default=8081,
        show_default=True,
        help="Port of /-/healthy, /-/ready and /-/metrics, apart from the traffic; 0: any free one, -1: none.",
    ),
    click.option(
        "--max-connections", type=click.IntRange(1), default=1000, show_default=True, help="More are answered 503."
    ),
    click.option(
        "--drain",
        type=click.FloatRange(0),
        default=20.0,
        show_default=True,
        metavar="SECONDS",
        help="On SIGTERM: how long requests in flight may take, before what was captured is stored.",
    ),
)


def _declared(ctx: click.Context, _: click.Parameter, file: str | None) -> Path | None:
    """Has what the file says stand for options that are not given."""
    if file is None:
        return None
    from msgspec import structs

    from driftline.capture.config import read_config

    path = Path(file).absolute()
    spec = read_config(path).spec
    own = structs.asdict(getattr(spec, ctx.command.name or "", None) or spec.gateway)
    said = {"endpoint": spec.endpoint, "variant": spec.variant, "max_body_bytes": spec.max_body_bytes, **own}
    ctx.default_map = {name: value for name, value in (said | {"paths": spec.paths}).items() if value is not None}
    return path


CAPTURING = (
    click.option(
        "--config",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        envvar="DRIFTLINE_CAPTURE_CONFIG",
        show_envvar=True,
        is_eager=True,
        callback=_declared,
        help="A YAML file that says all this and more; options count before it. Sampling and privacy change with it.",
    ),
    click.option(
        "--store", metavar="FOLDER|URL", help="Where records go. Default: DRIFTLINE_OBJECTS, as for all commands."
    ),
    click.option("--sampling", type=click.FloatRange(0, 1), metavar="SHARE", help="Share to capture. Default: 1."),
    click.option(
        "--max-body-bytes",
        type=click.IntRange(0),
        default=6 << 20,
        show_default=True,
        help="Of a longer body only so much is captured, and marked as truncated; it passes through whole.",
    ),
)


def options(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[_Command], _Command]:
    """Several options at once, in their order."""

    def decorate(command: _Command) -> _Command:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


@click.command()
@click.option("--upstream", required=True, metavar="URL", help="The model server, such as http://127.0.0.1:5000.")
@click.option(
    "--endpoint", required=True, metavar="NAME", help="Whose predictions these are, where the path names none."
)
@click.option("--variant", default="AllTraffic", show_default=True, metavar="NAME", help="… and of which variant.")
@options(CAPTURING)
@click.option(
    "--paths",
    multiple=True,
    metavar="TEMPLATE",
    help="POST to such a path is a prediction; may be repeated. {endpoint} and {variant} stand for a segment "
    "that names it, * for anything. Default: the routes of the usual servers, which are printed at the start.",
)
@click.option("--one-endpoint", is_flag=True, help="All belong to --endpoint, whatever model the path names.")
@click.option(
    "--id-header",
    default="X-Amzn-SageMaker-Inference-Id",
    show_default=True,
    metavar="NAME",
    help="Header of the caller's id, which labels will name.",
)
@click.option("--connect-timeout", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True)
@click.option(
    "--read-timeout",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds until the answer begins, and between two pieces of it; 0: no limit.",
)
@click.option("--rewrite-host", is_flag=True, help="Send the upstream's name as Host, not the caller's.")
@options(LISTENING)
@as_json
def gateway(as_json: bool, **given: Any) -> None:
    """Capture the predictions of any HTTP server: a reverse proxy before --upstream.

    Everything passes through as it comes, streams too; what is a prediction is captured with its answer, errors as
    well. Listens on this machine only unless --host says otherwise. Stops on SIGTERM, after what is in flight.

    With --json one line on stdout says where it listens.
    """
    needed()
    from driftline.capture.gateway import Gateway, Upstream
    from driftline.capture.routes import PREDICTIONS, Routes

    capture = capturing(given)
    upstream = Upstream(given["upstream"], given["connect_timeout"], given["read_timeout"], given["rewrite_host"])
    routes = Routes(given["paths"] or PREDICTIONS, named=not given["one_endpoint"])
    service = Gateway(capture, upstream, routes, max_body_bytes=given["max_body_bytes"], id_header=given["id_header"])
    about = {"upstream": upstream.url, "endpoint": given["endpoint"], "paths": list(routes.templates)}
    beyond = "it listens beyond this machine: whoever reaches the port reaches the upstream"
    run(service, capture, about, given, as_json, beyond)


def run(
    service: Service, capture: Capture, about: dict[str, Any], given: dict[str, Any], as_json: bool, beyond: str
) -> None:
    """Serve until stopped; exit status 1 where something that was captured could not be stored.

    `beyond` is what to know where it listens beyond this machine.
    """
    import asyncio
    import logging

    from driftline.capture.gateway_server import serve

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("driftline").setLevel(logging.INFO)

    def ready(serving: Serving) -> None:
        facts = {"listening": serving.address, "admin": serving.admin, **about, "sampling": capture.sampling.told()}
        if as_json:
            show_line(facts)
            return
        for what, value in facts.items():
            say(f"{what}: {value if isinstance(value, str) else _plain(value)}")
        if given["host"] not in ("127.0.0.1", "localhost", "::1"):
            say(beyond)

    whole = asyncio.run(serve(service, capture, _listening(given), ready=ready, reload=capture.hurry))
    if not whole:
        raise click.ClickException("not everything that was captured could be stored; what is spooled is sent later")


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)


def needed() -> None:
    """Refuse where the extra is not installed."""
    from importlib.util import find_spec

    if find_spec("aiohttp") is None:
        raise click.ClickException("this command needs aiohttp: pip install 'driftline[gateway]'")


def capturing(given: dict[str, Any]) -> Capture:
    """The capture that the options and the config describe."""
    import os

    from driftline.capture import Capture
    from driftline.settings import read_settings

    if given["config"] is not None:
        source = click.get_current_context().get_parameter_source
        named = ("endpoint", "variant", "store", "sampling")
        return Capture.from_config(given["config"], **{name: given[name] for name in named if source(name) in _SAID})
    store = given["store"] or read_settings(os.environ).objects
    sampling = 1.0 if given["sampling"] is None else given["sampling"]
    return Capture(given["endpoint"], store, variant=given.get("variant") or "AllTraffic", sampling=sampling)


def _listening(given: dict[str, Any]) -> Listening:
    from driftline.capture.gateway_server import Listening

    return Listening(
        given["host"],
        given["port"],
        given["admin_host"],
        None if given["admin_port"] < 0 else given["admin_port"],
        given["max_connections"],
        given["drain"],
    )
