"""A reverse proxy that captures predictions: what passes through it passes as it comes, and as without it."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from driftline.capture.buffer import complain
from driftline.capture.client import Capture
from driftline.capture.gateway_headers import target, to_caller, to_upstream
from driftline.capture.gateway_tap import begin, tap_of
from driftline.capture.metrics import Family, exposition
from driftline.capture.routes import Routes
from driftline.capture.tap import CLIENT_GONE, EVENT_ID, INFERENCE_ID, Tap, Tapping
from driftline.errors import InputError

_POOL_IDLE_S = 1.5  # below what servers grant (gunicorn 2 s, uvicorn 5 s): a POST must not meet a closing connection
_BODY_IDLE_S = 60.0  # a caller that sends no more of its body for so long is answered 408
_ADDED = (hdrs.SERVER, hdrs.DATE, hdrs.CONTENT_TYPE)
_ABSENT = "driftline.absent"
_SKIPPED = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)


class Upstream(NamedTuple):
    """The server behind the gateway, and how long it may take."""

    url: str
    """`http://host:port`, or https; a path is put before every path that is asked for."""
    connect_s: float = 5.0
    read_s: float = 60.0
    """Until the answer begins, and between two pieces of it; 0: as long as it takes."""
    rewrite_host: bool = False
    """Whether the upstream sees its own name as Host; otherwise it sees the caller's."""

    def checked(self) -> Upstream:
        """The upstream without a slash at the end. Raises InputError for what is no such URL."""
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as why:
            raise InputError(f"upstream {self.url!r} is not a URL such as http://127.0.0.1:8080: {why}") from why
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
            raise InputError(f"upstream {self.url!r} is not a URL such as http://127.0.0.1:8080")
        if "@" in parts.netloc:
            raise InputError("the upstream's URL holds a user or password; send them in the Authorization header")
        if self.connect_s <= 0 or self.read_s < 0:
            raise InputError(f"time-outs are {self.connect_s} s and {self.read_s} s; connecting needs more than 0")
        return self._replace(url=self.url.rstrip("/"))


