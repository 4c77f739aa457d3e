"""One captured request: Model Monitor's JSON line, and with what probability it was captured."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from driftline.errors import Corrupt, InputError

Encoding: TypeAlias = Literal["CSV", "JSON", "BASE64"]
Path: TypeAlias = tuple[str, ...]


class Payload(Struct, frozen=True):
    """One side of a request, as it was seen on the wire."""

    data: str
    """The text of a CSV or JSON body; base64 of any other."""
    encoding: Encoding
    content_type: str | None = None
    """The header as it was sent, parameters included."""
    truncated: bool = False
    """Only the beginning of the body was kept (always in BASE64, so that no reader takes a part for the whole)."""

    @property
    def body(self) -> bytes:
        """The bytes of the body. Raises Corrupt where they are not base64 though the record says so."""
        if self.encoding != "BASE64":
            return self.data.encode()
        try:
            return a2b_base64(self.data.encode(), strict_mode=True)
        except Base64Error as why:
            raise Corrupt(f"the payload says BASE64, but {self.data[:40]!r} is not: {why}") from why


class Record(Struct, frozen=True, kw_only=True):
    """What was asked, what was answered, and when."""

    event_id: str
    """Unique per request, made by the endpoint."""
    inferred_at: datetime
    """When the model was asked; aware, UTC."""
    input: Payload | None
    output: Payload | None
    inference_id: str | None = None
    """The caller's id; labels refer to it."""
    custom_attributes: tuple[str, ...] = ()
    probability: float = 1.0
    """With what probability such a request was captured, in (0, 1]: the record stands for 1 / probability requests."""
    status: int | None = None
    """The HTTP status of an answer that is an error (400 and above): such a record holds no prediction."""
    version: str = "0"
    unknown: Mapping[Path, bytes] = {}
    """Keys that are not in the format, by path, with their JSON: they are written again as they were."""

    @property
    def join_id(self) -> str:
        """What a label must name: the inference id, or the event id where the caller sent none."""
        return self.inference_id or self.event_id

    def encode(self) -> bytes:
        """The record as one JSON line, without the line feed."""
        line = _encoder.encode(
            _Line(
                capture_data=_Capture(_side(self.input, "INPUT"), _side(self.output, "OUTPUT")),
                event_metadata=_Metadata(
                    event_id=self.event_id,
                    inference_id=self.inference_id,
                    custom_attributes=self.custom_attributes or None,
                    inference_time=stamp(self.inferred_at),
                    inclusion_probability=None if self.probability == 1 else self.probability,
                    status_code=self.status,
                ),
                event_version=self.version,
            )
        )
        return with_unknown(line, self.unknown) if self.unknown else line


def plain_line(
    event_id: str,
    inference_id: str | None,
    time: str,
    asked: tuple[str | None, Encoding, str],
    answered: tuple[str | None, Encoding, str],
    probability: float,
) -> bytes:
    """What `Record.encode` gives for one that has no more than this, in a third of the time.

    Args:
        time: as `stamp` writes it.
        asked, answered: content type, encoding and data of either side.
    """
    (kind, encoding, data), (answered_kind, answered_encoding, answered_data) = asked, answered
    return _encoder.encode(
        _Line(
            _Capture(
                _Side(observed_content_type=kind, mode="INPUT", data=data, encoding=encoding),
                _Side(
                    observed_content_type=answered_kind,
                    mode="OUTPUT",
                    data=answered_data,
                    encoding=answered_encoding,
                ),
            ),
            _Metadata(
                event_id=event_id,
                inference_id=inference_id,
                inference_time=time,
                inclusion_probability=None if probability == 1 else probability,
            ),
            "0",
        )
    )


def decode(line: bytes | str) -> Record:
    """The record in a line. Raises Corrupt with the reason; file and line number are the caller's to add."""
    try:
        found = _decoder.decode(line)
        unknown = dict(unknown_keys(line))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as why:
        raise Corrupt(f"not a capture record: {why}") from why
    metadata = found.event_metadata
    sides = found.capture_data
    if (
        sides.endpoint_input is None
        and sides.endpoint_output is None
        and metadata.status_code is None
        and not any(p[0] == "captureData" for p in unknown)
    ):
        raise Corrupt("not a capture record: captureData holds neither endpointInput nor endpointOutput")
    probability = 1.0 if metadata.inclusion_probability is None else metadata.inclusion_probability
    if not 0 < probability <= 1:
        raise Corrupt(f"eventMetadata.inclusionProbability is {probability}; it must be above 0 and at most 1")
    return Record(
        event_id=metadata.event_id,
        inferred_at=_time(metadata.inference_time),
        input=_payload(sides.endpoint_input),
        output=_payload(sides.endpoint_output),
        inference_id=metadata.inference_id or None,
        custom_attributes=tuple(metadata.custom_attributes or ()),
        probability=probability,
        status=metadata.status_code,
        version=found.event_version,
        unknown=unknown,
    )


