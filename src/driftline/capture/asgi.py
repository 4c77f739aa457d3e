"""The tap for ASGI applications (Starlette, FastAPI, …): it listens, and changes nothing but one header."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from driftline.capture.bodies import text_of
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
_TOLD_BY_CALLERS = frozenset(
    {_INFERENCE_ID, _CUSTOM_ATTRIBUTES, b"content-type", b"content-encoding", b"content-length"}
)
_TOLD_BY_MODELS = (b"content-type", b"content-encoding", _INVOKED_VARIANT)  # applications also give bytearrays


class CaptureMiddleware:
    """Captures every POST to `paths`, with its answer.

    The body of the request and of the answer pass through untouched and as they come; what was seen of them is captured
    with the last byte. A request without an inference id gets an event id, returned in the header
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
                heard = self._heard(scope, receive, send)
                if heard is not None:
                    try:
                        await self._app(scope, heard.receive if heard.keeps else receive, heard.send)
                    except Exception:
                        heard.left()
                        raise
                    else:
                        if not heard.answered:
                            heard.left()
                    finally:
                        if not heard.done:
                            heard.finish()
                    return
            elif scope["path"] == self._metrics_path and method in ("GET", "HEAD"):
                await self._tell(send, head=method == "HEAD")
                return
        elif kind == "lifespan":
            await self._live(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _heard(self, scope: Scope, receive: Receive, send: Send) -> _Heard | None:
        tapping = self._tapping
        try:
            path = scope["path"]
            asked = self._asked(scope, path)
            if asked is None:
                return None
            inference_id = kind = encoding = None
            attributes: tuple[str, ...] = ()
            nothing = False
            headers = scope["headers"]
            for name, value in headers:
                if (name := name.lower()) not in _TOLD_BY_CALLERS:
                    continue
                if name == _INFERENCE_ID:
                    inference_id = inference_id or text_of(value)
                elif name == _CUSTOM_ATTRIBUTES:
                    attributes = (*attributes, text_of(value))
                elif name == b"content-type":
                    kind = value
                elif name == b"content-encoding":
                    encoding = value
                else:
                    nothing = value == b"0"
            lookup = _Lookup(headers) if tapping.capture.sampler.ruled else None
            heard = _Heard(tapping, asked, path, inference_id, attributes, lookup)
            heard.hear = receive
            heard.tell = send
            heard.gone = False
            if heard.keeps:
                heard.asks(kind, encoding and text_of(encoding))
                if nothing:
                    heard.hears(b"", more=False)
            return heard
        except Exception as why:  # noqa: BLE001  whatever the caller sent, or the function that was given as `paths`
            tapping.failed(why)
            return None

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store what waits before the server hears that the application has ended: after that it may be killed."""
        self._capture.start()
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


class _Heard(Tap):
    """A prediction as it passes between the server and the application."""

    __slots__ = ("gone", "hear", "tell")

    gone: bool
    """Whether the caller has gone away."""
    hear: Receive
    tell: Send

    def left(self) -> None:
        """The application has ended: without an answer it has failed, unless there is nobody to answer."""
        if not (self.answered or self.gone):
            self.broke()

    async def receive(self) -> Message:
        """Stands in for the server's."""
        message = await self.hear()
        try:
            kind = message["type"]
            if kind == "http.request":
                self.hears(message.get("body") or b"", more=message.get("more_body", False))
            elif kind == "http.disconnect":
                self.gone = True
        except Exception as why:  # noqa: BLE001  a message that the server should not have sent is the application's
            self.fail(why)
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Stands in for the server's; no coroutine of its own, for each takes its time."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if not message.get("more_body", False):
                    if self.response is not None:
                        self.saw_all(message.get("body") or b"")
                    self.finish()
                elif self.response is not None:
                    self.saw(message.get("body") or b"")
                    if self.sated:
                        self.finish()
            elif kind == "http.response.start":
                message = self._starts(message)
            elif kind in ("http.response.pathsend", "http.response.zerocopysend"):
                # The server sends a file by itself: its bytes are never seen here.
                self.response = None
                if not message.get("more_body", False):
                    self.finish()
        except Exception as why:  # noqa: BLE001  a message that no server takes is the server's to refuse
            self.fail(why)
        return self.tell(message)

    def _starts(self, message: Message) -> Message:
        given = message.get("headers") or ()
        headers = given if isinstance(given, (list, tuple)) else list(given)
        kind = encoding = variant = None
        for name, value in headers:
            if (name := name.lower()) not in _TOLD_BY_MODELS:
                continue
            if name == b"content-type":
                kind = bytes(value)
            elif name == _INVOKED_VARIANT:
                variant = text_of(value)
            else:
                encoding = value
        self.begin(message["status"], kind, encoding and text_of(encoding), variant)
        if self.event_id is not None:
            return {**message, "headers": [*headers, (_EVENT_ID, self.event_id.encode())]}
        return message if headers is given else {**message, "headers": headers}


class _Lookup:
    """The headers of a request by name in lower case, as sampling rules ask for them."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __call__(self, wanted: str) -> str | None:
        name = wanted.encode()
        return next((text_of(value) for found, value in self._headers if found.lower() == name), None)
