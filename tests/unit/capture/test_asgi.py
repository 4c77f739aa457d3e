from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from driftline.capture import Asked, Capture, CaptureMiddleware, Counters, Rule, Sampling
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
        (scope(), answering(b"", status=307)),
    ],
    ids=["another path", "another method", "sent elsewhere"],
)
def test_only_answers_of_the_model_are_captured(capture: Capture, at: Scope, app: App) -> None:
    ask(CaptureMiddleware(app, capture), at, b"1,2")
    assert capture.close()
    assert capture.counters == Counters()


def test_an_error_is_captured_with_its_status(capture: Capture, read_back: ReadBack) -> None:
    ask(CaptureMiddleware(answering(b"wrong", status=422), capture), scope(), b"1,2")
    assert capture.close()
    (record,) = read_back()
    assert record.status == 422
    assert record.input is not None
    assert record.output is not None
    assert (record.input.data, record.output.data) == ("1,2", "wrong")


@pytest.mark.parametrize(
    ("sampling", "seen"), [(1.0, 0), (Sampling(0.0, [Rule(errors=True)]), 1)], ids=["no rule", "a rule for errors"]
)
def test_without_errors_only_those_with_a_rule_are_captured(
    store: Directory, sampling: float | Sampling, seen: int
) -> None:
    capture = Capture("flights", store, sampling=sampling)
    ask(CaptureMiddleware(answering(b"", status=500), capture, errors=False), scope(), b"1,2")
    assert capture.close()
    assert capture.counters == Counters(seen=seen, sampled=seen, written=seen)


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        (scope(path="/v2/models/prices/infer"), 1),
        (scope(x_tenant="acme"), 1),
        (scope(x_amzn_sagemaker_custom_attributes="tier=gold,a=b"), 1),
        (scope(), 0),
    ],
    ids=["by path", "by header", "by attribute", "by none"],
)
def test_rules_choose_by_what_the_request_says(store: Directory, at: Scope, kept: int) -> None:
    rules = [Rule(path="/v2/"), Rule(header="X-Tenant=acme"), Rule(attribute="tier=gold")]
    capture = Capture("flights", store, sampling=Sampling(0.0, rules))
    ask(CaptureMiddleware(answering(b"0"), capture), at, b"1")
    assert capture.close()
    assert capture.counters == Counters(seen=1, sampled=kept, written=kept)


def test_the_path_names_endpoint_and_variant(capture: Capture) -> None:
    app = CaptureMiddleware(answering(b"0"), capture)
    ask(app, scope(path="/v2/models/prices/versions/3/infer"), b"1")
    ask(app, scope(path="/invocations"), b"1")
    assert capture.close()
    assert set(capture.counters_by_variant) == {("prices", "3"), ("flights", "AllTraffic")}


def test_a_model_that_never_answered_names_no_endpoint(capture: Capture) -> None:
    app = CaptureMiddleware(answering(b"no such model", status=404), capture)
    ask(app, scope(path="/v2/models/made-up/infer"), b"1")
    assert capture.close()
    assert set(capture.counters_by_variant) == {("flights", "AllTraffic")}


def test_the_answer_may_name_the_variant(capture: Capture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-amzn-invoked-production-variant", b"canary")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"0"})

    ask(CaptureMiddleware(app, capture), scope(), b"1")
    assert capture.close()
    assert capture.counters_by_variant[("flights", "canary")].written == 1


def test_packed_bodies_pass_as_they_are_and_are_unpacked_in_the_record(capture: Capture, read_back: ReadBack) -> None:
    packed = gzip.compress(b"1,2", mtime=0)
    heard: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["body"])
        headers = [(b"content-type", b"text/csv"), (b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": packed})

    sent = ask(CaptureMiddleware(app, capture), scope(content_encoding="gzip"), packed)
    assert heard == [sent[1]["body"]] == [packed]
    assert capture.close()
    (record,) = read_back()
    assert record.input is not None
    assert record.output is not None
    assert (record.input.data, record.output.data) == ("1,2", "1,2")


def test_a_function_may_choose_the_paths(capture: Capture) -> None:
    app = CaptureMiddleware(answering(b"0"), capture, paths=lambda scope: scope["path"].endswith("/predict"))
    ask(app, scope(path="/v1/predict"), b"1")
    ask(app, scope(path="/invocations"), b"1")
    assert capture.close()
    assert capture.counters.seen == 1


def test_a_function_may_say_who_is_asked(capture: Capture) -> None:
    ask(CaptureMiddleware(answering(b"0"), capture, paths=lambda _: Asked("prices", "blue")), scope(), b"1")
    assert capture.close()
    assert capture.counters_by_variant == {("prices", "blue"): Counters(1, 1, 1)}


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
    assert b'driftline_capture_seen_total{endpoint="flights",variant="AllTraffic"} 1' in body["body"]
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


def test_an_id_that_is_not_utf8_is_read_as_latin1(capture: Capture, read_back: ReadBack) -> None:
    at = scope()
    at["headers"].append((b"X-Amzn-SageMaker-Inference-Id", b" \xe9 "))
    ask(CaptureMiddleware(answering(b"0"), capture), at, b"1")
    assert capture.close()
    assert [record.inference_id for record in read_back()] == ["é"]
