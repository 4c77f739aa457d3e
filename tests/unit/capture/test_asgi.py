from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from driftline.capture import Capture, CaptureMiddleware, Counters
from driftline.capture.asgi import App, Message, Receive, Scope, Send
from driftline.errors import InputError
from driftline.objects.directory import Directory

from .conftest import ReadBack


def scope(path: str = "/invocations", method: str = "POST", **headers: str) -> Scope:
    named = {"content-type": "text/csv"} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw}


def answering(*chunks: bytes, status: int = 200, kind: bytes = b"text/csv; charset=utf-8", read: bool = True) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while read and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        for number, chunk in enumerate(chunks, 1):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})

    return app


def ask(app: App, at: Scope, *chunks: bytes) -> list[Message]:
    """All that the application sends, in order."""
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await app(at, receive, send)

    asyncio.run(run())
    return sent


def headers(messages: Iterable[Message]) -> dict[bytes, bytes]:
    return dict(next(iter(messages))["headers"])


@pytest.fixture
def capture(store: Directory) -> Capture:
    return Capture("flights", store)


def test_request_and_answer_become_a_record(capture: Capture, read_back: ReadBack) -> None:
    app = CaptureMiddleware(answering(b"0.", b"5"), capture)
    at = scope(x_amzn_sagemaker_inference_id="order-17", x_amzn_sagemaker_custom_attributes="a=b,c=d")
    sent = ask(app, at, b"1,", b"2")
    assert sent == ask(answering(b"0.", b"5"), at, b"1,", b"2")
    assert capture.close()
    (record,) = read_back()
    assert record.inference_id == "order-17"
    assert record.custom_attributes == ("a=b,c=d",)
    assert record.input is not None
    assert record.output is not None
    assert (record.input.data, record.input.content_type) == ("1,2", "text/csv")
    assert (record.output.data, record.output.content_type) == ("0.5", "text/csv; charset=utf-8")


def test_a_caller_without_an_id_is_told_the_event_id(capture: Capture, read_back: ReadBack) -> None:
    sent = ask(CaptureMiddleware(answering(b"0.5"), capture), scope(), b"1,2")
    assert capture.close()
    (record,) = read_back()
    assert headers(sent)[b"x-driftline-event-id"].decode() == record.event_id
    assert record.join_id == record.event_id


def test_a_stream_passes_through_as_it_comes(capture: Capture) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b"):
            seen.append(f"made {part!r}")
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        seen.append(f"sent {message.get('body')!r}")

    asyncio.run(CaptureMiddleware(app, capture)(scope(), receive, send))
    assert seen == ["sent None", "made b'a'", "sent b'a'", "made b'b'", "sent b'b'", "sent None"]
    assert capture.close()
    assert capture.counters.written == 1


@pytest.mark.parametrize(
    ("at", "app"),
    [
        (scope(path="/ping"), answering(b"ok")),
        (scope(method="GET"), answering(b"ok")),
        (scope(), answering(b"wrong", status=400)),
        (scope(), answering(b"broken", status=500)),
    ],
    ids=["another path", "another method", "refused", "failed"],
)
def test_only_answers_of_the_model_are_captured(capture: Capture, at: Scope, app: App) -> None:
    ask(CaptureMiddleware(app, capture), at, b"1,2")
    assert capture.close()
    assert capture.counters == Counters()


def test_a_function_may_choose_the_paths(capture: Capture) -> None:
    app = CaptureMiddleware(answering(b"0"), capture, paths=lambda scope: scope["path"].endswith("/predict"))
    ask(app, scope(path="/v1/predict"), b"1")
    ask(app, scope(path="/invocations"), b"1")
    assert capture.close()
    assert capture.counters.seen == 1


def test_a_request_that_is_not_chosen_is_counted_only(store: Directory) -> None:
    capture = Capture("flights", store, sampling=0.0)
    sent = ask(CaptureMiddleware(answering(b"0"), capture), scope(), b"1")
    assert b"x-driftline-event-id" in headers(sent)
    assert capture.close()
    assert capture.counters == Counters(seen=1)


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


def test_an_error_of_the_application_goes_through_unchanged(capture: Capture) -> None:
    error = ZeroDivisionError("the application's own")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        ask(CaptureMiddleware(app, capture), scope(), b"1")
    assert raised.value is error
    assert capture.counters == Counters()


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


def test_an_id_that_is_not_utf8_is_read_as_latin1(capture: Capture, read_back: ReadBack) -> None:
    at = scope()
    at["headers"].append((b"X-Amzn-SageMaker-Inference-Id", b" \xe9 "))
    ask(CaptureMiddleware(answering(b"0"), capture), at, b"1")
    assert capture.close()
    assert [record.inference_id for record in read_back()] == ["é"]
