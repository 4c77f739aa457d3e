"""One prediction on its way past a tap: who was asked, what passed by, how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable

from driftline.capture.bodies import NOTHING_YET, Kept, Packed
from driftline.capture.buffer import Exchange, complain
from driftline.capture.client import Capture
from driftline.capture.routes import NOBODY, Asked, named
from driftline.capture.sampler import FAILED, Facts
from driftline.errors import InputError

INFERENCE_ID = "x-amzn-sagemaker-inference-id"
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
INVOKED_VARIANT = "x-amzn-invoked-production-variant"
EVENT_ID = "X-Driftline-Event-Id"
CLIENT_GONE = 499
"""The status of a prediction whose caller went away before the model answered, as nginx writes it."""
BROKEN = 500
"""The status of a prediction that the application answered with an exception."""
TAP_FAILED = "tap failed"
_MOST_NAMES = 1000


class Tapping:
    """What the taps of one server share.

    Args:
        max_body_bytes: of a longer body only so much is kept, and the record is marked as truncated; None: as the
            capture has it.
        errors: whether errors are captured that no sampling rule for errors matches.
    """

    def __init__(self, capture: Capture, max_body_bytes: int | None, *, errors: bool = True) -> None:
        max_body_bytes = capture.max_body_bytes if max_body_bytes is None else max_body_bytes
        if max_body_bytes < 0:
            raise InputError(f"max_body_bytes is {max_body_bytes}; it is a number of bytes, 0 or more")
        self.capture = capture
        self.max_body_bytes = max_body_bytes
        self.errors = errors
        self._known: set[Asked] = set()

    def known(self, asked: Asked, status: int) -> Asked:
        """Who was asked, if there is such a model: anybody can ask for one that there is not.

        Only one that has answered well is a name; others count for the capture's own endpoint.
        """
        if asked in self._known:
            return asked
        if status < FAILED and len(self._known) < _MOST_NAMES:
            self._known.add(asked)
            return asked
        return NOBODY

    def metrics(self) -> bytes:
        """The counters for Prometheus, by process: of several workers behind one address each scrape meets another."""
        return self.capture.metrics({"process": str(os.getpid())}).encode()

    def failed(self, why: Exception) -> None:
        """A tap could not cope with what it saw: the request is lost for the capture, and served all the same."""
        if self.capture.refuse(self.capture.now(), TAP_FAILED):
            complain("a request was not captured: %s: %s", type(why).__name__, why)


class Tap:
    """One prediction: begun when the request came, handed over once, when its answer has ended or broken off.

    The time that is spent here is the request's: what can be left to the writer's thread is left to it.
    """

    __slots__ = (
        "_at",
        "_attributes",
        "_choice",
        "_inference_id",
        "_tapping",
        "answered",
        "asked",
        "done",
        "event_id",
        "keeps",
        "request",
        "request_type",
        "response",
        "response_type",
        "status",
    )

    def __init__(
        self,
        tapping: Tapping,
        asked: Asked,
        path: str,
        inference_id: str | None,
        attributes: tuple[str, ...],
        header: Callable[[str], str | None] | None,
    ) -> None:
        """`header` gives the value of a header by its name in lower case; asked only where there are rules."""
        capture = tapping.capture
        sampler = capture.sampler
        self._tapping = tapping
        self._at = capture.now()
        self._attributes = attributes
        self.done = False
        """Whether it was handed over, or given up."""
        self.asked = asked
        self._inference_id = join_id = inference_id or None
        self.event_id: str | None = None
        """Made where the caller sent no id of its own."""
        self.status = CLIENT_GONE
        self.answered = False
        """Whether anything of an answer came from the model."""
        if sampler.same is not None:
            choice = sampler.same[tapping.errors]
            if join_id is None:
                self.event_id = capture.ids.new()
        else:
            digest = None
            if join_id is None:
                join_id, digest = capture.ids.drawn()
                self.event_id = join_id
            if sampler.ruled:
                facts = Facts(asked.endpoint, asked.variant, path, attributes, header)
                choice = capture.choose(join_id, facts, errors=tapping.errors)
            else:
                choice = sampler.uniform(join_id, tapping.errors, digest)
        self._choice = choice
        self.keeps = choice.keeps
        """Whether the bodies are needed: the request may be captured."""
        self.request: bytes | Kept | None = None
        """The body, where it is needed: as it is where all of it came in one piece."""
        self.response: bytes | Kept | None = None
        self.request_type: str | bytes | None = None
        self.response_type: str | bytes | None = None

    def asks(self, content_type: str | bytes | None, encoding: str | None) -> None:
        """The request has a body of this kind, which is to come."""
        if self.keeps:
            self.request_type = content_type
            self.request = NOTHING_YET if encoding is None else Kept(self._tapping.max_body_bytes, encoding)

    def asks_all(self, body: bytes, content_type: str | None) -> None:
        """The request has this body."""
        self.asks(content_type, None)
        self.hears(body, more=False)

    def hears(self, chunk: bytes, *, more: bool) -> None:
        """A piece of the request's body passed by; whether there is more to come."""
        request = self.request
        if request is NOTHING_YET and not more and type(chunk) is bytes and len(chunk) <= self._tapping.max_body_bytes:
            self.request = chunk
        elif request is not None:
            self.request = kept = self._gathered(request)
            kept.add(chunk)
            kept.whole = kept.whole or not more

    def hears_again(self) -> None:
        """What comes of the request's body may have come before: it cannot be told what the body was."""
        if self.request is not None:
            self.request = kept = self._gathered(self.request)
            kept.overran = True

    def begin(self, status: int, content_type: str | bytes | None, encoding: str | None, variant: str | None) -> None:
        """The model begins to answer; `variant` is what it says of itself."""
        self.status = status
        self.answered = True
        if variant is not None and named(variant) is not None:
            self.asked = self.asked._replace(variant=named(variant))
        if self.keeps:
            self.response_type = content_type
            self.response = NOTHING_YET if encoding is None else Kept(self._tapping.max_body_bytes, encoding)

    def saw(self, chunk: bytes) -> None:
        """A piece of the answer passed by."""
        if self.response is not None:
            self.response = kept = self._gathered(self.response)
            kept.add(chunk)

    def saw_all(self, chunk: bytes) -> None:
        """The last piece of the answer passed by; most of the time it is the only one."""
        response = self.response
        if response is NOTHING_YET and type(chunk) is bytes and len(chunk) <= self._tapping.max_body_bytes:
            self.response = chunk
        elif response is not None:
            self.response = kept = self._gathered(response)
            kept.add(chunk)
            kept.whole = True

    @property
    def sated(self) -> bool:
        """Whether more of the answer would change nothing."""
        return isinstance(self.response, Kept) and self.response.overran

    def broke(self) -> None:
        """The application failed."""
        if not self.answered:
            self.status = BROKEN

    def finish(self) -> None:
        """Hand over what was seen; once. What sends the caller elsewhere (3xx) is no answer of a model."""
        if self.done:
            return
        self.done = True
        try:
            if not 300 <= self.status < FAILED:
                self._hand_over()
        except Exception as why:  # noqa: BLE001  whatever the application sent, it is not for the tap to refuse it
            self._tapping.failed(why)

    def fail(self, why: Exception) -> None:
        """Give up: what was seen cannot be captured, which is counted."""
        if not self.done:
            self.done = True
            self._tapping.failed(why)

    def _gathered(self, body: bytes | Kept) -> Kept:
        """The body as one that more can be added to."""
        if isinstance(body, Kept) and body is not NOTHING_YET:
            return body
        kept = Kept(self._tapping.max_body_bytes, None)
        if isinstance(body, bytes):
            kept.add(body)
            kept.whole = True
        return kept

    def _hand_over(self) -> None:
        status, choice = self.status, self._choice
        if choice.limit is None:
            probability = choice.failed if status >= FAILED else choice.fine
        else:
            probability = choice.settle(status)
        if probability is None:
            return
        capture, asked = self._tapping.capture, self.asked
        if asked is NOBODY:
            endpoint = variant = None
        else:
            endpoint, variant = self._tapping.known(asked, status)
        if not probability:
            capture.skip(self._at, endpoint, variant)
            return
        request: bytes | Packed | None
        response: bytes | Packed | None
        if isinstance(self.request, Kept):
            request, cut = self.request.body(), self.request.truncated
        else:
            request, cut = self.request, False
        if isinstance(self.response, Kept):
            response, response_cut = self.response.body(), self.response.truncated
        else:
            response, response_cut = self.response, False
        # Not by calling the class, which takes several times as long.
        exchange = _new(
            Exchange,
            (
                self._at,
                self.event_id,
                self._inference_id,
                request,
                response,
                self.request_type,
                self.response_type,
                self._attributes,
                cut,
                response_cut,
                status,
                probability,
                endpoint,
                variant,
            ),
        )
        capture.keep(exchange)


_new = tuple.__new__
