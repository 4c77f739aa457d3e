"""How a WSGI application reads the body of its request is its own affair: the tap hears it all the same."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from driftline.capture import Capture, CaptureWSGIMiddleware
from driftline.objects.directory import Directory

from .conftest import ReadBack

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

POST = {"REQUEST_METHOD": "POST", "PATH_INFO": "/invocations", "CONTENT_TYPE": "text/csv", "CONTENT_LENGTH": "3"}


@pytest.fixture
def capture(store: Directory) -> Capture:
    return Capture("flights", store)


def buffered(stream: Any) -> bytes:
    reader = io.BufferedReader(stream)
    data = reader.read()
    reader.detach()  # else it closes what it reads from
    return data


READS: dict[str, Callable[[Any], object]] = {
    "at once": lambda stream: stream.read(),
    "by its length": lambda stream: stream.read(6),
    "to its end": lambda stream: stream.read(-1),
    "in pieces": lambda stream: [stream.read(4), stream.read(4)],
    "by lines": lambda stream: [stream.readline(), stream.readline(), stream.readline()],
    "all lines": lambda stream: stream.readlines(),
    "line by line": lambda stream: list(stream),
    "some lines": lambda stream: [stream.readlines(1), stream.readlines(1), stream.readlines(1)],
    "into a buffer": lambda stream: stream.readinto(bytearray(10)),
    "as it comes": lambda stream: [stream.read1(4), stream.read1(4), stream.read1(4)],
    "behind a buffer": buffered,
}


@pytest.mark.parametrize("length", ["6", ""], ids=["a length", "chunks"])
@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_request_may_be_read_in_any_way(
    capture: Capture, read_back: ReadBack, read: Callable[[Any], object], length: str
) -> None:
    more = {} if length else {"HTTP_TRANSFER_ENCODING": "chunked"}
    got: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        got.append(read(environ["wsgi.input"]))
        if not length:
            got.append(environ["wsgi.input"].read(1))  # in chunks it has no end until that was met
        start_response("200 OK", [])
        return []

    environ = {**POST, "CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"1,2\n3,"), **more}
    CaptureWSGIMiddleware(app, capture)(environ, lambda *_: print)
    assert got[0] == read(io.BytesIO(b"1,2\n3,"))
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.input.data, record.input.truncated) == ("1,2\n3,", False)


@pytest.mark.parametrize(
    ("read", "cut"),
    [(lambda s: s.read(2), b"1,"), (lambda s: None, b""), (lambda s: [s.read(2), s.seek(0), s.read()], b"1,1,2")],
    ids=["in part", "not at all", "twice"],
)
def test_a_body_that_was_not_read_once_and_whole_counts_as_cut(
    capture: Capture, read_back: ReadBack, read: Callable[[Any], object], cut: bytes
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        read(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    CaptureWSGIMiddleware(app, capture)({**POST, "wsgi.input": io.BytesIO(b"1,2")}, lambda *_: print)
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.input.body, record.input.truncated) == (cut, True)


def test_a_caller_that_left_while_its_body_was_read_is_noted(capture: Capture, read_back: ReadBack) -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise ConnectionResetError

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        return []

    with pytest.raises(ConnectionResetError):
        CaptureWSGIMiddleware(app, capture)({**POST, "wsgi.input": Gone()}, lambda *_: print)
    assert capture.close()
    assert [record.status for record in read_back()] == [499]


def test_what_comes_after_the_length_that_was_told_is_kept(capture: Capture, read_back: ReadBack) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        read = environ["wsgi.input"].read
        assert (read(3), read()) == (b"1,2", b",3")
        start_response("200 OK", [])
        return [b"0"]

    list(CaptureWSGIMiddleware(app, capture)({**POST, "wsgi.input": io.BytesIO(b"1,2,3")}, lambda *_: len))
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.input.body, record.input.truncated) == (b"1,2,3", False)
