from __future__ import annotations

import asyncio
import gzip

import pytest

from driftline.capture import Asked, Capture, CaptureMiddleware, Counters, Rule, Sampling
from driftline.capture.asgi import App, Message, Receive, Scope, Send
from driftline.objects.directory import Directory

from .asgi_calls import answering, ask, headers, scope
from .conftest import ReadBack


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


def test_an_answer_whose_headers_are_bytearrays_is_captured_like_any_other(
    capture: Capture, read_back: ReadBack
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        named = [(bytearray(b"Content-Type"), bytearray(b"text/csv"))]
        await send({"type": "http.response.start", "status": 200, "headers": named})
        await send({"type": "http.response.body", "body": b"0.5"})

    ask(CaptureMiddleware(app, capture), scope(), b"1,2")
    assert capture.close()
    (record,) = read_back()
    assert record.output is not None
    assert (record.output.data, record.output.content_type) == ("0.5", "text/csv")