class ContentTypes(Struct, frozen=True):
    """Which content types are kept as text; all others are kept as base64."""

    csv: tuple[str, ...] = ("text/csv",)
    json: tuple[str, ...] = ("application/json",)

    def __post_init__(self) -> None:
        for kind in (*self.csv, *self.json):
            if kind.count("/") != 1 or kind != kind.strip() or ";" in kind:
                raise InputError(f"content type {kind!r} is not of the form type/subtype, such as 'text/csv'")

    def encoding(self, content_type: str | None) -> Encoding:
        """How a body of this content type is kept; parameters and case do not matter.

        >>> ContentTypes().encoding("Text/CSV; charset=utf-8")
        'CSV'
        """
        kind = (content_type or "").partition(";")[0].strip().lower()
        if kind in (listed.lower() for listed in self.csv):
            return "CSV"
        if kind in (listed.lower() for listed in self.json):
            return "JSON"
        return "BASE64"


def payload(body: bytes | str, content_type: str | None, encoding: Encoding, *, truncated: bool = False) -> Payload:
    """The body as it is kept. Text that is not UTF-8 is kept as BASE64 whatever its content type: no byte is lost."""
    if encoding == "BASE64" or truncated:
        return _binary(body, content_type, truncated)
    try:
        text = body if isinstance(body, str) else body.decode()
        text.encode()
    except UnicodeError:
        return _binary(body, content_type, truncated)
    return Payload(text, encoding, content_type)


class _Side(Struct, rename="camel", omit_defaults=True, kw_only=True):
    observed_content_type: str | None
    mode: str
    data: str
    encoding: Encoding
    truncated: bool = False


class _LenientSide(Struct, rename="camel"):
    data: str
    encoding: Encoding
    observed_content_type: str | None = None
    truncated: bool = False


class _Capture(Struct, rename="camel", omit_defaults=True):
    endpoint_input: _Side | None = None
    endpoint_output: _Side | None = None


class _LenientCapture(Struct, rename="camel"):
    endpoint_input: _LenientSide | None = None
    endpoint_output: _LenientSide | None = None


class _Metadata(Struct, rename="camel", omit_defaults=True, kw_only=True):
    event_id: str
    inference_id: str | None = None
    custom_attributes: tuple[str, ...] | None = None
    inference_time: str
    inclusion_probability: float | None = None
    status_code: int | None = None


class _Line(Struct, rename="camel"):
    capture_data: _Capture
    event_metadata: _Metadata
    event_version: str


class _LenientLine(Struct, rename="camel"):
    capture_data: _LenientCapture
    event_metadata: _Metadata
    event_version: str = "0"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_LenientLine)
_object = msgspec.json.Decoder(dict[str, Raw])
_SIDE = frozenset({"observedContentType", "mode", "data", "encoding", "truncated"})
_METADATA = frozenset(
    {"eventId", "inferenceId", "customAttributes", "inferenceTime", "inclusionProbability", "statusCode"}
)
_KNOWN: Mapping[Path, frozenset[str]] = {
    (): frozenset({"captureData", "eventMetadata", "eventVersion"}),
    ("captureData",): frozenset({"endpointInput", "endpointOutput"}),
    ("captureData", "endpointInput"): _SIDE,
    ("captureData", "endpointOutput"): _SIDE,
    ("eventMetadata",): _METADATA,
}


def _binary(body: bytes | str, content_type: str | None, truncated: bool) -> Payload:
    raw = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    return Payload(b2a_base64(raw, newline=False).decode(), "BASE64", content_type, truncated)


def _side(side: Payload | None, mode: str) -> _Side | None:
    if side is None:
        return None
    return _Side(
        observed_content_type=side.content_type,
        mode=mode,
        data=side.data,
        encoding=side.encoding,
        truncated=side.truncated,
    )


def _payload(side: _LenientSide | None) -> Payload | None:
    return None if side is None else Payload(side.data, side.encoding, side.observed_content_type, side.truncated)


def stamp(at: datetime) -> str:
    """The time as records tell it: UTC, ISO 8601."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError) as why:
        raise Corrupt(f"eventMetadata.inferenceTime {text!r} is not a time such as 2026-03-01T09:14:07Z") from why
    raise Corrupt(f"eventMetadata.inferenceTime {text!r} has no time zone; times are written as 2026-03-01T09:14:07Z")


def unknown_keys(line: bytes | str | Raw, path: Path = ()) -> Iterator[tuple[Path, bytes]]:
    """The keys of a line that are not in the format, by path, with their JSON."""
    for key, raw in _object.decode(line).items():
        here = (*path, key)
        if here in _KNOWN:
            if bytes(raw) != b"null":
                yield from unknown_keys(raw, here)
        elif key not in _KNOWN[path]:
            yield here, msgspec.json.format(bytes(raw), indent=-1)


def with_unknown(line: bytes, unknown: Mapping[Path, bytes]) -> bytes:
    """The line with these keys in it again."""
    tree: dict[str, Any] = msgspec.json.decode(line)
    for path, raw in unknown.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = Raw(raw)
    return _encoder.encode(tree)
