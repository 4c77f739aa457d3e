from __future__ import annotations

import gzip
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper

import pytest

from driftline.capture import Asked, Capture, CaptureWSGIMiddleware, Counters, Rule, Sampling
from driftline.errors import InputError
from driftline.objects.directory import Directory

from .conftest import ReadBack

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def asked(path: str = "/invocations", body: bytes = b"1,2", method: str = "POST", **headers: str) -> WSGIEnvironment:
    """The environment of a request, as a server makes it."""
    named = {"CONTENT_TYPE": "text/csv", "CONTENT_LENGTH": str(len(body))}
    named |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "SERVER_PROTOCOL": "HTTP/1.1", **named, "body": body}


def serve(app: WSGIApplication, request: WSGIEnvironment) -> bytes:
    """What the server of the standard library, which holds to the letter of WSGI, sends to the caller, but the time."""
    environ = dict(request)
    out, errors = io.BytesIO(), io.StringIO()
    handler = SimpleHandler(io.BytesIO(environ.pop("body")), out, errors, environ, multithread=False)
    handler.http_version = "1.1"
    handler.run(app)
    return re.sub(rb"\r\nDate: [^\r]*", b"", out.getvalue())


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    data = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "text/csv; charset=utf-8")])
    return [data, b"!"]


def answering(answer: Iterable[bytes], status: str = "200 OK", *headers: tuple[str, str]) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        start_response(status, [("Content-Type", "text/csv"), *headers])
        return answer

    return app


def in_pieces(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/csv")])
    yield environ["wsgi.input"].read()
    yield b"!"


def by_write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [("Content-Type", "text/csv")])
    write(environ["wsgi.input"].read())
    return (b"!",)


