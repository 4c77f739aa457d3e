"""The tap for a predict function: what it was asked and what it answered, whoever calls it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from driftline.capture.client import Capture
from driftline.capture.layout import captured_prefix
from driftline.capture.routes import NOBODY, Asked
from driftline.capture.tap import Tap, Tapping
from driftline.errors import InputError

if TYPE_CHECKING:
    from driftline.capture.values import Body

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def captured(
    capture: Capture,
    *,
    inference_id: str | Callable[..., object] | None = None,
    request: Callable[..., object] | None = None,
    response: Callable[[Any], object] | None = None,
    request_content_type: str | None = "text/csv",
    response_content_type: str | None = "text/csv",
    custom_attributes: Sequence[str] = (),
    endpoint: str | None = None,
    variant: str | None = None,
    max_body_bytes: int | None = None,
    errors: bool = True,
) -> Callable[[FunctionT], FunctionT]:
    """Captures every call of the function that is decorated, with what it returns, yields or raises.

    The function may be plain or `async`, and either may be a generator: of one, the items are one answer. Arguments,
    results and exceptions pass through untouched, but for an id, see `inference_id`. What is captured is encoded in the
    caller's thread (the function might change its arguments), and only where the call is chosen.

    Args:
        inference_id: the name of the parameter that holds the id which labels will name, or a function that is called
            with the arguments and gives it. A parameter that is left out or None gets a new id: the function can return
            it.
        request: called with the arguments, gives what is kept of them. Without it that is the argument, where there is
            but one (the id aside), else an object of all by their names.
        response: called with the result (of a generator with each item), gives what is kept of it.
        request_content_type, response_content_type: of what is bytes or text. Anything else is kept as JSON, see
            `driftline.capture.values.body_of`.
        custom_attributes: kept with every record.
        endpoint, variant: which one is asked; default: the capture's own.
        max_body_bytes: of a longer body only so much is kept, and the record is marked as truncated; default: as the
            capture's config says, else 6 MiB.
        errors: whether calls that raise are captured (with status 500) that no sampling rule for errors matches.
    """
    from driftline.capture.values import body_of  # slow to import: only who decorates pays for it

    if isinstance(custom_attributes, str) or not all(isinstance(each, str) for each in custom_attributes):
        raise InputError(f"custom_attributes is {custom_attributes!r}; it must be a list of texts")
    captured_prefix(endpoint or "any", variant or "any")  # refuses what is not a name
    asked = NOBODY if endpoint is None and variant is None else Asked(endpoint, variant)
    tapping = Tapping(capture, max_body_bytes, errors=errors)
    tapping.known(asked, 200)

    def decorate(function: FunctionT) -> FunctionT:
        arguments = _Arguments(function)
        named = inference_id if isinstance(inference_id, str) else None
        if named is not None and named not in arguments:
            raise InputError(f"inference_id is {named!r}, but {function!r} has no parameter of this name")
        calls = _Calls(
            tapping,
            asked,
            tuple(custom_attributes),
            arguments,
            named,
            inference_id if callable(inference_id) else None,
            _Side(request, request_content_type, body_of),
            _Side(response, response_content_type, body_of),
        )
        return cast(FunctionT, wraps(function)(_wrapper(function, calls)))

    return decorate


def _wrapper(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

    # Each is what the function is, for frameworks ask: a generator stays a generator.
    told = function if hasattr(function, "__name__") else type(function).__call__
    if isasyncgenfunction(told):
        return _async_generator(function, calls)
    if isgeneratorfunction(told):
        return _generator(function, calls)
    return _coroutine(function, calls) if iscoroutinefunction(told) else _plain(function, calls)


def _plain(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, args, kwargs = calls.begin(args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as why:
            call.broke(why)
            raise
        call.returned(result)
        return result

    return wrapper


def _coroutine(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call, args, kwargs = calls.begin(args, kwargs)
        try:
            result = await function(*args, **kwargs)
        except BaseException as why:
            call.broke(why)
            raise
        call.returned(result)
        return result

    return wrapper


def _generator(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call, args, kwargs = calls.begin(args, kwargs)
        try:
            items = function(*args, **kwargs)
        except BaseException as why:
            call.broke(why)
            raise
        return (yield from _Items(items, call))

    return wrapper


def _async_generator(function: Callable[..., Any], calls: _Calls) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call, args, kwargs = calls.begin(args, kwargs)
        try:
            items = function(*args, **kwargs)
            step = items.__anext__()
        except BaseException as why:
            call.broke(why)
            raise
        while True:
            try:
                item = await step
            except StopAsyncIteration:
                call.ended()
                return
            except BaseException as why:
                call.broke(why)
                raise
            call.gave(item)
            try:
                sent = yield item
            except GeneratorExit:
                try:
                    await items.aclose()
                finally:
                    call.left()
                raise
            except BaseException as why:  # noqa: BLE001  what is thrown in is for the function
                step = items.athrow(why)
            else:
                step = items.asend(sent)

    return wrapper


class _Arguments:
    """The arguments of a function by their names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        from inspect import Parameter, signature

        self._signature = signature(function)
        kinds = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD
        parameters = self._signature.parameters.values()
        self._open = any(parameter.kind in kinds for parameter in parameters)
        self._names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._self = next((name for name in self._names[:1] if name in ("self", "cls")), None)
        self._defaults = {p.name: p.default for p in parameters if p.kind not in kinds}

    def __contains__(self, name: str) -> bool:
        return name in self._defaults

    def by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """All of them, those that were left out too, in the order of the parameters."""
        if not self._open:
            found = {**self._defaults, **dict(zip(self._names, args, strict=False)), **kwargs}
        else:
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            found = dict(bound.arguments)
        empty = self._signature.empty
        return {name: value for name, value in found.items() if value is not empty and name != self._self}

    def with_value(
        self, name: str, value: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with another value for the parameter."""
        at = self._names.index(name) if name in self._names else len(args)
        if at < len(args):
            return (*args[:at], value, *args[at + 1 :]), kwargs
        return args, {**kwargs, name: value}


class _Side(NamedTuple):
    """What is kept of one side of a call."""

    pick: Callable[..., object] | None
    content_type: str | None
    encode: Callable[[object, str | None], Body | None]

    def body(self, *args: Any, **kwargs: Any) -> Body | None:
        value = args[0] if self.pick is None else self.pick(*args, **kwargs)
        return self.encode(value, self.content_type)


class _Calls(NamedTuple):
    """What the calls of one function share."""

    tapping: Tapping
    asked: Asked
    attributes: tuple[str, ...]
    arguments: _Arguments
    id_parameter: str | None
    find_id: Callable[..., object] | None
    request: _Side
    response: _Side

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Call, tuple[Any, ...], dict[str, Any]]:
        """The call begins; with what arguments."""
        try:
            tap = Tap(self.tapping, self.asked, "", self._id(args, kwargs), self.attributes, _no_header)
            if tap.keeps:
                body = self._asked(args, kwargs)
                if body is not None:
                    tap.asks_all(body.content, body.content_type)
        except Exception as why:  # noqa: BLE001  whatever the arguments are, or a function that was given for them
            self.tapping.failed(why)
            return _Call(None, self.response), args, kwargs
        if self.id_parameter is not None and tap.event_id is not None:
            args, kwargs = self.arguments.with_value(self.id_parameter, tap.event_id, args, kwargs)
        return _Call(tap, self.response), args, kwargs

    def _id(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        if self.find_id is not None:
            found = self.find_id(*args, **kwargs)
        elif self.id_parameter is not None:
            found = self.arguments.by_name(args, kwargs).get(self.id_parameter)
        else:
            return None
        return None if found is None else str(found)

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Body | None:
        if self.request.pick is not None:
            return self.request.body(*args, **kwargs)
        named = self.arguments.by_name(args, kwargs)
        if self.id_parameter is not None:
            named.pop(self.id_parameter, None)
        return self.request.body(next(iter(named.values())) if len(named) == 1 else named)


class _Call:
    """One call of the function. Nothing here raises."""

    __slots__ = ("_made", "_response", "_tap")

    def __init__(self, tap: Tap | None, response: _Side) -> None:
        self._tap = tap
        self._response = response
        self._made = False

    def returned(self, value: object) -> None:
        """This is the answer."""
        tap = self._tap
        if tap is None:
            return
        try:
            body = self._response.body(value) if tap.keeps else None
            tap.begin(200, None if body is None else body.content_type, None, None)
            if body is None:
                tap.response = None
            else:
                tap.saw_all(body.content)
        except Exception as why:  # noqa: BLE001  whatever the result is, or a function that was given for it
            tap.fail(why)
        tap.finish()

    def gave(self, item: object) -> None:
        """This is the next piece of the answer."""
        tap = self._tap
        if tap is None or tap.sated:
            return
        try:
            body = self._response.body(item) if tap.keeps else None
            if not tap.answered:
                tap.begin(200, None if body is None else body.content_type, None, None)
                self._made = body is not None and body.made
                if self._made:
                    tap.saw(b"[")
            elif self._made:
                tap.saw(b",")
            if body is not None:
                tap.saw(body.content)
            if tap.sated:
                tap.finish()
        except Exception as why:  # noqa: BLE001  whatever the item is, or a function that was given for it
            tap.fail(why)

    def ended(self) -> None:
        """That was all of it."""
        tap = self._tap
        if tap is None:
            return
        try:
            if not tap.answered:
                tap.begin(200, self._response.content_type, None, None)
            tap.saw_all(b"]" if self._made else b"")
        except Exception as why:  # noqa: BLE001  as above
            tap.fail(why)
        tap.finish()

    def broke(self, why: BaseException) -> None:
        """The function raised; or it was cancelled, as the caller has gone."""
        tap = self._tap
        if tap is not None:
            if isinstance(why, Exception):
                tap.broke()
            tap.finish()

    def left(self) -> None:
        """Nobody asks for more of the answer."""
        if self._tap is not None:
            self._tap.finish()


class _Items(Generator[Any, Any, Any]):
    """The items of a generator, heard on their way."""

    def __init__(self, items: Generator[Any, Any, Any], call: _Call) -> None:
        self._items = items
        self._call = call

    def send(self, value: Any) -> Any:
        return self._heard(self._items.send, value)

    def throw(self, *why: Any) -> Any:
        return self._heard(self._items.throw, *why)

    def close(self) -> None:
        try:
            self._items.close()
        finally:
            self._call.left()

    def _heard(self, step: Callable[..., Any], *given: Any) -> Any:
        try:
            item = step(*given)
        except StopIteration:
            self._call.ended()
            raise
        except BaseException as why:
            self._call.broke(why)
            raise
        self._call.gave(item)
        return item


def _no_header(_: str) -> None:
    return None
