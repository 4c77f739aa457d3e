"""From what a tap hands over to the line that is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from driftline.capture.bodies import Packed, text_of
from driftline.capture.buffer import Exchange
from driftline.capture.ids import new_id, storable
from driftline.capture.record import ContentTypes, Encoding, Payload, Record, payload, plain_line, stamp
from driftline.capture.sampler import FAILED

_REMEMBERED = 256
_SECOND = timedelta(seconds=1)


def record_of(exchange: Exchange, content_types: ContentTypes) -> Record:
    """The record of an exchange. Raises AttributeError, TypeError, ValueError where it holds what it must not."""
    return Record(
        event_id=exchange.event_id or new_id(),
        inferred_at=exchange.at.replace(microsecond=0),
        input=_side(exchange.request, exchange.request_content_type, exchange.request_truncated, content_types),
        output=_side(exchange.response, exchange.response_content_type, exchange.response_truncated, content_types),
        inference_id=exchange.inference_id,
        custom_attributes=exchange.custom_attributes,
        probability=exchange.probability,
        status=exchange.status if exchange.status is not None and exchange.status >= FAILED else None,
    )


def line_of(record: Record) -> bytes:
    """The record as one line. Raises TypeError, ValueError where it cannot be written as JSON."""
    try:
        return record.encode()
    except UnicodeEncodeError:
        return _storable(record).encode()


class PlainLines:
    """Writes plain exchanges as lines without a record in between, in a third of the time; most exchanges are plain.

    A plain one has two whole bodies, given as bytes and kept as text, no custom attributes, and is no error.
    """

    def __init__(self, content_types: ContentTypes) -> None:
        self._content_types = content_types
        self._kinds: dict[str | bytes | None, tuple[str | None, Encoding]] = {}
        self._second = self._next = datetime.min.replace(tzinfo=UTC)
        self._stamp = ""

    def line(self, exchange: Exchange) -> bytes | None:
        """What `line_of` gives for the exchange's record; None where it is not a plain one."""
        at, event_id, inference_id, request, response, kind, answered_kind, attributes, cut, answer_cut, status = (
            exchange[:11]
        )
        if (
            type(request) is not bytes
            or type(response) is not bytes
            or attributes
            or cut
            or answer_cut
            or (status is not None and status >= FAILED)
            or at.tzinfo is not UTC
        ):
            return None
        content_type, encoding = self._kinds.get(kind) or self._kind(kind)
        answered_type, answered_encoding = self._kinds.get(answered_kind) or self._kind(answered_kind)
        if encoding == "BASE64" or answered_encoding == "BASE64":
            return None
        if not self._second <= at < self._next:
            self._second = at.replace(microsecond=0)
            self._next = self._second + _SECOND
            self._stamp = stamp(self._second)
        try:
            return plain_line(
                event_id or new_id(),
                inference_id,
                self._stamp,
                (content_type, encoding, request.decode()),
                (answered_type, answered_encoding, response.decode()),
                exchange.probability,
            )
        except UnicodeError:
            return None

    def _kind(self, given: str | bytes | None) -> tuple[str | None, Encoding]:
        """The content type as it is written, and how such a body is kept."""
        content_type = _type(given)
        found = content_type, self._content_types.encoding(content_type)
        if len(self._kinds) >= _REMEMBERED:
            self._kinds.clear()  # callers make them up
        self._kinds[given] = found
        return found


def _type(given: str | bytes | None) -> str | None:
    return text_of(given) if isinstance(given, (bytes, bytearray)) else given


def _side(
    body: bytes | str | Packed | None, given: str | bytes | None, cut: bool, kinds: ContentTypes
) -> Payload | None:
    if body is None:
        return None
    if isinstance(body, Packed):
        body, short = body.unpacked()
        cut = cut or short
    content_type = _type(given)
    return payload(body, content_type, kinds.encoding(content_type), truncated=cut)


def _storable(record: Record) -> Record:
    return replace(
        record,
        event_id=storable(record.event_id),
        inference_id=record.inference_id and storable(record.inference_id),
        custom_attributes=tuple(map(storable, record.custom_attributes)),
        input=_storable_type(record.input),
        output=_storable_type(record.output),
    )


def _storable_type(side: Payload | None) -> Payload | None:
    return side and replace(side, content_type=side.content_type and storable(side.content_type))
