"""A sink for KServe's payload logger: requests and answers come as CloudEvents, each by itself, and become records."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from aiohttp import hdrs, web

from driftline.capture.bodies import Packed
from driftline.capture.buffer import Exchange, complain
from driftline.capture.client import Capture
from driftline.capture.cloudevents import BATCH, FRAMED, Event, in_batch, in_document, in_headers
from driftline.capture.ids import id_hash
from driftline.capture.metrics import Family, exposition
from driftline.capture.pairs import CROWDED, Pair, Pairs, Part, Remembered, Side
from driftline.capture.routes import Asked, named
from driftline.capture.sampler import Facts
from driftline.errors import InputError

Mode: TypeAlias = Literal["all", "request", "response"]
"""What the logger is set to send, in KServe's words."""
STOPPED = "sink stopped before the other side came"
_SIDES: dict[str, Side] = {
    "org.kubeflow.serving.inference.request": "request",
    "org.kubeflow.serving.inference.response": "response",
}
_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_WHOSE = ("inferenceservicename", "namespace", "component", "endpoint")
_GZIP = b"\x1f\x8b"
_OPENS = {b"{": b"}", b"[": b"]"}
_NOTHING = Part(datetime(1970, 1, 1, tzinfo=UTC), None, None, False)
_PLACES = ("service", "namespace", "component", "endpoint")
_FAR_OFF = timedelta(days=30)
_REMEMBERED = 100_000
_TICK_S = 0.5
_metadata = msgspec.json.Decoder(dict[str, list[str]])


class Waiting(NamedTuple):
    """How sides wait for each other."""

    timeout_s: float = 300.0
    most: int = 10_000
    most_bytes: int = 256 << 20


class Names:
    """Whose an event is: a template with `{service}`, `{namespace}`, `{component}` and `{endpoint}`.

    What an event does not say leaves no dot behind, and `{service}` of a transformer is that of its predictor with
    `-transformer`, for both may log.

    >>> names = Names("{service}.{namespace}")
    >>> names.of({"inferenceservicename": "flights", "namespace": "prod", "component": "transformer"})
    'flights-transformer.prod'
    >>> names.of({"inferenceservicename": "flights"})
    'flights'
    """

    def __init__(self, template: str) -> None:
        self.template = template
        found = re.findall(r"\{([^{}]*)\}", template)
        if not found or not set(found) <= set(_PLACES):
            told = ", ".join(f"{{{place}}}" for place in _PLACES)
            raise InputError(f"names {template!r} must be made of some of {told}, such as {{service}}.{{namespace}}")
        self._component = "component" in found

    def of(self, attributes: Mapping[str, str]) -> str | None:
        """The endpoint's name; None where the event says nothing of it."""
        said = {place: attributes.get(place, "") for place in _PLACES}
        said["service"] = attributes.get("inferenceservicename", "")
        if said["service"] and said["component"] not in ("", "predictor") and not self._component:
            said["service"] += f"-{said['component']}"
        name = re.sub(r"\{([^{}]*)\}", lambda place: said[place[1]], self.template)
        return re.sub(r"([._-])[._-]*", r"\1", name).strip("._-") or None


