"""Settings to wired objects: the only place that chooses an implementation."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from driftline.catalog.catalog import Catalog, open_catalog
from driftline.channels.channel import Channel
from driftline.channels.command import Command
from driftline.channels.webhook import Webhook
from driftline.dataset.dataset import Progress
from driftline.engines.carried import CarryingEngine
from driftline.engines.engine import Engine
from driftline.engines.local import LocalEngine
from driftline.errors import InputError
from driftline.objects.places import store_at
from driftline.objects.store import ObjectStore
from driftline.objects.urls import is_url
from driftline.runs.oneoff import Workshop
from driftline.runs.run import Site
from driftline.settings import Settings, read_settings
from driftline.wire import WebhookSpec

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, where nobody says another."""
    return datetime.now(UTC)  # noqa: TID251  here the clock enters


@contextmanager
def workshop(progress: Progress | None = None, engine: str = "local") -> Iterator[Workshop]:
    """What one-off work is done with; its scratch folder goes when the work is done."""
    with tempfile.TemporaryDirectory(prefix="driftline-") as scratch, engine_of(engine, Path(scratch)) as found:
        yield Workshop(found, Path(scratch), utc_now(), progress)


@contextmanager
def engine_of(name: str, scratch: Path) -> Iterator[Engine]:
    """The engine of this name: `local`, or the URL of a Spark, whose session begins with the first work.

    Raises:
        InputError: it is neither, or PySpark is not installed.
    """
    if name == "local":
        yield LocalEngine(scratch=scratch)
        return
    from driftline.engines.session import check, session
    from driftline.engines.spark import SparkEngine

    check(name)
    with ExitStack() as stack:
        yield SparkEngine(cache(lambda: stack.enter_context(session(name, scratch))), scratch)


@dataclass(frozen=True, slots=True)
class App:
    """Everything, wired."""

    settings: Settings
    catalog: Catalog
    store: ObjectStore
    site: Site
    clock: Clock
    environ: Mapping[str, str]

    def channels(self) -> dict[str, Channel]:
        """The declared channels by name, without those that this process cannot serve: see `unserved`."""
        return {name: found for name, found in self._channels() if not isinstance(found, InputError)}

    def unserved(self) -> list[str]:
        """Why declared channels cannot be served here: a variable of the environment is not set, say.

        Their notices wait, and the monitors run all the same.
        """
        return [f"channel {name}: {found}" for name, found in self._channels() if isinstance(found, InputError)]

    def _channels(self) -> Iterator[tuple[str, Channel | InputError]]:
        for name, spec in self.catalog.declared.channels().items():
            try:
                yield (
                    name,
                    Webhook.of(spec, self.environ, self.clock) if isinstance(spec, WebhookSpec) else Command.of(spec),
                )
            except InputError as why:
                yield name, why


@contextmanager
def opened(environ: Mapping[str, str] | None = None, clock: Clock = utc_now) -> Iterator[App]:
    """The app of this environment (default: of the process), closed afterwards."""
    environ = os.environ if environ is None else environ
    settings = read_settings(environ)
    store = store_of(settings)
    owner = f"{socket.gethostname()}-{os.getpid()}"
    with (
        open_catalog(settings.catalog) as catalog,
        tempfile.TemporaryDirectory(prefix="driftline-") as scratch,
        engine_of(settings.engine, Path(scratch)) as engine,
    ):
        site = Site(catalog, store, _seen(engine, store, settings), settings.home / "cache", owner)
        yield App(settings, catalog, store, site, clock, environ)


def _seen(engine: Engine, store: ObjectStore, settings: Settings) -> Engine:
    """The engine, with executors elsewhere brought what is decoded here, where there is a bucket to bring it by."""
    if settings.engine == "local" or not is_url(settings.objects):
        return engine
    from driftline.engines.session import is_here

    return engine if is_here(settings.engine) else CarryingEngine(engine, store)


def store_of(settings: Settings) -> ObjectStore:
    """The object store that the settings name. Raises InputError for one that Driftline does not know."""
    try:
        return store_at(settings.objects)
    except InputError as why:
        raise InputError(f"DRIFTLINE_OBJECTS: {why}") from why