def after_an_error(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("500 Bad", [("X-First", "yes")])
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("200 OK", [("Content-Type", "text/csv")], sys.exc_info())
    return iter([environ["wsgi.input"].read(), b"!"])


@pytest.fixture
def capture(store: Directory) -> Capture:
    return Capture("flights", store)


@pytest.mark.parametrize("app", [echo, in_pieces, by_write, after_an_error])
def test_request_and_answer_become_a_record(capture: Capture, read_back: ReadBack, app: WSGIApplication) -> None:
    request = asked(x_amzn_sagemaker_inference_id="order-17", x_amzn_sagemaker_custom_attributes="a=b,c=d")
    answer = serve(CaptureWSGIMiddleware(app, capture), request)
    assert body(answer) == b"1,2!"
    assert answer == serve(app, request)
    assert capture.close()
    (record,) = read_back()
    assert record.inference_id == "order-17"
    assert record.custom_attributes == ("a=b,c=d",)
    assert record.input is not None
    assert record.output is not None
    assert (record.input.data, record.input.content_type, record.input.truncated) == ("1,2", "text/csv", False)
    assert (record.output.data, record.output.truncated, record.status) == ("1,2!", False, None)


def test_a_caller_without_an_id_is_told_the_event_id(capture: Capture, read_back: ReadBack) -> None:
    answer = serve(CaptureWSGIMiddleware(echo, capture), asked())
    assert capture.close()
    (record,) = read_back()
    assert f"\r\nX-Driftline-Event-Id: {record.event_id}\r\n".encode() in answer
    assert answer.replace(f"X-Driftline-Event-Id: {record.event_id}\r\n".encode(), b"") == serve(echo, asked())


class Sized:
    """An answer of one piece that says so: the server makes a Content-Length of it."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"0.5"])


@pytest.mark.parametrize(
    "answer", [[b"0.5"], (b"0.5",), Sized(), iter([b"0.5"]), [], [b"", b"0.5"]], ids=lambda a: type(a).__name__
)
def test_the_answer_is_framed_as_without(capture: Capture, answer: Any) -> None:
    request = asked(x_amzn_sagemaker_inference_id="order-17")
    pieces = list(answer)
    made: Callable[[], Any] = lambda: iter(pieces) if hasattr(answer, "__next__") else answer  # noqa: E731
    assert serve(CaptureWSGIMiddleware(answering(made()), capture), request) == serve(answering(made()), request)
    assert capture.close()
    assert capture.counters == Counters(1, 1, 1)


@pytest.mark.parametrize(
    ("request_", "app"),
    [
        (asked(path="/ping"), answering([b"ok"])),
        (asked(method="GET"), answering([b"ok"])),
        (asked(), answering([b""], "307 Temporary Redirect")),
    ],
    ids=["another path", "another method", "sent elsewhere"],
)
def test_only_answers_of_the_model_are_captured(
    capture: Capture, request_: WSGIEnvironment, app: WSGIApplication
) -> None:
    serve(CaptureWSGIMiddleware(app, capture), request_)
    assert capture.close()
    assert capture.counters == Counters()


def test_an_error_is_captured_with_its_status(capture: Capture, read_back: ReadBack) -> None:
    serve(CaptureWSGIMiddleware(answering([b"wrong"], "422 Unprocessable"), capture), asked())
    serve(CaptureWSGIMiddleware(answering([b"wrong"], "422 Unprocessable"), capture, errors=False), asked())
    assert capture.close()
    (record,) = read_back()
    assert record.output is not None
    assert (record.status, record.output.data) == (422, "wrong")
    assert capture.counters.seen == 1


@pytest.mark.parametrize("early", [True, False], ids=["at once", "while it answers"])
def test_an_error_of_the_application_goes_through_unchanged(capture: Capture, read_back: ReadBack, early: bool) -> None:
    error = ZeroDivisionError("the application's own")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        if early:
            raise error
        return late()

    def late() -> Iterator[bytes]:
        raise error
        yield b""

    with pytest.raises(ZeroDivisionError) as raised:
        list(CaptureWSGIMiddleware(app, capture)({**asked(), "wsgi.input": io.BytesIO(b"1,2")}, lambda *_: print))
    assert raised.value is error
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.status, record.input.data, record.output) == (500, "1,2", None)


def test_the_path_names_endpoint_and_variant(capture: Capture) -> None:
    app = CaptureWSGIMiddleware(echo, capture)
    serve(app, asked("/versions/3/infer") | {"SCRIPT_NAME": "/v2/models/prices"})
    serve(app, asked("/invocations"))
    assert capture.close()
    assert set(capture.counters_by_variant) == {("prices", "3"), ("flights", "AllTraffic")}


def test_a_function_may_say_who_is_asked(capture: Capture) -> None:
    app = CaptureWSGIMiddleware(echo, capture, paths=lambda environ: Asked("prices", environ["SCHEME"]))
    serve(app, asked() | {"SCHEME": "blue"})
    assert capture.close()
    assert capture.counters_by_variant == {("prices", "blue"): Counters(1, 1, 1)}


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (asked("/v2/models/prices/infer"), 1),
        (asked(x_tenant="acmé".encode().decode("latin-1")), 1),
        (asked(x_amzn_sagemaker_custom_attributes="tier=gold"), 1),
        (asked(), 0),
    ],
    ids=["by path", "by header", "by attribute", "by none"],
)
def test_rules_choose_by_what_the_request_says(store: Directory, request_: WSGIEnvironment, kept: int) -> None:
    rules = [Rule(path="/v2/"), Rule(header="X-Tenant=acmé"), Rule(attribute="tier=gold")]
    capture = Capture("flights", store, sampling=Sampling(0.0, rules))
    answer = serve(CaptureWSGIMiddleware(echo, capture), request_)
    assert body(answer) == b"1,2!"
    assert capture.close()
    assert capture.counters == Counters(seen=1, sampled=kept, written=kept)


def test_packed_bodies_pass_as_they_are_and_are_unpacked_in_the_record(capture: Capture, read_back: ReadBack) -> None:
    packed = gzip.compress(b"1,2", mtime=0)
    app = answering([packed], "200 OK", ("Content-Encoding", "gzip"))
    answer = serve(CaptureWSGIMiddleware(app, capture), asked(body=packed, content_encoding="gzip"))
    assert body(answer) == packed
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert record.output is not None
    assert (record.input.data, record.output.data) == ("1,2", "1,2")


def test_an_answer_that_nobody_waited_for_counts_as_cut_and_is_closed(capture: Capture, read_back: ReadBack) -> None:
    closed: list[bool] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"0."
            yield b"5"
        finally:
            closed.append(True)

    answer: Any = CaptureWSGIMiddleware(app, capture)({**asked(), "wsgi.input": io.BytesIO()}, lambda *_: print)
    assert next(iter(answer)) == b"0."
    answer.close()
    assert closed
    assert capture.close()
    (record,) = read_back()
    assert record.output is not None
    assert (record.output.body, record.output.truncated) == (b"0.", True)


def test_an_answer_without_end_is_captured_once_it_is_long_enough(capture: Capture, read_back: ReadBack) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        while True:
            yield b"more"

    tapped = CaptureWSGIMiddleware(app, capture, max_body_bytes=10)
    answer = iter(tapped({**asked(), "wsgi.input": io.BytesIO()}, lambda *_: print))
    assert [next(answer) for _ in range(4)] == [b"more"] * 4
    assert capture.close()
    (record,) = read_back()
    assert record.output is not None
    assert (record.output.body, record.output.truncated) == (b"moremoremo", True)


def test_a_file_that_the_server_sends_itself_leaves_the_answer_out(capture: Capture, read_back: ReadBack) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        answer: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"a file"))
        return answer

    environ = {**asked(), "wsgi.input": io.BytesIO(b"1,2"), "wsgi.file_wrapper": FileWrapper}
    assert isinstance(CaptureWSGIMiddleware(app, capture)(environ, lambda *_: print), FileWrapper)
    assert capture.close()
    (record,) = read_back()
    assert record.output is None


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [("fine", [], []), ("200 OK", [("A",)], []), ("200 OK", None, []), ("200 OK", [], ["text"]), ("200 OK", [], [1])],
    ids=["a status that is none", "a header that is none", "no headers", "a body of text", "a body of numbers"],
)
def test_what_no_server_takes_is_for_the_server_to_refuse(
    capture: Capture, status: str, headers: Any, answer: Any
) -> None:
    started: list[Any] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, headers)
        return answer  # type: ignore[no-any-return]

    def start_response(*given: Any) -> Any:
        started.append(given)

    environ = {**asked(x_amzn_sagemaker_inference_id="a"), "wsgi.input": io.BytesIO()}
    assert CaptureWSGIMiddleware(app, capture)(environ, start_response) is answer
    assert started == [(status, headers)]
    assert capture.close()
    assert capture.counters == Counters(seen=1, sampled=1, dropped={"tap failed": 1})


@pytest.mark.parametrize(
    "wrong", [{"CONTENT_LENGTH": "many"}, {"wsgi.input": None}, {"PATH_INFO": None}], ids=["length", "input", "path"]
)
def test_a_request_that_is_none_reaches_the_application(capture: Capture, wrong: dict[str, Any]) -> None:
    got: list[WSGIEnvironment] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        got.append(environ)
        return []

    environ = {**asked(), "wsgi.input": io.BytesIO(), **wrong}
    CaptureWSGIMiddleware(app, capture)(environ, lambda *_: print)
    assert got[0] is environ
    assert capture.close()
    assert capture.counters.seen == capture.counters.written + capture.counters.lost == 1


def test_counters_are_told_where_they_are_asked_for(capture: Capture) -> None:
    app = CaptureWSGIMiddleware(echo, capture, metrics_path="/metrics")
    serve(app, asked())
    told = serve(app, asked("/metrics", method="GET"))
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in told
    assert b'driftline_capture_seen_total{endpoint="flights",variant="AllTraffic",process="%d"} 1' % os.getpid() in told
    assert body(serve(app, asked("/metrics", method="HEAD"))) == b""
    assert body(serve(app, asked("/metrics"))) == b"1,2!"
    assert body(serve(CaptureWSGIMiddleware(echo, capture), asked("/metrics", method="GET"))) == b"1,2!"


def test_a_limit_below_zero_is_refused(capture: Capture) -> None:
    with pytest.raises(InputError, match="max_body_bytes is -1"):
        CaptureWSGIMiddleware(echo, capture, max_body_bytes=-1)
