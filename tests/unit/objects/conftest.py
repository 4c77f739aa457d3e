"""A tiny S3: as little of the protocol as Driftline needs, and the faults that real stores have."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

BUCKET = "tiny"
Conditions = Literal["enforced", "ignored", "refused"]


@dataclass(slots=True)
class TinyS3:
    """What the store has, what it was asked, and how it behaves."""

    port: int = 0
    conditions: Conditions = "enforced"
    failing: int = 0
    """So many of the next requests are answered with 500."""
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, Message]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def headers_of(self, method: str) -> Message:
        """Those of the last request of this method."""
        return next(headers for asked, _, headers in reversed(self.asked) if asked == method)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: TinyS3

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        key = unquote(url.path).removeprefix(f"/{BUCKET}").lstrip("/")
        self.store.asked.append((self.command, self.path, self.headers))
        if self.store.failing:
            self.store.failing -= 1
            self.answer(500, b"<Error><Code>InternalError</Code></Error>")
        elif self.command == "PUT":
            self.put(key, body)
        elif "list-type" in url.query:
            self.answer(200, self.listing(parse_qs(url.query).get("prefix", [""])[0]))
        elif self.command == "DELETE":
            self.store.objects.pop(key, None)
            self.answer(204)
        elif key in self.store.objects:
            self.get(self.store.objects[key])
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def put(self, key: str, body: bytes) -> None:
        conditional = self.headers.get("If-None-Match") == "*" or self.headers.get("x-goog-if-generation-match") == "0"
        if conditional and self.store.conditions == "refused":
            self.answer(501, b"<Error><Code>NotImplemented</Code></Error>")
        elif conditional and self.store.conditions == "enforced" and key in self.store.objects:
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            self.store.objects[key] = body
            self.answer(200, tag=_tag(body))

    def get(self, body: bytes) -> None:
        span = self.headers.get("Range")
        if span is None:
            self.answer(200, body, tag=_tag(body))
            return
        start, end = (int(part) for part in span.removeprefix("bytes=").split("-"))
        part = body[start : end + 1]
        if not part:
            self.answer(416)
            return
        self.answer(206, part, tag=_tag(body), span=f"bytes {start}-{start + len(part) - 1}/{len(body)}")

    def listing(self, prefix: str) -> bytes:
        """In the order of writing, which is none."""
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified>"
            f"<ETag>{_tag(body)}</ETag><Size>{len(body)}</Size></Contents>"
            for key, body in reversed(self.store.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()

    def answer(self, status: int, body: bytes = b"", tag: str | None = None, span: str | None = None) -> None:
        self.send_response(status)
        for name, value in (("ETag", tag), ("Content-Range", span)):
            if value is not None:
                self.send_header(name, value)
        self.send_header("Last-Modified", "Sun, 01 Mar 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _tag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324  as S3 does


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyS3]:
    """A tiny S3 with the bucket `tiny`, and the environment in which it is reached."""
    store = TinyS3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    store.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    told = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_ENDPOINT_URL": store.endpoint}
    for name, value in {**told, "AWS_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    yield store
    server.shutdown()
    server.server_close()
