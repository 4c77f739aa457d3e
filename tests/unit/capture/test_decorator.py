"""The tap for functions; in one file, for each kind of function is tried in the same ways."""

from __future__ import annotations

import asyncio
import base64
import functools
import gc
import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest

from driftline.capture import Capture, Counters, Rule, Sampling, captured
from driftline.capture.record import Record
from driftline.errors import InputError
from driftline.objects.directory import Directory

from .conftest import ReadBack


async def left(items: Any) -> None:
    """Take the first of the items, and go."""
    await anext(items)
    await items.aclose()


@pytest.fixture
def capture(store: Directory) -> Capture:
    return Capture("flights", store)


@pytest.fixture
def kept(capture: Capture, read_back: ReadBack) -> Callable[[], Record]:
    """The one record, once all is stored."""

    def read() -> Record:
        assert capture.close()
        (record,) = read_back()
        return record

    return read


def sides(record: Record) -> tuple[str | None, str | None]:
    asked, answered = record.input, record.output
    return None if asked is None else asked.data, None if answered is None else answered.data


def test_argument_and_result_become_a_record(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture, custom_attributes=["tier=gold"])
    def predict(features: dict[str, float]) -> float:
        """The model."""
        features["seen"] = 1.0  # what the function does to its argument comes after
        return 0.5

    assert predict({"age": 34.0}) == 0.5
    assert (predict.__name__, predict.__doc__) == ("predict", "The model.")
    record = kept()
    assert sides(record) == ('{"age":34.0}', "0.5")
    assert record.input is not None
    assert record.input.content_type == "application/json"
    assert (record.custom_attributes, record.status) == (("tier=gold",), None)


def test_several_arguments_are_kept_by_their_names(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture)
    def predict(age: float, income: float, *, member: bool = False) -> list[float]:
        return [0.5]

    assert predict(34, income=1.5) == [0.5]
    assert sides(kept()) == ('{"age":34,"income":1.5,"member":false}', "[0.5]")


def test_open_arguments_are_kept_too(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture)
    def predict(*rows: int, **more: int) -> int:
        return 0

    assert predict(1, 2, a=3) == 0
    assert sides(kept()) == ('{"rows":[1,2],"more":{"a":3}}', "0")


def test_bytes_and_text_are_bodies(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture, response_content_type="text/plain")
    def predict(row: bytes) -> str:
        return "yes"

    assert predict(b"34,0.5") == "yes"
    record = kept()
    assert sides(record)[0] == "34,0.5"
    assert record.output is not None
    assert (record.output.body, record.output.content_type) == (b"yes", "text/plain")


