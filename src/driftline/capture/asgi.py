"""The tap for ASGI applications (Starlette, FastAPI, …): it listens, and changes nothing but one header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any, TypeAlias

from driftline.capture.buffer import Exchange
from driftline.capture.client import Capture
from driftline.capture.ids import new_id
from driftline.errors import InputError

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

INFERENCE_ID = b"x-amzn-sagemaker-inference-id"
CUSTOM_ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
EVENT_ID = b"x-driftline-event-id"


class CaptureMiddleware:
    """Captures every POST to `paths` that the application answers with a status of 2xx.

    The body of the request and of the answer pass through untouched and as they come; what was seen of them is captured
    after the last byte. A request without an inference id gets an event id, returned in the header
    `X-Driftline-Event-Id`: labels refer to it.

    Args:
        paths: the paths that are captured, or a function that is asked with the ASGI scope.
        max_body_bytes: of a longer body only so much is kept, and the record is marked as truncated.
    """

    def __init__(
        self,
        app: App,
        capture: Capture,
        paths: Collection[str] | Callable[[Scope], bool] = ("/invocations",),
        max_body_bytes: int = 6 << 20,
    ) -> None:
        if max_body_bytes < 0:
            raise InputError(f"max_body_bytes is {max_body_bytes}; it is a number of bytes, 0 or more")
        self._app = app
        self._capture = capture
        self._watches = paths if callable(paths) else _among({paths} if isinstance(paths, str) else frozenset(paths))
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _flushing(self._capture, send))
        elif scope["type"] == "http" and scope["method"] == "POST" and self._watches(scope):
            tap = _Tap(self._capture, self._max_body_bytes, scope["headers"], receive, send)
            await self._app(scope, tap.receive, tap.send)
        else:
            await self._app(scope, receive, send)


class _Body:
    """The beginning of a body, and whether that was all of it."""

    __slots__ = ("_chunks", "_room", "ended", "overran")

    def __init__(self, room: int) -> None:
        self._chunks: list[bytes] = []
        self._room = room
        self.ended = False
        self.overran = False

    def add(self, message: Message) -> None:
        chunk = message.get("body") or b""
        self.ended = not message.get("more_body", False)
        self.overran = self.overran or len(chunk) > self._room
        if chunk and self._room:
            self._chunks.append(bytes(chunk[: self._room]))
            self._room -= len(self._chunks[-1])

    def content(self) -> bytes:
        return b"".join(self._chunks)


class _Tap:
    """What is seen of one request and its answer."""

    def __init__(self, capture: Capture, max_body_bytes: int, headers: Headers, receive: Receive, send: Send) -> None:
        found = {name.lower(): value for name, value in headers}
        self._capture = capture
        self._receive = receive
        self._send = send
        self._at = capture.now()
        self._inference_id = _text(found.get(INFERENCE_ID)) or None
        self._event_id = None if self._inference_id else new_id()
        self._attributes = _text(found.get(CUSTOM_ATTRIBUTES))
        self._request_type = _text(found.get(b"content-type"))
        self._response_type: str | None = None
        self._chosen = capture.wants(self._inference_id or self._event_id or "")
        self._request = _Body(max_body_bytes)
        self._response = _Body(max_body_bytes)
        self._answered = False
        self._hidden = False

    async def receive(self) -> Message:
        message = await self._receive()
        if self._chosen and message["type"] == "http.request":
            self._request.add(message)
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            message = self._started(message)
        elif kind == "http.response.body":
            self._response.add(message if self._chosen else {"more_body": message.get("more_body", False)})
        elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
            # The server sends a file by itself: its bytes are never seen here.
            self._hidden = True
            self._response.ended = not message.get("more_body", False)
        try:
            await self._send(message)
        finally:
            # The model has answered, whether or not the caller was still there to hear it.
            if self._answered and self._response.ended:
                self._answered = False
                self._hand_over()

    def _started(self, message: Message) -> Message:
        headers = list(message.get("headers") or ())
        self._answered = 200 <= message["status"] < 300
        self._response_type = _text({name.lower(): value for name, value in headers}.get(b"content-type"))
        if self._event_id is None:
            return message
        return {**message, "headers": [*headers, (EVENT_ID, self._event_id.encode())]}

    def _hand_over(self) -> None:
        if not self._chosen:
            self._capture.skip(self._at)
            return
        self._capture.take(
            Exchange(
                self._at,
                self._event_id,
                self._inference_id,
                self._request.content(),
                None if self._hidden else self._response.content(),
                self._request_type,
                self._response_type,
                () if self._attributes is None else (self._attributes,),
                request_truncated=self._request.overran or not self._request.ended,
                response_truncated=self._response.overran,
            )
        )


def _among(paths: Collection[str]) -> Callable[[Scope], bool]:
    return lambda scope: scope["path"] in paths


def _flushing(capture: Capture, send: Send) -> Send:
    """Store what waits before the server hears that the application has ended: after that it may be killed."""

    async def flushed(message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            capture.flush()
        await send(message)

    return flushed


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()
