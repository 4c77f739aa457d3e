"""The tap by hand: one call per request, which costs microseconds and never raises."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from weakref import WeakMethod

from driftline.capture.buffer import Buffer, Exchange, Order, complain
from driftline.capture.counters import Counters
from driftline.capture.given import NOT_A_NAME, TOO_MANY_NAMES, checked
from driftline.capture.ids import Ids
from driftline.capture.in_force import InForce
from driftline.capture.layout import captured_prefix
from driftline.capture.routes import PREDICTIONS
from driftline.capture.sampler import Choice, Facts, Sampler, Sampling
from driftline.capture.spool import Spool
from driftline.errors import InputError

if TYPE_CHECKING:
    from driftline.capture.config import Config
    from driftline.capture.privacy import Policy
    from driftline.capture.writer import Writer
    from driftline.objects.store import ObjectStore

_BODIES = frozenset({bytes, str, type(None)})
_EXIT_S = 5.0


_now = partial(datetime.now, UTC)  # noqa: TID251  a capture runs in the endpoint: its clock is the world's


class Capture:
    """Captures requests and answers of one endpoint, or of many: whoever logs may name another.

    Args:
        endpoint: the name of the endpoint, where none is named with the request; letters, digits, hyphens, dots,
            underscores.
        store: a folder, a URL such as `s3://bucket/prefix`, or an object store.
        variant: which of the endpoint's models answers, where none is named with the request.
        sampling: the share of the requests that is captured, 0..1, chosen by a hash of the request's id; or a
            `Sampling`, with rules and a limit.
        clock: gives the time of a request, aware.
        csv_content_types, json_content_types: bodies of these types are kept as text, all others as base64.
        roll_after_s: a file is closed when it is this old …
        max_file_bytes: … or has grown to this size. While the store is away, twice as much is held in memory.
        queue_size, queue_bytes: how many requests may wait for the writer, and how long their bodies may be together.
        privacy: what is dropped, hashed, masked or rounded before a record is written anywhere.
        format: `jsonl`, lines as Model Monitor writes them, or `parquet`, columns: smaller, and open to every tool.
        spool: where records wait on the local disk until they are in the store, see `Spool`; False: in memory only.
        config: the file that all this comes from; see `from_config`.

    Requests may be logged from any thread. A forked child has its own writer, an empty queue and its own counters.
    """

    def __init__(
        self,
        endpoint: str,
        store: ObjectStore | str | os.PathLike[str],
        *,
        variant: str = "AllTraffic",
        sampling: float | Sampling = 1.0,
        clock: Callable[[], datetime] = _now,
        csv_content_types: Sequence[str] = ("text/csv",),
        json_content_types: Sequence[str] = ("application/json",),
        roll_after_s: float = 60.0,
        max_file_bytes: int = 64 << 20,
        queue_size: int = 10_000,
        queue_bytes: int = 64 << 20,
        privacy: Policy | None = None,
        format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002  the word of the configuration file
        spool: Spool | str | os.PathLike[str] | Literal[False] | None = None,
        config: Config | None = None,
    ) -> None:
        # What the writer's thread needs is slow to import; a program that only names this class does not pay for it.
        from driftline.capture.destination import Destination
        from driftline.capture.formats import usable
        from driftline.capture.record import ContentTypes
        from driftline.capture.writer import Writer
        from driftline.objects.places import store_at

        captured_prefix(endpoint, variant)  # refuses what is not a name
        if min(roll_after_s, max_file_bytes, queue_size, queue_bytes) <= 0:
            raise InputError(
                f"roll_after_s {roll_after_s}, max_file_bytes {max_file_bytes}, queue_size {queue_size} and "
                f"queue_bytes {queue_bytes} must all be above 0"
            )
        if clock().tzinfo is None:
            raise InputError("clock gives times without a zone; give aware ones, such as datetime.now(UTC)")
        self.paths = (config and config.spec.paths) or PREDICTIONS
        """Templates of the paths that taps capture, where they are not told which."""
        self.max_body_bytes = 6 << 20 if config is None else config.spec.max_body_bytes
        """Of a longer body taps keep only so much, where they are not told how much."""
        self.now = clock
        """The time by this capture's clock."""
        self._in_force = InForce()
        self.reload(sampling)
        self.protect(privacy)
        self._endpoint, self._variant = endpoint, variant
        self._queue_size, self._queue_bytes = queue_size, queue_bytes
        self._to = Destination(
            store=store_at(store) if isinstance(store, (str, os.PathLike)) else store,
            in_force=self._in_force,
            content_types=ContentTypes(tuple(csv_content_types), tuple(json_content_types)),
            roll_after_s=roll_after_s,
            max_file_bytes=max_file_bytes,
            endpoint=endpoint,
            watch=None if config is None else config.watched(self.reload, self.protect),
            format=usable(format),
            spool=None if spool is False else (spool if isinstance(spool, Spool) else Spool(spool)).checked(),
        )
        self._ended = False
        self._writer: Writer | None = None
        self._ready: Writer | None = None
        self._begin()
        self._ready = Writer(self._to, self._buffer)
        self._ready.open()  # before the first request, which a kill must not take uncounted; in a child after it
        atexit.register(self.close, _EXIT_S)
        forked = WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (begin := forked()) and begin())
        if self._to.left():
            self.start()  # else only with the first request: a process that forks its workers needs no thread

    @classmethod
    def from_config(cls, file: str | os.PathLike[str] | None = None, **given: Any) -> Self:
        """The capture that a YAML file declares.

        Args:
            file: default: the one that the environment variable DRIFTLINE_CAPTURE_CONFIG names.
            given: arguments of `Capture` that count instead of the file's.

        Raises:
            NotFound, InputError: there is no such file, or something in it is wrong: with its line and key.
        """
        from driftline.capture.config import config_file, read_config

        config = read_config(config_file(file, os.environ), fixed=frozenset(given))
        return cls(**config.arguments() | given, config=config)

    def log(
        self,
        request: bytes | str | None,
        response: bytes | str | None,
        *,
        inference_id: str | None = None,
        request_content_type: str | None = "text/csv",
        response_content_type: str | None = "text/csv",
        custom_attributes: Sequence[str] = (),
        at: datetime | None = None,
        status: int | None = None,
        endpoint: str | None = None,
        variant: str | None = None,
    ) -> str:
        """Capture one request and its answer, if it is chosen. Never blocks, never raises: what goes wrong is counted.

        Args:
            request, response: the bodies as sent; None where that side is not to be captured.
            at: when the model was asked, aware; default: now.
            status: the HTTP status of the answer, where there is one.
            endpoint, variant: which one was asked; default: the capture's own.

        Returns:
            The id that labels must name: the inference id, or a new event id where there is none.
        """
        # By its type first: there are objects (arrays) that cannot say whether they are true.
        named = inference_id if type(inference_id) is str and inference_id else None
        event_id = None if named else self.ids.new()
        exchange = Exchange(
            self.now() if at is None else at,
            event_id,
            named,
            request,
            response,
            request_content_type,
            response_content_type,
            custom_attributes,  # type: ignore[arg-type]  # `checked` makes it a tuple
            False,
            False,
            status,
            1.0,
            endpoint,
            variant,
        )
        if (
            type(request) not in _BODIES
            or type(response) not in _BODIES
            or type(custom_attributes) is not tuple
            or custom_attributes
            or at is not None
            or (status is not None and type(status) is not int)
            or (named is None and inference_id is not None)
        ):
            mended = checked(exchange._replace(inference_id=inference_id))
            if isinstance(mended, str):
                if self.refuse(self.now(), mended):
                    complain("a request was not captured: %s", mended)
                return named or event_id or ""
            exchange = mended
        self.take(exchange)
        return exchange.inference_id or exchange.event_id or ""

    def wants(self, join_id: str) -> bool:
        """Whether the request with this id may be chosen: its bodies must be kept. The answer is always the same."""
        return self.sampler.may(join_id)

    def choose(self, join_id: str, facts: Facts | None = None, *, errors: bool = False) -> Choice:
        """Decide about a request before its answer is known. For taps, which hand the choice over with the exchange.

        Args:
            join_id: the inference id, or the event id where there is none.
            facts: what the rules may ask about.
            errors: whether errors are captured that no rule for errors matches.
        """
        sampler = self.sampler
        if not sampler.ruled:
            return sampler.choose(join_id, errors=errors)
        facts = facts or Facts()
        named = facts._replace(endpoint=facts.endpoint or self._endpoint, variant=facts.variant or self._variant)
        return sampler.choose(join_id, named, errors=errors)

    def take(self, exchange: Exchange, choice: Choice | None = None) -> None:
        """Capture the exchange if it is chosen. For taps; `log` is for people.

        Args:
            choice: what `choose` gave when the request came; without it the rules see what the exchange holds.
        """
        endpoint, variant = exchange.endpoint, exchange.variant
        if choice is None:
            facts = Facts(endpoint, variant, None, exchange.custom_attributes) if self.sampler.ruled else None
            choice = self.choose(exchange.inference_id or exchange.event_id or "", facts, errors=True)
        probability = choice.settle(exchange.status)
        if probability:
            self.keep(exchange if probability == exchange.probability else exchange._replace(probability=probability))
        elif probability is not None:
            self.skip(exchange.at, endpoint, variant)

    def keep(self, exchange: Exchange) -> None:
        """Capture the exchange: it is chosen, and says with what probability. For taps that have settled that."""
        if self._writer is None:
            self.start()
        endpoint, variant = exchange.endpoint, exchange.variant
        if (endpoint is not None or variant is not None) and not self._named(exchange.at, endpoint, variant):
            return
        request, response = exchange.request, exchange.response
        size = (len(request) if request else 0) + (len(response) if response else 0)
        if not self._buffer.offer(exchange, size):
            self._revive()

    def reload(self, sampling: float | Sampling) -> None:
        """Sample otherwise from now on. The change is recorded in the records and with the counters."""
        self.sampler = sampler = Sampler(sampling)
        self._in_force.samples(self.now(), sampler.sampling)

    def protect(self, privacy: Policy | None) -> None:
        """From now on have this policy done to records, those that wait too. The change is recorded as well."""
        self._in_force.protects(self.now(), privacy)

    @property
    def ruled(self) -> bool:
        """Whether there are rules, so that `choose` needs facts."""
        return self.sampler.ruled

    @property
    def sampling(self) -> Sampling:
        """What was asked for last; a limit may have lowered what is in force."""
        return self.sampler.sampling

    def skip(self, at: datetime, endpoint: str | None = None, variant: str | None = None) -> None:
        """Count a request that was answered and is not chosen. For taps that need not keep its bodies."""
        if self._writer is None:
            self.start()
        if (endpoint is None and variant is None) or self._named(at, endpoint, variant):
            self._buffer.skip(at, endpoint, variant)

    def refuse(self, at: datetime, reason: str, endpoint: str | None = None, variant: str | None = None) -> bool:
        """Count a request that cannot be captured; whether it is the first of its hour and reason. For taps."""
        if self._writer is None:
            self.start()
        return self._named(at, endpoint, variant) and self._buffer.refuse(at, reason, endpoint, variant)

    def waits(self, at: datetime, requests: int, chosen: int, endpoint: str | None, variant: str | None) -> None:
        """So many more requests wait for a part that is to come: what a kill takes of them is counted. For sinks."""
        if self._wrong(endpoint, variant) is None:
            self._buffer.waits(at, requests, chosen, endpoint, variant)

    @property
    def counters(self) -> Counters:
        """What became of the requests since this process began to capture."""
        return self._buffer.tallies.total()

    @property
    def counters_by_variant(self) -> dict[tuple[str, str], Counters]:
        """The same for every endpoint and variant."""
        return self._buffer.tallies.totals()

    def metrics(self, labels: Mapping[str, str] | None = None) -> str:
        """The counters of every endpoint and variant and what is in force, for Prometheus; with `labels` on all."""
        from driftline.capture.metrics import counted, exposition, in_force, waiting

        now = in_force(self.sampler.in_force(), self._to.watch)
        return exposition([*counted(self._buffer.tallies.totals()), *waiting(self._writer), *now], labels)

    def hurry(self) -> None:
        """Look at once whether the file that declares this capture has changed, not within a second or two."""
        if self._to.watch is not None:
            self._to.watch.hurry()

    def start(self) -> None:
        """Have the store asked what it can do before the first request; not where workers are forked after this."""
        with self._starting:
            if self._writer is not None or self._ended:
                return
            from driftline.capture.writer import Writer

            writer = self._ready = self._ready or Writer(self._to, self._buffer)
            try:
                writer.start()
            except RuntimeError as why:
                # No thread to be had now (a limit, or the interpreter ends): the queue fills, the next request tries.
                complain("the writer of the capture cannot start: %s", why)
                return
            self._writer = writer

    def flush(self, timeout_s: float = _EXIT_S) -> bool:
        """Close the open files and store them; whether everything so far is in the store."""
        return self._order(Order(), timeout_s)

    def close(self, timeout_s: float = _EXIT_S) -> bool:
        """Store what waits and end; whether everything is in the store. What comes later is dropped and counted."""
        atexit.unregister(self.close)
        self._ended = True
        self._buffer.close()
        return self._order(Order(deadline=time.monotonic() + timeout_s), timeout_s + 1.0)

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _order(self, order: Order, timeout_s: float) -> bool:
        writer = self._writer
        if writer is None or not writer.is_alive():
            if self._ready is not None and order.deadline is not None:
                self._ready.discard()
            return self.counters.pending == 0
        self._buffer.bell.put(order)
        return order.done.wait(timeout_s) and order.whole

    def _named(self, at: datetime, endpoint: str | None, variant: str | None) -> bool:
        """Whether records can be kept under these names; if not, the request is counted as lost by the own endpoint."""
        refused = self._wrong(endpoint, variant)
        if refused and self._buffer.refuse(at, refused):
            complain("a request was not captured: %s (endpoint %r, variant %r)", refused, endpoint, variant)
        return refused is None

    def _wrong(self, endpoint: str | None, variant: str | None) -> str | None:
        try:
            if self._buffer.knows(endpoint, variant):
                return None
            captured_prefix(endpoint or self._endpoint, variant or self._variant)
            return None if self._buffer.room_for_names() else TOO_MANY_NAMES
        except (InputError, TypeError):
            return NOT_A_NAME

    def _begin(self) -> None:
        parents, self._writer, self._ready = self._writer or self._ready, None, None
        if parents is not None:
            parents.abandon()
        self._starting = RLock()
        self.ids = Ids()  # a fork must not give ids that its parent gives, too
        self.sampler = Sampler(self.sampler.sampling)  # a fork may have come while the limit was counting
        self._buffer = Buffer(self._endpoint, self._variant, self._queue_size, self._queue_bytes)
        if self._ended:
            self._buffer.close()

    def _revive(self) -> None:
        """Asked when the queue is full: a writer that died must not stay dead."""
        writer = self._writer
        if writer is None or self._ended or writer.is_alive():
            return
        with self._starting:
            if not writer.is_alive():
                complain("the thread that writes captured requests has died; it is started again")
                try:
                    writer.start()
                except RuntimeError as why:
                    complain("the writer of the capture cannot start: %s", why)
