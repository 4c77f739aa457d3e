"""Captured records as columns: what `Capture(format="parquet")` stores. Needs pyarrow, so it is imported late."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.capture.record import Encoding, Payload, Record, decode, unknown_keys, with_unknown
from driftline.errors import Corrupt

SIDES: Final = {"request": "input", "response": "output"}
_PARTS: Final = {"": pa.string(), "_encoding": pa.string(), "_content_type": pa.string(), "_truncated": pa.bool_()}
SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("inference_id", pa.string()),
        ("inferred_at", pa.timestamp("us", "UTC")),
        ("custom_attributes", pa.list_(pa.string())),
        ("status", pa.int32()),
        ("probability", pa.float64()),
        *((side + part, kind) for side in SIDES for part, kind in _PARTS.items()),
        ("unknown", pa.string()),
    ]
)
"""A row without an event id is a record that was erased."""
_ROWS: Final = 1 << 14
_BYTES: Final = 32 << 20
"""A row group has no more records, or characters of lines."""
_SLICE: Final = 256  # records between two chances for other threads: half a millisecond
_SPELLED_ALIKE: Final = ["inferred_at", *(side + part for side in SIDES for part in ("_encoding", "_content_type"))]
_VERSION: Final = "0"


class _Side(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    data: str
    encoding: Encoding
    mode: str
    observed_content_type: str | None = None
    truncated: bool = False


class _Capture(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    endpoint_input: _Side | None = None
    endpoint_output: _Side | None = None


class _Metadata(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    event_id: str
    inference_time: Annotated[datetime, msgspec.Meta(tz=True)]
    inference_id: str | None = None
    custom_attributes: list[str] | None = None
    inclusion_probability: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    status_code: int | None = None


class _Plain(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A line as capture writes it, which is most of them, in a third of the time."""

    capture_data: _Capture
    event_metadata: _Metadata
    event_version: Literal["0"]


_plain = msgspec.json.Decoder(_Plain)
_tree = msgspec.json.Decoder(dict[str, Any])


def parquet(lines: Sequence[bytes]) -> bytes:
    """The records of the lines as a Parquet file. Raises Corrupt where a line is none."""
    return written(_batches(lines))


def written(batches: Iterator[pa.RecordBatch]) -> bytes:
    """A file with a row group for each batch."""
    into = io.BytesIO()
    with pq.ParquetWriter(
        into, SCHEMA, compression="zstd", compression_level=3, use_dictionary=_SPELLED_ALIKE, write_statistics=_STATED
    ) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return into.getvalue()


_STATED: Final = ["event_id", "inference_id", "inferred_at", "status", "probability"]
"""Columns of which the file knows the least and the greatest; of payloads these would be long, and private."""


def same_records(stored: bytes, made: bytes) -> bool:
    """Whether a file holds what was made to be stored, but for what was erased since."""
    try:
        one, other = (pq.read_table(io.BytesIO(data)) for data in (stored, made))
    except pa.ArrowException:
        return False
    if one.schema != other.schema or one.num_rows != other.num_rows:
        return False
    there = one["event_id"].is_valid()
    return bool(one.filter(there).equals(other.filter(there)))


def _batches(lines: Sequence[bytes]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    for number, line in enumerate(lines, 1):
        rows.append(_row(line))
        size += len(line)
        if number % _SLICE == 0:
            time.sleep(0)
        if len(rows) == _ROWS or size >= _BYTES:
            yield _batch(rows)
            rows, size = [], 0
    if rows or not lines:
        yield _batch(rows)


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _row(line: bytes) -> tuple[Any, ...]:
    try:
        found = _plain.decode(line)
    except msgspec.MsgspecError:
        return _row_of(decode(line))
    sides, told = found.capture_data, found.event_metadata
    one, other = sides.endpoint_input, sides.endpoint_output
    return (
        told.event_id,
        told.inference_id or None,
        told.inference_time,
        told.custom_attributes or None,
        told.status_code,
        told.inclusion_probability,
        *(_NO_SIDE if one is None else (one.data, one.encoding, one.observed_content_type, one.truncated)),
        *(_NO_SIDE if other is None else (other.data, other.encoding, other.observed_content_type, other.truncated)),
        None,
    )


_NO_SIDE: Final = (None,) * 4


def _row_of(record: Record) -> tuple[Any, ...]:
    return (
        record.event_id,
        record.inference_id,
        record.inferred_at,
        record.custom_attributes or None,
        record.status,
        record.probability,
        *_side(record.input),
        *_side(record.output),
        _unknown(record),
    )


def _side(side: Payload | None) -> tuple[Any, ...]:
    return _NO_SIDE if side is None else (side.data, side.encoding, side.content_type, side.truncated)


def _unknown(record: Record) -> str | None:
    """What has no column, as JSON in the places of the format."""
    others = dict(record.unknown)
    if record.version != _VERSION:
        others["eventVersion",] = msgspec.json.encode(record.version)
    return with_unknown(b"{}", others).decode() if others else None


def record_of(row: dict[str, Any]) -> Record:
    """The record in a row. Raises Corrupt where its unknown keys are no JSON."""
    unknown: dict[tuple[str, ...], bytes] = {}
    version = _VERSION
    if row["unknown"] is not None:
        try:
            unknown = dict(unknown_keys(row["unknown"]))
            version = str(_tree.decode(row["unknown"]).get("eventVersion", _VERSION))
        except (msgspec.MsgspecError, RecursionError) as why:
            raise Corrupt(f"record {row['event_id']!r}: `unknown` is not JSON: {why}") from why
    return Record(
        event_id=row["event_id"],
        inferred_at=row["inferred_at"],
        input=_payload(row, "request"),
        output=_payload(row, "response"),
        inference_id=row["inference_id"],
        custom_attributes=tuple(row["custom_attributes"] or ()),
        probability=row["probability"],
        status=row["status"],
        version=version,
        unknown=unknown,
    )


def _payload(row: dict[str, Any], side: str) -> Payload | None:
    if row[f"{side}_encoding"] is None:
        return None
    data, kind, cut = row[side], row[f"{side}_content_type"], row[f"{side}_truncated"]
    return Payload(data or "", row[f"{side}_encoding"], kind, bool(cut))
