"""The tap for ASGI applications (Starlette, FastAPI, …): it listens, and changes nothing but one header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from driftline.capture.client import Capture
from driftline.capture.routes import Paths, watching
from driftline.capture.tap import CUSTOM_ATTRIBUTES, EVENT_ID, INFERENCE_ID, INVOKED_VARIANT, Tap, Tapping

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

_EVENT_ID = EVENT_ID.lower().encode()
_INFERENCE_ID = INFERENCE_ID.encode()
_CUSTOM_ATTRIBUTES = CUSTOM_ATTRIBUTES.encode()
_INVOKED_VARIANT = INVOKED_VARIANT.encode()


class CaptureMiddleware:
    """Captures every POST to `paths`, with its answer.

    The body of the request and of the answer pass through untouched and as they come; what was seen of them is captured
    after the last byte. A request without an inference id gets an event id, returned in the header
    `X-Driftline-Event-Id`: labels refer to it.

    Args:
        paths: templates of the paths that are captured, as `Routes` reads them, or a function that is asked with the
            ASGI scope and says whether it is a prediction, or by an `Asked` whose; default: those of the capture's
            config, else `PREDICTIONS`.
        max_body_bytes: of a longer body only so much is kept, and the record is marked as truncated; default: as the
            capture's config says, else 6 MiB.
        errors: whether errors are captured that no sampling rule for errors matches.
        metrics_path: where GET gives the counters of the process that answers to Prometheus; None: nowhere.
    """

    def __init__(
        self,
        app: App,
        capture: Capture,
        paths: Paths[Scope] | None = None,
        max_body_bytes: int | None = None,
        *,
        errors: bool = True,
        metrics_path: str | None = None,
    ) -> None:
        self._app = app
        self._capture = capture
        self._tapping = Tapping(capture, max_body_bytes, errors=errors)
        self._asked = watching(capture.paths if paths is None else paths)
        self._metrics_path = metrics_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        kind = scope["type"]
        if kind == "http":
            method = scope["method"]
            if method == "POST":
                tap = self._tap(scope)
                if tap is not None:
                    await self._tapped(tap, scope, receive, send)
                    return
            elif scope["path"] == self._metrics_path and method in ("GET", "HEAD"):
                await self._tell(send, head=method == "HEAD")
                return
        elif kind == "lifespan":
            await self._live(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _tap(self, scope: Scope) -> Tap | None:
        try:
            path = scope["path"]
            asked = self._asked(scope, path)
            if asked is None:
                return None
            inference_id = kind = encoding = None
            attributes: tuple[str, ...] = ()
            nothing = False
            for name, value in (headers := scope["headers"]):
                name = name.lower()
                if name == _INFERENCE_ID:
                    inference_id = inference_id or _text(value)
                elif name == _CUSTOM_ATTRIBUTES:
                    attributes = (*attributes, _text(value))
                elif name == b"content-type":
                    kind = _text(value)
                elif name == b"content-encoding":
                    encoding = _text(value)
                elif name == b"content-length":
                    nothing = value == b"0"
            tap = Tap(self._tapping, asked, path, inference_id, attributes, _Lookup(headers))
            request = tap.asks(kind, encoding)
            if request is not None:
                request.whole = nothing
            return tap
        except Exception as why:  # noqa: BLE001  whatever the caller sent, or the function that was given as `paths`
            self._tapping.failed(why)
            return None

    async def _tapped(self, tap: Tap, scope: Scope, receive: Receive, send: Send) -> None:
        heard = _Heard(tap, receive, send)
        try:
            await self._app(scope, heard.receive if tap.keeps else receive, heard.send)
        except Exception:
            if not heard.gone:
                tap.broke()
            raise
        else:
            if not heard.gone:
                tap.broke()
        finally:
            tap.finish()

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store what waits before the server hears that the application has ended: after that it may be killed."""
        talked = False

        async def received() -> Message:
            nonlocal talked
            talked = True
            return await receive()

        async def sent(message: Message) -> None:
            nonlocal talked
            talked = True
            if message["type"].startswith("lifespan.shutdown."):
                self._capture.flush()
            await send(message)

        try:
            await self._app(scope, received, sent)
        except Exception:
            if talked:
                raise
        if not talked:  # an application that knows nothing of this (Django): the server is answered for it
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            self._capture.flush()
            await send({"type": "lifespan.shutdown.complete"})

    async def _tell(self, send: Send, *, head: bool) -> None:
        from driftline.capture.metrics import CONTENT_TYPE

        told = self._tapping.metrics()
        headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", str(len(told)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else told})


class _Heard:
    """What passes between the server and the application."""

    __slots__ = ("_receive", "_send", "_tap", "gone")

    def __init__(self, tap: Tap, receive: Receive, send: Send) -> None:
        self._tap = tap
        self._receive = receive
        self._send = send
        self.gone = False
        """Whether the caller has gone away."""

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            kind = message["type"]
            request = self._tap.request
            if kind == "http.request" and request is not None:
                request.add(message.get("body") or b"")
                request.whole = not message.get("more_body", False)
            elif kind == "http.disconnect":
                self.gone = True
        except Exception as why:  # noqa: BLE001  a message that the server should not have sent is the application's
            self._tap.fail(why)
        return message

    async def send(self, message: Message) -> None:
        ended = False
        try:
            kind = message["type"]
            if kind == "http.response.body":
                ended = self._sends(message)
            elif kind == "http.response.start":
                message = self._starts(message)
            elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
                # The server sends a file by itself: its bytes are never seen here.
                self._tap.response = None
                ended = not message.get("more_body", False)
        except Exception as why:  # noqa: BLE001  a message that no server takes is the server's to refuse
            self._tap.fail(why)
        try:
            await self._send(message)
        finally:
            # The model has answered, whether or not the caller was still there to hear it.
            if ended:
                self._tap.finish()

    def _sends(self, message: Message) -> bool:
        more = message.get("more_body", False)
        response = self._tap.response
        if response is None:
            return not more
        response.add(message.get("body") or b"")
        response.whole = not more
        return not more or response.overran

    def _starts(self, message: Message) -> Message:
        tap = self._tap
        given = message.get("headers") or ()
        headers = given if isinstance(given, (list, tuple)) else list(given)
        kind = encoding = variant = None
        for name, value in headers:
            name = name.lower()
            if name == b"content-type":
                kind = _text(value)
            elif name == b"content-encoding":
                encoding = _text(value)
            elif name == _INVOKED_VARIANT:
                variant = _text(value)
        tap.begin(message["status"], kind, encoding, variant)
        if tap.event_id is not None:
            return {**message, "headers": [*headers, (_EVENT_ID, tap.event_id.encode())]}
        return message if headers is given else {**message, "headers": headers}


class _Lookup:
    """The headers of a request by name in lower case, as sampling rules ask for them."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __call__(self, wanted: str) -> str | None:
        name = wanted.encode()
        return next((_text(value) for found, value in self._headers if found.lower() == name), None)


def _text(value: bytes) -> str:
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()
