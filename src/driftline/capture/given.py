"""What people hand to `capture.log`: mended where it can be, refused with the reason where it cannot."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import index

from driftline.capture.buffer import Exchange

NOTHING = "neither a request nor an answer"
NOT_A_BODY = "body is neither bytes nor text"
NOT_A_TIME = "time without a zone"
TIME_OUT_OF_RANGE = "time outside the years 1 to 9999"
NOT_AN_ID = "inference id is not text"
NOT_ATTRIBUTES = "custom attributes are not a list of texts"
NOT_A_STATUS = "status is not a whole number"
NOT_A_NAME = "endpoint or variant is not a name"
TOO_MANY_NAMES = "too many endpoints and variants"
_MENDED = (bytes, str, bytearray, memoryview, type(None))
_FIRST_TIME = datetime(1, 1, 1, tzinfo=UTC)
_LAST_HOUR = datetime(9999, 12, 31, 23, tzinfo=UTC)  # its end cannot be named


def checked(given: Exchange) -> Exchange | str:
    """The exchange, with what can be mended mended; the reason where it cannot be captured."""
    inference_id: object = given.inference_id
    attributes: object = given.custom_attributes
    if not isinstance(given.request, _MENDED) or not isinstance(given.response, _MENDED):
        return NOT_A_BODY
    at = _time(given.at)
    if isinstance(at, str):
        return at
    if not isinstance(inference_id, (str, int, type(None))):
        return NOT_AN_ID
    if not isinstance(attributes, (str, list, tuple)) or not all(isinstance(each, str) for each in attributes):
        return NOT_ATTRIBUTES
    try:
        status = None if given.status is None else index(given.status)
    except TypeError:
        return NOT_A_STATUS
    return given._replace(
        at=at,
        inference_id=None if inference_id is None else str(inference_id) or None,
        request=_fixed(given.request),
        response=_fixed(given.response),
        custom_attributes=(attributes,) if isinstance(attributes, str) else tuple(attributes),
        status=status,
    )


def _time(at: object) -> datetime | str:
    """The time in UTC, of the plain type: of a subclass (pandas, pendulum) nobody knows what it does later."""
    if not isinstance(at, datetime):
        return NOT_A_TIME
    try:
        plain = datetime(
            at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, at.tzinfo, fold=at.fold
        )
        if plain.utcoffset() is None:
            return NOT_A_TIME
        return plain.astimezone(UTC) if _FIRST_TIME <= plain < _LAST_HOUR else TIME_OUT_OF_RANGE
    except Exception:  # noqa: BLE001  whatever a subclass or a zone of others raises: NaT of pandas is such a datetime
        return NOT_A_TIME


def _fixed(body: bytes | bytearray | memoryview | str | None) -> bytes | str | None:
    """A copy of what the caller might still change; the plain type of a subclass."""
    return body if body is None else str(body) if isinstance(body, str) else bytes(body)
