"""What the gateway keeps of one prediction: the beginnings of both bodies, and what became of the answer."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from multidict import CIMultiDictProxy

from driftline.capture.buffer import Exchange
from driftline.capture.client import Capture
from driftline.capture.ids import new_id
from driftline.capture.routes import Asked, named
from driftline.capture.sampler import Facts

INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
INVOKED_VARIANT = "x-Amzn-Invoked-Production-Variant"
EVENT_ID = "X-Driftline-Event-Id"
CLIENT_GONE = 499
"""The status of a prediction whose caller went away before the model answered, as nginx writes it."""


_MANY = 64 << 10


class Kept:
    """The beginning of a body, and whether that was all of it."""

    __slots__ = ("_chunks", "_encoding", "_overran", "_room", "content_type", "size", "whole")

    def __init__(self, room: int, headers: Mapping[str, str]) -> None:
        self._chunks: list[bytes] = []
        self._room = room
        self._encoding = headers.get("Content-Encoding")
        self._overran = False
        self.content_type = headers.get("Content-Type")
        self.size = 0
        self.whole = False

    def add(self, chunk: bytes) -> None:
        """Keep of the chunk what there is room for."""
        room = self._room - self.size
        if len(chunk) > room:
            self._overran = True
            chunk = chunk[:room]
        if chunk:
            self._chunks.append(chunk)
            self.size += len(chunk)

    def content(self) -> bytes:
        """What was kept."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    @property
    def truncated(self) -> bool:
        """Whether more was sent than was kept, or the body broke off."""
        return self._overran or not self.whole

    @property
    def packed(self) -> bool:
        """Whether the body is compressed in a way that can be undone here."""
        return self._encoding is not None and self._encoding.strip().lower() in ("gzip", "x-gzip", "deflate")


class Tap:
    """One prediction on its way: who was asked, what passed by, how it ended."""

    __slots__ = (
        "_at",
        "_attributes",
        "_capture",
        "_choice",
        "_inference_id",
        "_most",
        "answered",
        "asked",
        "event_id",
        "request",
        "response",
        "status",
    )

    def __init__(
        self,
        capture: Capture,
        asked: Asked,
        headers: CIMultiDictProxy[str],
        path: str,
        inference_id: str | None,
        most: int,
    ) -> None:
        self._capture = capture
        self._at = capture.now()
        self._inference_id = inference_id or None
        self._attributes = tuple(headers.getall(CUSTOM_ATTRIBUTES, ()))
        self._most = most
        self.asked = asked
        self.event_id = None if self._inference_id else new_id()
        """Made where the caller sent no id of its own."""
        self.status = CLIENT_GONE
        self.answered = False
        """Whether anything of an answer came from the model."""
        facts = Facts(asked.endpoint, asked.variant, path, self._attributes, headers.get)
        self._choice = capture.choose(self._inference_id or self.event_id or "", facts, errors=True)
        self.request: Kept | None = Kept(most, headers) if self._choice else None
        self.response: Kept | None = None

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The model begins to answer."""
        self.status = status
        self.answered = True
        invoked = named(headers.get(INVOKED_VARIANT))
        if invoked is not None:
            self.asked = self.asked._replace(variant=invoked)
        if self.request is not None:
            self.response = Kept(self._most, headers)

    def saw(self, chunk: bytes) -> None:
        """A piece of the answer passed by."""
        if self.response is not None:
            self.response.add(chunk)

    def ended(self) -> None:
        """The answer is whole."""
        if self.response is not None:
            self.response.whole = True

    @property
    def unpacks(self) -> bool:
        """Whether there are many bytes to unpack: that takes milliseconds."""
        return any(kept is not None and kept.packed and kept.size > _MANY for kept in (self.request, self.response))

    def finish(self) -> None:
        """Hand over what was seen."""
        request, response = self.request, self.response
        exchange = Exchange(
            self._at,
            self.event_id,
            self._inference_id,
            None,
            None,
            None,
            None,
            self._attributes,
            status=self.status,
            endpoint=self.asked.endpoint,
            variant=self.asked.variant,
        )
        if request is not None:
            body, cut = _unpacked(request, self._most)
            exchange = exchange._replace(request=body, request_truncated=cut, request_content_type=request.content_type)
        if response is not None:
            body, cut = _unpacked(response, self._most)
            exchange = exchange._replace(
                response=body, response_truncated=cut, response_content_type=response.content_type
            )
        self._capture.take(exchange, self._choice)


def _unpacked(kept: Kept, most: int) -> tuple[bytes, bool]:
    """The body as its content type describes it, and whether that is only its beginning.

    gzip and deflate are unpacked, as far as there is room; a body in another encoding, or whose encoding is not true,
    stays as it was sent.
    """
    body = kept.content()
    if not kept.packed or not body:
        return body, kept.truncated
    for bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip or zlib by their first bytes; some send raw deflate
        packed = zlib.decompressobj(bits)
        try:
            text = packed.decompress(body, most + 1)
        except zlib.error:
            continue
        return text[:most], kept.truncated or len(text) > most or not packed.eof
    return body, kept.truncated
