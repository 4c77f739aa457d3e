"""What is long, breaks off, or is not as it should be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from driftline.capture import Capture, CaptureMiddleware, Counters
from driftline.capture.asgi import Message, Receive, Scope, Send
from driftline.errors import InputError
from driftline.objects.directory import Directory

from .asgi_calls import answering, ask, scope
from .conftest import ReadBack


@pytest.fixture
def capture(store: Directory) -> Capture:
    return Capture("flights", store)


def test_a_long_body_is_cut_in_the_record_and_whole_for_the_application(capture: Capture, read_back: ReadBack) -> None:
    app = CaptureMiddleware(answering(b"abc", b"def"), capture, max_body_bytes=4)
    sent = ask(app, scope(), b"1,", b"2,3,4")
    assert b"".join(message.get("body", b"") for message in sent) == b"abcdef"
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert record.output is not None
    assert (record.input.body, record.input.truncated, record.input.encoding) == (b"1,2,", True, "BASE64")
    assert (record.output.body, record.output.truncated, record.output.encoding) == (b"abcd", True, "BASE64")


def test_a_body_of_just_the_limit_is_whole(capture: Capture, read_back: ReadBack) -> None:
    ask(CaptureMiddleware(answering(b""), capture, max_body_bytes=4), scope(), b"1,2,")
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert record.output is not None
    assert (record.input.data, record.input.truncated) == ("1,2,", False)
    assert (record.output.data, record.output.truncated) == ("", False)


def test_a_limit_below_zero_is_refused(capture: Capture) -> None:
    with pytest.raises(InputError, match="max_body_bytes is -1"):
        CaptureMiddleware(answering(), capture, max_body_bytes=-1)


def test_a_body_that_the_application_did_not_read_counts_as_cut(capture: Capture, read_back: ReadBack) -> None:
    ask(CaptureMiddleware(answering(b"0", read=False), capture), scope(), b"1")
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert record.input.truncated


def test_an_empty_body_that_the_application_did_not_read_is_whole(capture: Capture, read_back: ReadBack) -> None:
    ask(CaptureMiddleware(answering(b"0", read=False), capture), scope(content_length="0"), b"")
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.input.data, record.input.truncated) == ("", False)


def test_an_error_of_the_application_goes_through_unchanged(capture: Capture, read_back: ReadBack) -> None:
    error = ZeroDivisionError("the application's own")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        ask(CaptureMiddleware(app, capture), scope(), b"1")
    assert raised.value is error
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.status, record.input.data, record.output) == (500, "1", None)


def test_an_answer_that_breaks_off_counts_as_cut(capture: Capture, read_back: ReadBack) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"0.", "more_body": True})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(CaptureMiddleware(app, capture), scope(), b"1")
    assert capture.close()
    (record,) = read_back()
    assert record.output is not None
    assert (record.status, record.output.body, record.output.truncated) == (None, b"0.", True)


def test_a_caller_that_left_before_the_answer_is_noted(capture: Capture, read_back: ReadBack) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waiting: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"1,", "more_body": True}]

    async def receive() -> Message:
        return waiting.pop()

    async def send(message: Message) -> None:
        raise AssertionError

    asyncio.run(CaptureMiddleware(app, capture)(scope(), receive, send))
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert (record.status, record.input.body, record.input.truncated) == (499, b"1,", True)


def test_an_answer_without_end_is_captured_once_it_is_long_enough(capture: Capture, read_back: ReadBack) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while capture.counters.seen == 0:
            await send({"type": "http.response.body", "body": b"more", "more_body": True})

    sent = ask(CaptureMiddleware(app, capture, max_body_bytes=10), scope(), b"1")
    assert len(sent) == 4
    assert capture.close()
    (record,) = read_back()
    assert record.output is not None
    assert (record.output.body, record.output.truncated) == (b"moremoremo", True)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.start", "status": "200 OK", "headers": [(b"content-type", b"text/csv")]},
        {"type": "http.response.start", "status": 200, "headers": [("content-type", "text/csv", "more")]},
        {"type": "http.response.start"},
        {},
    ],
    ids=["a status that is none", "a header that is none", "no status", "nothing"],
)
def test_a_message_that_is_none_is_for_the_server_to_refuse(capture: Capture, message: Message) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(message)

    assert ask(CaptureMiddleware(app, capture), scope(x_amzn_sagemaker_inference_id="a"), b"1") == [message]
    assert capture.close()
    assert capture.counters == Counters(seen=1, sampled=1, dropped={"tap failed": 1})


def test_a_body_of_text_is_for_the_server_to_refuse(capture: Capture) -> None:
    app = CaptureMiddleware(answering("text"), capture)  # type: ignore[arg-type]  # as an application may get it wrong
    assert ask(app, scope(), b"1")[1]["body"] == "text"
    assert capture.close()
    assert capture.counters == Counters(seen=1, sampled=1, dropped={"tap failed": 1})


def test_headers_that_can_be_read_only_once_reach_the_server(capture: Capture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = iter([(b"x-a", b"b")])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"0"})

    sent = ask(CaptureMiddleware(app, capture), scope(x_amzn_sagemaker_inference_id="a"), b"1")
    assert sent[0]["headers"] == [(b"x-a", b"b")]


@pytest.mark.parametrize("paths", [lambda scope: scope["no such key"], lambda scope: 1 / 0], ids=["a key", "a sum"])
def test_a_function_that_fails_costs_no_request(capture: Capture, paths: Callable[[Scope], bool]) -> None:
    assert ask(CaptureMiddleware(answering(b"0"), capture, paths=paths), scope(), b"1")[1]["body"] == b"0"
    assert capture.close()
    assert capture.counters == Counters(seen=1, sampled=1, dropped={"tap failed": 1})


def test_counters_are_told_where_they_are_asked_for(capture: Capture) -> None:
    app = CaptureMiddleware(answering(b"0"), capture, metrics_path="/metrics")
    ask(app, scope(), b"1")
    start, body = ask(app, scope(path="/metrics", method="GET"), b"")
    assert dict(start["headers"])[b"content-type"] == b"text/plain; version=0.0.4; charset=utf-8"
    assert (
        b'driftline_capture_seen_total{endpoint="flights",variant="AllTraffic",process="%d"} 1' % os.getpid()
        in body["body"]
    )
    assert ask(app, scope(path="/metrics", method="HEAD"), b"")[1]["body"] == b""
    assert ask(app, scope(path="/metrics"), b"")[1]["body"] == b"0"
    assert (
        ask(CaptureMiddleware(answering(b"0"), capture), scope(path="/metrics", method="GET"), b"")[1]["body"] == b"0"
    )


def test_an_answer_that_the_caller_did_not_wait_for_is_captured(capture: Capture) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"1"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(CaptureMiddleware(answering(b"0"), capture)(scope(), receive, send))
    assert capture.close()
    assert capture.counters.written == 1


def test_a_file_that_the_server_sends_itself_leaves_the_answer_out(capture: Capture, read_back: ReadBack) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/tmp/answer"})  # noqa: S108

    ask(CaptureMiddleware(app, capture), scope(), b"1")
    assert capture.close()
    (record,) = read_back()
    assert record.output is None


def test_other_scopes_pass_untouched_and_a_shutdown_stores_what_waits(capture: Capture, read_back: ReadBack) -> None:
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(scope["type"])
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.shutdown.complete"})

    wrapped = CaptureMiddleware(app, capture)
    capture.log("1", "0")
    ask(wrapped, {"type": "websocket"})
    assert ask(wrapped, {"type": "lifespan"}) == [{"type": "lifespan.shutdown.complete"}]
    assert told == ["websocket", "lifespan"]
    assert len(read_back()) == 1
    assert capture.close()


@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "ignores"])
def test_for_an_application_without_lifespan_the_server_is_answered(
    capture: Capture, read_back: ReadBack, refuses: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if refuses:
            raise ValueError(scope["type"])

    waiting: list[Message] = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    capture.log("1", "0")
    asyncio.run(CaptureMiddleware(app, capture)({"type": "lifespan"}, receive, send))
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    assert len(read_back()) == 1
    assert capture.close()


def test_a_start_that_fails_goes_through_unchanged(capture: Capture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(CaptureMiddleware(app, capture), {"type": "lifespan"}, b"")


def test_an_id_that_is_not_utf8_is_read_as_latin1(capture: Capture, read_back: ReadBack) -> None:
    at = scope()
    at["headers"].append((b"X-Amzn-SageMaker-Inference-Id", b" \xe9 "))
    ask(CaptureMiddleware(answering(b"0"), capture), at, b"1")
    assert capture.close()
    assert [record.inference_id for record in read_back()] == ["é"]