class _FailureError(Exception):
    """The answer that the gateway gives itself: status, a word for programs, a sentence for people."""

    def __init__(self, status: int, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.word = status, word

    def response(self) -> web.Response:
        made = web.json_response({"error": self.word, "detail": str(self)}, status=self.status)
        made[_ABSENT] = [hdrs.SERVER]
        return made


class Gateway:
    """Passes every request on to the upstream; what is a prediction is captured with its answer, whatever its status.

    A request is a prediction if it is a POST and `routes` knows its path. Bodies are never held back: of both, the
    first `max_body_bytes` are copied on their way. A caller that goes away ends the request to the upstream; an
    upstream that breaks off its answer breaks the caller's connection.
    """

    def __init__(
        self,
        capture: Capture,
        upstream: Upstream,
        routes: Routes,
        *,
        max_body_bytes: int = 6 << 20,
        id_header: str = INFERENCE_ID,
    ) -> None:
        self._tapping = Tapping(capture, max_body_bytes)
        self._upstream = upstream.checked()
        self._host = urlsplit(self._upstream.url).netloc
        self._routes = routes
        self._id_header = id_header
        self._via = f"driftline-{uuid4().hex[:12]}"
        self._noticed: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self.answers: Counter[int] = Counter()
        """Requests by the status of their answer."""
        self.failures: Counter[str] = Counter()
        """What went wrong between gateway and upstream, or caller and gateway."""
        self.in_flight = 0

    async def open(self) -> None:
        """Get ready to serve; within the event loop."""
        upstream = self._upstream
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=_POOL_IDLE_S,
                ttl_dns_cache=10,
                ssl=ssl.create_default_context() if upstream.url.startswith("https") else True,
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                connect=upstream.connect_s,
                sock_connect=upstream.connect_s,
                sock_read=upstream.read_s or None,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # the callers' cookies are the callers'
            skip_auto_headers=_SKIPPED,
            auto_decompress=False,
            max_line_size=64 << 10,
            max_field_size=64 << 10,
            max_headers=1000,
        )

    async def close(self) -> None:
        """Close the connections to the upstream."""
        if self._session is not None:
            await self._session.close()

    def metrics(self) -> str:
        """What passed through, in the text format of Prometheus."""
        answers = [({"status": str(status)}, count) for status, count in sorted(self.answers.items())]
        failures = [({"reason": reason}, count) for reason, count in sorted(self.failures.items())]
        told = "Requests that did not go through as they should, by reason."
        return exposition(
            [
                Family("driftline_gateway_requests_total", "counter", "Requests, by status of the answer.", answers),
                Family("driftline_gateway_failures_total", "counter", told, failures),
                Family("driftline_gateway_in_flight", "gauge", "Requests being served.", [({}, self.in_flight)]),
            ]
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        self.in_flight += 1
        status = CLIENT_GONE
        try:
            response = await self._serve(request)
            status = response.status
            return response
        finally:
            self.in_flight -= 1
            self.answers[status] += 1

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asks = target(request)
        if asks is None:
            return _FailureError(400, "bad_request", "ask for a path of this server, such as /invocations").response()
        if self._via in request.headers.get(hdrs.VIA, ""):
            return _FailureError(508, "loop", "the upstream of this gateway is the gateway itself").response()
        if request.headers.get(hdrs.TRANSFER_ENCODING, "chunked").strip().lower() != "chunked":
            return _FailureError(501, "transfer_encoding", "the only transfer encoding here is chunked").response()
        path = asks.partition("?")[0]
        asked = self._routes.asked(path) if request.method == "POST" else None
        tap = None
        if asked is not None:
            tap = tap_of(self._tapping, asked, request.headers, path, request.headers.get(self._id_header))
        try:
            response = await self._pass(request, asks, tap)
        except _FailureError as why:
            self.failures[why.word] += 1
            if tap is not None:
                tap.status = why.status
            response = why.response()
        finally:
            if tap is not None:
                tap.finish()
        if tap is None and request.method == "POST" and response.status < 300:
            self._notice(path)
        return response

    async def _pass(self, request: web.Request, asks: str, tap: Tap | None) -> web.StreamResponse:
        assert self._session is not None, "open() comes first"  # noqa: S101  a mistake of the program, not of its user
        upload = _Upload(request, tap)
        try:
            async with self._session.request(
                request.method,
                URL(self._upstream.url + asks, encoded=True),
                headers=to_upstream(request, self._via, self._host, rewrite_host=self._upstream.rewrite_host),
                data=upload.body(),
                chunked=upload.chunked or None,
                allow_redirects=False,
            ) as answer:
                return await self._answer(request, answer, tap)
        except aiohttp.ConnectionTimeoutError as why:
            took = f"could not be reached within {self._upstream.connect_s:g} s"
            raise _FailureError(504, "upstream_connect_timeout", f"the upstream {took}") from why
        except aiohttp.ServerTimeoutError as why:
            took = f"did not answer within {self._upstream.read_s:g} s"
            raise _FailureError(504, "upstream_read_timeout", f"the upstream {took}") from why
        except aiohttp.ClientConnectorError as why:
            complain("the upstream cannot be reached: %s", why)
            raise _FailureError(502, "upstream_unreachable", "the upstream cannot be reached") from why
        except (aiohttp.ClientError, ValueError, OSError) as why:
            if upload.stalled:
                told = f"of the request's body nothing came for {_BODY_IDLE_S:g} s"
                raise _FailureError(408, "request_timeout", told) from why
            if upload.malformed:
                raise _FailureError(
                    400, "bad_request", "the body of the request is not framed as HTTP/1.1 says"
                ) from why
            complain("the upstream gave no answer: %s", why)
            raise _FailureError(
                502, "upstream_failed", "the upstream ended the connection without a whole answer"
            ) from why

    async def _answer(
        self, request: web.Request, answer: aiohttp.ClientResponse, tap: Tap | None
    ) -> web.StreamResponse:
        if answer.status < 200:
            raise _FailureError(502, "upstream_failed", "the upstream changed to a protocol that it was not asked for")
        headers = to_caller(answer.headers)
        if tap is not None:
            if tap.event_id is not None:
                headers[EVENT_ID] = tap.event_id
            begin(tap, answer.status, answer.headers)
        absent = [name for name in _ADDED if name not in headers]
        if answer.content.is_eof() and request.method != "HEAD" and (data := answer.content.read_nowait(-1)):
            # All of it came with the headers: it goes on with them.
            if tap is not None:
                tap.saw_all(data)
            whole = web.Response(status=answer.status, reason=answer.reason, headers=headers, body=data)
            whole[_ABSENT] = absent
            return whole
        out = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        out[_ABSENT] = absent
        try:
            await _prepare(out, request)
            async for chunk in answer.content.iter_any():
                if tap is not None:
                    tap.saw(chunk)
                    if tap.sated:  # the answer may have no end
                        tap.finish()
                await _write(out, chunk)
        except _GoneError:
            self.failures["client_gone"] += 1
        except aiohttp.ClientError as why:
            self.failures["upstream_broke_off"] += 1
            complain("the upstream broke off its answer: %s", why)
            _break_off(request)
        else:
            if tap is not None:
                tap.saw_all(b"")
        return out

    def _notice(self, path: str) -> None:
        if path not in self._noticed and len(self._noticed) < 10:
            self._noticed.add(path)
            complain("POST %r is passed on and not captured: --paths says what is a prediction", path)


class _GoneError(Exception):
    """The caller has gone."""


class _Upload:
    """The body of a request, as it comes."""

    __slots__ = ("_request", "_tap", "chunked", "malformed", "stalled")

    def __init__(self, request: web.Request, tap: Tap | None) -> None:
        self._request = request
        self._tap = tap
        self.chunked = request.body_exists and hdrs.CONTENT_LENGTH not in request.headers
        self.malformed = self.stalled = False

    def body(self) -> bytes | AsyncIterator[bytes] | None:
        """What is there if that is all, the pieces to come if not."""
        request, tap = self._request, self._tap
        if not request.body_exists:
            if tap is not None:
                tap.hears(b"", more=False)
            return None
        if not request.content.is_eof():
            return self._pieces()
        try:
            data = request.content.read_nowait(-1)
        except (web.RequestPayloadError, aiohttp.ClientPayloadError, ValueError):
            self.malformed = True
            raise
        if tap is not None:
            tap.hears(data, more=False)
        return data

    async def _pieces(self) -> AsyncIterator[bytes]:
        tap, content = self._tap, self._request.content
        try:
            while not content.at_eof():
                async with asyncio.timeout(_BODY_IDLE_S):
                    chunk = await content.readany()
                if tap is not None:
                    tap.hears(chunk, more=True)
                yield chunk
        except TimeoutError as why:
            self.stalled = True
            raise ValueError("the caller sends no more") from why
        except (web.RequestPayloadError, aiohttp.ClientPayloadError, ValueError):
            self.malformed = True
            raise
        if tap is not None:
            tap.hears(b"", more=False)


async def as_given(request: web.Request, response: web.StreamResponse) -> None:
    """Take out the headers that the library adds where the upstream gave none (a signal of the application)."""
    for name in response.get(_ABSENT, ()):
        response.headers.popall(name, None)


async def _prepare(out: web.StreamResponse, request: web.Request) -> None:
    try:
        await out.prepare(request)
    except ConnectionError as why:
        raise _GoneError from why


async def _write(out: web.StreamResponse, chunk: bytes) -> None:
    try:
        await out.write(chunk)
    except ConnectionError as why:
        raise _GoneError from why


def _break_off(request: web.Request) -> None:
    """End the caller's connection so that it can tell the answer is not whole."""
    if request.transport is None:
        return
    if request.version < aiohttp.HttpVersion11:
        request.transport.abort()  # its end is the only mark of a whole answer: it gets none
    else:
        request.transport.close()  # after what waits: it sees less than the length, or no last chunk