def test_functions_may_say_what_is_kept(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(
        capture,
        inference_id=lambda order, _: order.split("/")[1],
        request=lambda _, rows: rows.tolist(),
        response=lambda result: result["score"],
    )
    def predict(order: str, rows: Any) -> dict[str, Any]:
        return {"score": rows.sum(), "model": object()}

    assert predict("order/17", np.array([1.0, 2.0]))["score"] == 3.0
    record = kept()
    assert sides(record) == ("[1.0,2.0]", "3.0")
    assert record.inference_id == "17"


@pytest.mark.parametrize("call", [((1.0, 17), {}), ((1.0,), {"order": 17})], ids=["by its place", "by its name"])
def test_a_parameter_holds_the_id(
    capture: Capture, kept: Callable[[], Record], call: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    @captured(capture, inference_id="order")
    def predict(x: float, order: int | None = None) -> int | None:
        return order

    assert predict(*call[0], **call[1]) == 17
    record = kept()
    assert (record.inference_id, sides(record)) == ("17", ("1.0", "17"))


@pytest.mark.parametrize("call", [((1.0, None), {}), ((1.0,), {}), ((1.0,), {"order": None})])
def test_a_parameter_without_an_id_gets_one(
    capture: Capture, kept: Callable[[], Record], call: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    @captured(capture, inference_id="order")
    def predict(x: float, order: str | None = None) -> str | None:
        return order

    told = predict(*call[0], **call[1])
    assert told == kept().event_id


def test_a_method_is_captured_without_its_object(capture: Capture, kept: Callable[[], Record]) -> None:
    class Model:
        @captured(capture)
        def predict(self, x: float) -> float:
            return x + 1

    assert Model().predict(1.0) == 2.0
    assert sides(kept()) == ("1.0", "2.0")


def test_an_object_that_can_be_called_is_captured(capture: Capture, kept: Callable[[], Record]) -> None:
    class Model:
        async def __call__(self, x: float) -> float:
            return x + 1

    assert asyncio.run(captured(capture)(Model())(1.0)) == 2.0
    assert sides(kept()) == ("1.0", "2.0")


def test_a_function_that_waits_is_captured(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture)
    async def predict(x: float) -> float:
        await asyncio.sleep(0)
        return x + 1

    assert inspect.iscoroutinefunction(predict)
    assert asyncio.run(predict(1.0)) == 2.0
    assert sides(kept()) == ("1.0", "2.0")


def test_a_function_that_raises_is_captured_as_an_error(capture: Capture, kept: Callable[[], Record]) -> None:
    error = ZeroDivisionError("the function's own")

    @captured(capture)
    def predict(x: float) -> float:
        raise error

    with pytest.raises(ZeroDivisionError) as raised:
        predict(1.0)
    assert raised.value is error
    record = kept()
    assert (record.status, sides(record)) == (500, ("1.0", None))


def test_errors_may_be_left_out(capture: Capture) -> None:
    @captured(capture, errors=False)
    def predict(x: float) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        predict(0)
    assert capture.close()
    assert capture.counters == Counters()


def test_a_call_that_is_cancelled_is_noted(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture)
    async def predict(x: float) -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        task = asyncio.create_task(predict(1.0))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert kept().status == 499


def words(text: str) -> Iterator[str]:
    yield from text


def numbers(count: int) -> Iterator[dict[str, int]]:
    yield from ({"n": n} for n in range(count))


@pytest.mark.parametrize(
    ("function", "argument", "answer"),
    [(words, "abc", "abc"), (words, "", ""), (numbers, 2, '[{"n":0},{"n":1}]'), (numbers, 0, "")],
    ids=["text", "no text", "values", "no values"],
)
def test_the_items_of_a_generator_are_one_answer(
    capture: Capture, kept: Callable[[], Record], function: Callable[[Any], Iterator[Any]], argument: Any, answer: str
) -> None:
    tapped = captured(capture)(function)
    assert inspect.isgeneratorfunction(tapped)
    assert list(tapped(argument)) == list(function(argument))
    record = kept()
    assert sides(record)[1] == answer
    assert record.output is not None
    assert not record.output.truncated


def echoing() -> Generator[int, int, str]:
    """It gives back twice what is sent, and goes on after an error that is thrown in."""
    got = 0
    while True:
        try:
            got = yield 2 * got
        except KeyError:
            got = -1
        if got > 100:
            return "done"


def test_a_generator_is_talked_to_as_without(capture: Capture, kept: Callable[[], Record]) -> None:
    def talk(it: Generator[int, int, str]) -> list[Any]:
        said: list[Any] = [next(it), it.send(3), it.throw(KeyError()), it.send(5)]
        with pytest.raises(StopIteration) as ended:
            it.send(101)
        return [*said, ended.value.value]

    assert talk(captured(capture)(echoing)()) == talk(echoing()) == [0, 6, -2, 10, "done"]
    assert sides(kept())[1] == "[0,6,-2,10]"


async def aechoing(start: int) -> Any:
    got = start
    while got <= 100:
        try:
            got = yield 2 * got
        except KeyError:
            got = -1


def test_an_async_generator_is_talked_to_as_without(capture: Capture, kept: Callable[[], Record]) -> None:
    async def talk(it: Any) -> list[Any]:
        said = [await anext(it), await it.asend(3), await it.athrow(KeyError()), await it.asend(5)]
        with pytest.raises(StopAsyncIteration):
            await it.asend(101)
        return said

    tapped = captured(capture)(aechoing)
    assert inspect.isasyncgenfunction(tapped)
    assert asyncio.run(talk(tapped(1))) == asyncio.run(talk(aechoing(1))) == [2, 6, -2, 10]
    assert sides(kept()) == ("1", "[2,6,-2,10]")


def test_a_stream_that_its_reader_left_counts_as_cut(capture: Capture, read_back: ReadBack) -> None:
    closed: list[str] = []

    @captured(capture)
    def stream() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append("plain")

    @captured(capture)
    async def astream() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append("async")

    it: Any = stream()
    next(it)
    it.close()
    asyncio.run(left(astream()))
    assert closed == ["plain", "async"]
    assert capture.close()
    for record in read_back():
        assert record.output is not None
        assert (record.output.body, record.output.truncated) == (b"a", True)
    assert capture.counters.written == 2


def test_a_stream_whose_end_fails_is_captured_once_and_its_error_is_the_callers(
    capture: Capture, read_back: ReadBack
) -> None:
    errors = [OSError("the connection of the plain one"), OSError("the connection of the async one")]

    @captured(capture)
    def stream() -> Iterator[str]:
        try:
            yield "a"
        finally:
            raise errors[0]

    @captured(capture)
    async def astream() -> AsyncIterator[str]:
        try:
            yield "a"
        finally:
            raise errors[1]

    it: Any = stream()
    next(it)
    with pytest.raises(OSError, match="plain") as plain:
        it.close()
    with pytest.raises(OSError, match="async") as waiting:
        asyncio.run(left(astream()))
    assert [plain.value, waiting.value] == errors
    assert capture.close()
    assert [record.output and record.output.truncated for record in read_back()] == [True, True]
    assert capture.counters == Counters(2, 2, 2)


def test_a_stream_that_is_forgotten_is_captured_once(capture: Capture, kept: Callable[[], Record]) -> None:
    it: Any = captured(capture)(words)("abc")
    next(it)
    del it
    gc.collect()
    assert sides(kept()) == ("abc", base64.b64encode(b"a").decode())


def test_a_stream_that_cannot_begin_is_captured_as_an_error(capture: Capture, read_back: ReadBack) -> None:
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        next(captured(capture)(words)("a", "b"))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 1 positional argument"):
        asyncio.run(anext(captured(capture)(aechoing)(1, 2)))  # type: ignore[call-arg]
    assert capture.close()
    assert [record.status for record in read_back()] == [500, 500]


def test_a_call_with_nothing_to_keep_is_counted(capture: Capture) -> None:
    assert captured(capture)(lambda x: x)(None) is None
    assert capture.close()
    assert capture.counters == Counters(1, 1, 0, {"neither a request nor an answer": 1})


def test_a_stream_that_breaks_off_counts_as_cut(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture)
    def stream() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(stream())
    record = kept()
    assert record.output is not None
    assert (record.output.body, record.output.truncated, record.status) == (b"a", True, None)


def test_a_stream_without_end_is_captured_once_it_is_long_enough(capture: Capture, kept: Callable[[], Record]) -> None:
    @captured(capture, max_body_bytes=3)
    def stream() -> Iterator[str]:
        while True:
            yield "ab"

    it = stream()
    assert [next(it) for _ in range(3)] == ["ab"] * 3
    record = kept()
    assert record.output is not None
    assert (record.output.body, record.output.truncated) == (b"aba", True)


def test_what_cannot_be_encoded_is_counted_and_returned(capture: Capture) -> None:
    thing = object()
    assert captured(capture)(lambda x: thing)(1) is thing
    assert captured(capture)(lambda x: x)(thing) is thing
    assert captured(capture, request=lambda x: 1 / x)(lambda x: x)(0) == 0
    assert captured(capture, response=lambda x: 1 / x)(lambda x: x)(0) == 0
    assert captured(capture, inference_id=lambda x: 1 / x)(lambda x: x)(0) == 0
    assert list(captured(capture)(numbers)(1)) == [{"n": 0}]
    assert capture.close()
    assert capture.counters == Counters(seen=6, sampled=6, written=1, dropped={"tap failed": 5})


def test_a_wrong_call_is_the_functions_to_refuse(capture: Capture) -> None:
    @captured(capture)
    def predict(x: float) -> float:
        return x

    with pytest.raises(TypeError, match=r"predict\(\) takes 1 positional argument but 2 were given"):
        predict(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'x'"):
        predict()  # type: ignore[call-arg]


def test_calls_that_are_not_chosen_are_not_encoded(store: Directory) -> None:
    capture = Capture("flights", store, sampling=0.0)
    encoded: list[int] = []

    @captured(capture, request=encoded.append, response=encoded.append)
    def predict(x: int) -> int:
        return x

    assert predict(1) == 1
    assert capture.close()
    assert encoded == []
    assert capture.counters == Counters(seen=1)


def test_rules_see_endpoint_variant_and_attributes(store: Directory) -> None:
    capture = Capture("flights", store, sampling=Sampling(0.0, [Rule(variant="canary", attribute="tier=gold")]))
    for variant in ("canary", "blue"):
        tapped = captured(capture, endpoint="prices", variant=variant, custom_attributes=["tier=gold"])(words)
        assert list(tapped("ab")) == ["a", "b"]
    assert capture.close()
    assert capture.counters_by_variant[("prices", "canary")] == Counters(1, 1, 1)
    assert capture.counters_by_variant[("prices", "blue")] == Counters(1)


def test_a_part_of_a_function_is_captured(capture: Capture, kept: Callable[[], Record]) -> None:
    def predict(model: str, x: float) -> float:
        return x + 1

    assert captured(capture)(functools.partial(predict, "m"))(1.0) == 2.0
    assert sides(kept()) == ("1.0", "2.0")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"inference_id": "order"}, "no parameter of this name"),
        ({"custom_attributes": "a=b"}, "must be a list of texts"),
        ({"endpoint": "a/b"}, "a/b"),
        ({"max_body_bytes": -1}, "max_body_bytes is -1"),
    ],
)
def test_wrong_options_are_refused(capture: Capture, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        captured(capture, **options)(words)