class _RefusedError(Exception):
    """The message cannot be taken: status, a word for programs, a sentence for people."""

    def __init__(self, status: int, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.word = status, word


class Sink:
    """Takes the events of KServe's payload logger; a request and the answer with the same id become one record.

    Whatever it takes is answered 200, with nothing in it: the logger sends each event once, and does not try again.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        names: str = "{service}.{namespace}",
        mode: Mode = "all",
        waiting: Waiting = Waiting(),  # noqa: B008  a value that nobody can change
        id_header: str | None = None,
        max_body_bytes: int = 6 << 20,
        max_event_bytes: int = 64 << 20,
    ) -> None:
        """`id_header` is a header of the model's caller, which the logger is told to send as metadata."""
        if (
            waiting.timeout_s <= 0
            or waiting.most < 1
            or waiting.most_bytes < 1
            or min(max_body_bytes, max_event_bytes) < 0
        ):
            raise InputError("how long and how many requests wait for their answers must be above 0")
        self._capture = capture
        self._names = Names(names)
        self._mode = mode
        self._pairs = Pairs(waiting.most, waiting.most_bytes, waiting.timeout_s)
        self._came = Remembered(_REMEMBERED)
        self._id_header = id_header.lower() if id_header else None
        self._max_body_bytes = max_body_bytes
        self._max_event_bytes = max_event_bytes
        self._expiring: asyncio.Task[None] | None = None
        self.events: Counter[str] = Counter()
        """Events that were taken: `request`, `response`, and `other`, which are not the logger's."""
        self.refused: Counter[str] = Counter()
        """What came and was not taken, by reason."""
        self.repeated = 0
        """Events that had come before."""

    async def open(self) -> None:
        """Get ready to serve; within the event loop."""
        self._expiring = asyncio.get_running_loop().create_task(self._expire())

    async def close(self) -> None:
        """Give up waiting: what has no other side now gets none."""
        if self._expiring is not None:
            self._expiring.cancel()
            with suppress(asyncio.CancelledError):
                await self._expiring
        for pair in self._pairs.rest():
            self._lose(pair, STOPPED)

    def metrics(self) -> str:
        """What came in, in the text format of Prometheus."""
        events = [({"kind": kind}, count) for kind, count in sorted(self.events.items())]
        refused = [({"reason": reason}, count) for reason, count in sorted(self.refused.items())]
        waiting, size = len(self._pairs), self._pairs.bytes
        return exposition(
            [
                Family("driftline_sink_events_total", "counter", "Events taken, by kind.", events),
                Family("driftline_sink_refused_total", "counter", "What was not taken, by reason.", refused),
                Family("driftline_sink_repeated_total", "counter", "Events that came again.", [({}, self.repeated)]),
                Family("driftline_sink_waiting", "gauge", "Requests and answers without the other.", [({}, waiting)]),
                Family("driftline_sink_waiting_bytes", "gauge", "Length of their bodies.", [({}, size)]),
            ]
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one message; its path does not matter."""
        if request.method != "POST":
            return web.Response(status=405, headers={hdrs.ALLOW: "POST"})
        try:
            events = await self._events(request)
        except _RefusedError as why:
            self.refused[why.word] += 1
            return web.json_response({"error": why.word, "detail": str(why)}, status=why.status)
        wrong = [bad for event, cut in events if (bad := self._taken(event, cut)) is not None]
        if not wrong:
            return web.Response()
        self.refused["bad_event"] += len(wrong)
        complain("an event was refused: %s", wrong[0])
        if len(wrong) < len(events):
            return web.Response()  # a sender that tried again would only send again what was good
        return web.json_response({"error": "bad_event", "detail": str(wrong[0])}, status=400)

    async def _events(self, request: web.Request) -> list[tuple[Event | InputError, bool]]:
        """The events of a message, each with whether only the beginning of its data is there."""
        kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        framed = kind.startswith(FRAMED)
        body, cut = await _body(request, self._max_event_bytes if framed else self._max_body_bytes)
        try:
            if not framed:
                return [(in_headers(request.headers.items(), body), cut)]
            if body.startswith(_GZIP):
                body, short = Packed(body, self._max_event_bytes, raw=False).unpacked()
                cut = cut or short
            if cut:
                told = f"an event in JSON, or a batch, may have up to {self._max_event_bytes} bytes"
                raise _RefusedError(413, "too_large", told)
            return [(event, False) for event in (in_batch(body) if kind == BATCH else [in_document(body)])]
        except InputError as why:
            return [(why, False)]

    def _taken(self, event: Event | InputError, cut: bool) -> InputError | None:
        """Take the event; what is wrong with it, where it cannot be taken."""
        if isinstance(event, InputError):
            return event
        side = _SIDES.get(event.type)
        if side is None:
            self.events["other"] += 1
            return None
        try:
            self._take(event, side, cut)
        except InputError as why:
            return why
        self.events[side] += 1
        return None

    def _take(self, event: Event, side: Side, cut: bool) -> None:
        now = self._capture.now()
        at = event.time or now
        if abs(at - now) > _FAR_OFF:
            raise InputError(f"time {at.isoformat()} of an event is more than {_FAR_OFF.days} days from now")
        attributes = event.attributes
        status = _status(attributes.get("statuscode"))
        whose = "\0".join((*(attributes.get(name, "") for name in _WHOSE), event.id))
        moment = attributes.get("time") or blake2b(event.data, digest_size=8).hexdigest()
        if self._came.again(id_hash(f"{side}\0{moment}\0{whose}")):
            self.repeated += 1
            return
        pair = self._pairs.get(whose) or self._begun(event)
        most = self._max_body_bytes
        data, cut = event.data[:most], cut or len(event.data) > most
        body: bytes | Packed | None = data if pair.choice.keeps else None
        if pair.choice.keeps and data.startswith(_GZIP):  # the agent tells no content encoding
            body = Packed(data, most, raw=False)
        part = Part(at, body, _content_type(side, event), cut, status)
        if self._mode == side:
            pair.put(side, part)
            self._hand_over(pair)
        elif self._mode == "all":
            if self._pairs.put(whose, pair, side, part):
                self._hand_over(pair)
                self._count(pair, 0)
            else:
                self._count(pair, pair.requests)
        for crowded in self._pairs.crowded():
            self._lose(crowded, CROWDED)

    def _begun(self, event: Event) -> Pair:
        """An exchange of which nothing has come yet."""
        metadata = _metadata_of(event.attributes)
        variant = event.attributes.get("endpoint") or None  # `default` or `canary`, where KServe says it
        asked = Asked(self._names.of(event.attributes), named(variant))

        def header(name: str) -> str | None:
            return next(iter(metadata.get(name, ())), None)

        inference_id = (header(self._id_header) if self._id_header else None) or event.id
        attributes = tuple(metadata.get(_CUSTOM_ATTRIBUTES, ()))
        facts = Facts(*asked, None, attributes, header)
        choice = self._capture.choose(inference_id, facts, errors=True)
        return Pair(asked, inference_id, attributes, choice, time.monotonic())

    def _hand_over(self, pair: Pair) -> None:
        request, response = pair.request or _NOTHING, pair.response or _NOTHING
        self._capture.take(
            Exchange(
                pair.at,
                None,
                pair.inference_id,
                request.body,
                response.body,
                request.content_type,
                response.content_type,
                pair.attributes,
                request.truncated,
                response.truncated,
                response.status,
                1.0,
                *pair.asked,
            ),
            pair.choice,
        )

    def _count(self, pair: Pair, waiting: int) -> None:
        """So many of the pair's requests wait now. They are counted as what they become only once that is known."""
        more, pair.counted = waiting - pair.counted, waiting
        at = pair.counted_at = pair.counted_at or pair.at
        if more:
            self._capture.waits(at, more, more if pair.choice.fine else 0, *pair.asked)

    def _lose(self, pair: Pair, reason: str) -> None:
        for _ in range(pair.requests):
            if not pair.choice.settle(None):
                self._capture.skip(pair.at, *pair.asked)
            elif self._capture.refuse(pair.at, reason, *pair.asked):
                complain("a request was not captured: %s (%s)", reason, pair.inference_id)
        self._count(pair, 0)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for pair in self._pairs.expired(time.monotonic()):
                self._lose(pair, pair.why_lost)


async def _body(request: web.Request, most: int) -> tuple[bytes, bool]:
    """The body, or its beginning, and whether that is not all of it."""
    body, cut = bytearray(), False
    try:
        async for chunk in request.content.iter_any():
            room = most - len(body)
            cut = cut or len(chunk) > room
            body += chunk[:room]
    except (web.RequestPayloadError, ValueError) as why:
        raise _RefusedError(400, "bad_request", "the body of the request is not whole") from why
    return bytes(body), cut


def _status(text: str | None) -> int | None:
    """What the extension `statuscode` says, which loggers add that send errors too."""
    return int(text) if text is not None and re.fullmatch(r"[1-5]\d\d", text) else None


def _content_type(side: Side, event: Event) -> str | None:
    """The content type of the data: KServe writes that of the request on the answer too, whatever it is."""
    data = event.data
    if side == "response" and data[:1] in _OPENS and data.rstrip()[-1:] == _OPENS[data[:1]]:
        return "application/json"
    return event.content_type


def _metadata_of(attributes: Mapping[str, str]) -> dict[str, list[str]]:
    """The headers of the model's caller that the logger was told to send, by their names in lower case."""
    try:
        return {name.lower(): values for name, values in _metadata.decode(attributes.get("metadata") or "{}").items()}
    except (msgspec.MsgspecError, UnicodeError):
        return {}
