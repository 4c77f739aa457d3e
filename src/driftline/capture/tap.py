"""One prediction on its way past a tap: who was asked, what passed by, how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable

from driftline.capture.bodies import Kept
from driftline.capture.buffer import Exchange, complain
from driftline.capture.client import Capture
from driftline.capture.routes import Asked, named
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
        return Asked()

    def metrics(self) -> bytes:
        """The counters for Prometheus, by process: of several workers behind one address each scrape meets another."""
        return self.capture.metrics({"process": str(os.getpid())}).encode()

    def failed(self, why: Exception) -> None:
        """A tap could not cope with what it saw: the request is lost for the capture, and served all the same."""
        if self.capture.refuse(self.capture.now(), TAP_FAILED):
            complain("a request was not captured: %s: %s", type(why).__name__, why)


class Tap:
    """One prediction: begun when the request came, handed over once, when its answer has ended or broken off."""

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
        "response",
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
        self.event_id: str | None = None
        """Made where the caller sent no id of its own."""
        digest = None
        self._inference_id = inference_id or None
        join_id = inference_id
        if not join_id:
            join_id, digest = capture.ids.drawn()
            self.event_id = join_id
        self.status = CLIENT_GONE
        self.answered = False
        """Whether anything of an answer came from the model."""
        if sampler.ruled:
            facts = Facts(asked.endpoint, asked.variant, path, attributes, header)
            choice = capture.choose(join_id, facts, errors=tapping.errors)
        else:
            choice = sampler.uniform(join_id, tapping.errors, digest)
        self._choice = choice
        self.keeps = bool(choice.fine or choice.failed)
        """Whether the bodies are needed: the request may be captured."""
        self.request: Kept | None = None
        self.response: Kept | None = None

    def asks(self, content_type: str | None, encoding: str | None) -> Kept | None:
        """What to add the request's body to; None where it is not needed."""
        if self.keeps:
            self.request = Kept(self._tapping.max_body_bytes, content_type, encoding)
        return self.request

    def begin(self, status: int, content_type: str | None, encoding: str | None, variant: str | None) -> None:
        """The model begins to answer; `variant` is what it says of itself."""
        self.status = status
        self.answered = True
        if variant is not None and named(variant) is not None:
            self.asked = self.asked._replace(variant=named(variant))
        if self.keeps:
            self.response = Kept(self._tapping.max_body_bytes, content_type, encoding)

    def saw(self, chunk: bytes) -> None:
        """A piece of the answer passed by."""
        if self.response is not None:
            self.response.add(chunk)

    def ended(self) -> None:
        """The answer is whole."""
        if self.response is not None:
            self.response.whole = True

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
            status = self.status
            if not 300 <= status < FAILED:
                self._hand_over(status)
        except Exception as why:  # noqa: BLE001  whatever the application sent, it is not for the tap to refuse it
            self._tapping.failed(why)

    def fail(self, why: Exception) -> None:
        """Give up: what was seen cannot be captured, which is counted."""
        if not self.done:
            self.done = True
            self._tapping.failed(why)

    def _hand_over(self, status: int) -> None:
        choice = self._choice
        if choice.limit is None:
            probability = choice.failed if status >= FAILED else choice.fine
        else:
            probability = choice.settle(status)
        if probability is None:
            return
        tapping, (endpoint, variant) = self._tapping, self.asked
        if endpoint is not None or variant is not None:
            endpoint, variant = tapping.known(self.asked, status)
        if not probability:
            tapping.capture.skip(self._at, endpoint, variant)
            return
        request, response = self.request, self.response
        tapping.capture.keep(
            Exchange(
                self._at,
                self.event_id,
                self._inference_id,
                None if request is None else request.body(),
                None if response is None else response.body(),
                None if request is None else request.content_type,
                None if response is None else response.content_type,
                self._attributes,
                request is not None and request.truncated,
                response is not None and response.truncated,
                status,
                probability,
                endpoint,
                variant,
            )
        )
