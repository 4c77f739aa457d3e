"""From what a tap hands over to the line that is kept."""

from __future__ import annotations

from msgspec.structs import replace

from driftline.capture.bodies import Packed, type_of
from driftline.capture.buffer import Exchange
from driftline.capture.ids import new_id, storable
from driftline.capture.record import ContentTypes, Payload, Record, payload
from driftline.capture.sampler import FAILED


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


def _side(
    body: bytes | str | Packed | None, given: str | bytes | None, cut: bool, kinds: ContentTypes
) -> Payload | None:
    if body is None:
        return None
    if isinstance(body, Packed):
        body, short = body.unpacked()
        cut = cut or short
    content_type = type_of(bytes(given)) if isinstance(given, (bytes, bytearray)) else given
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
