"""Captured records that lie in columns, read as the JSON lines that they were made of: so all readers are one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.capture.columnar import SCHEMA, record_of, written
from driftline.errors import Corrupt

ENDING: Final = ".parquet"
_ROWS: Final = 1 << 13
_CONTROL: Final = r"[\x00-\x1f]"
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SIDES: Final = {"request": ("endpointInput", "INPUT"), "response": ("endpointOutput", "OUTPUT")}


class NotRecords(Exception):  # noqa: N818  it is told as a dead letter
    """The file is not a Parquet file of captured records, or is broken."""


def is_columnar(file: Path | BinaryIO) -> bool:
    """Whether the file is a Parquet file with the columns of captured records."""
    try:
        names = pq.read_schema(file).names
    except (OSError, pa.ArrowException):
        return False
    return all(name in names for name in SCHEMA.names)


def opened(path: Path) -> io.BufferedReader:
    """The records of the file as JSON lines; one that was erased is an empty line. Reading may raise NotRecords."""
    return io.BufferedReader(_Rendered(path), 1 << 16)


class _Rendered(io.RawIOBase):
    def __init__(self, path: Path) -> None:
        self._blocks = _rendered(path)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _rendered(path: Path) -> Iterator[bytes]:
    try:
        yield from map(lines_of, _batches(path, SCHEMA.names))
    except Corrupt as why:
        raise NotRecords(f"the Parquet file is broken from here on: {why}") from why


def _batches(file: Path | io.BytesIO, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(file) as opened:
            there = opened.schema_arrow
            for field in SCHEMA:
                if field.name not in there.names or there.field(field.name).type != field.type:
                    raise NotRecords(
                        f"not a Parquet file of captured records: it has no column {field.name!r} of type {field.type}"
                    )
            for batch in opened.iter_batches(_ROWS, columns=list(names)):
                yield batch.select(list(names))
    except pa.ArrowException as why:
        raise NotRecords(f"the Parquet file is broken from here on: {why}") from why


def lines_of(batch: pa.RecordBatch) -> bytes:
    """The records as JSON lines, each with its line feed; the same bytes as `Record.encode` gives."""
    erased = batch.column("event_id").is_null()
    sides = [_side(batch, side) for side in _SIDES]
    comma = pc.if_else(pc.and_(pc.not_equal(sides[0], ""), pc.not_equal(sides[1], "")), ",", "")
    metadata = [
        '},"eventMetadata":{"eventId":"',
        _escaped(batch.column("event_id").fill_null("")),
        '"',
        _given(',"inferenceId":"', _escaped(batch.column("inference_id")), '"'),
        _given(',"customAttributes":', _json(batch.column("custom_attributes"))),
        ',"inferenceTime":"',
        _times(batch.column("inferred_at")),
        '"',
        _given(',"inclusionProbability":', _probabilities(batch.column("probability"))),
        _given(',"statusCode":', batch.column("status").cast(pa.string())),
        '},"eventVersion":"0"}\n',
    ]
    lines = _joined('{"captureData":{', sides[0], comma, sides[1], *metadata)
    if erased.true_count:
        lines = pc.if_else(erased, "\n", lines)
    others = np.flatnonzero(batch.column("unknown").is_valid().to_numpy(zero_copy_only=False))
    if len(others):
        mask = np.zeros(batch.num_rows, np.bool_)
        mask[others] = True
        rows = batch.take(pa.array(others)).to_pylist()
        lines = pc.replace_with_mask(
            lines, pa.array(mask), pa.array([record_of(row).encode().decode() + "\n" for row in rows])
        )
    return _bytes(lines)


def _bytes(texts: pa.Array) -> bytes:
    """All texts in a row."""
    _, offsets, data = texts.buffers()
    if data is None:
        return b""
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bytes(memoryview(data)[int(ends[0]) : int(ends[-1])])


def _joined(*parts: Any) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _given(before: str, value: pa.Array, after: str = "") -> pa.Array:
    """Nothing where the value is null."""
    return pc.fill_null(_joined(before, value, after), "")


def _side(batch: pa.RecordBatch, side: str) -> pa.Array:
    name, mode = _SIDES[side]
    encoding = batch.column(f"{side}_encoding")
    if encoding.null_count == len(encoding):
        return pa.array([""] * len(encoding))
    kind = _alike(batch.column(f"{side}_content_type"))
    cut = pc.if_else(batch.column(f"{side}_truncated").fill_null(False), ',"truncated":true}', "}")
    data = _escaped(batch.column(side).fill_null(""))
    parts = (f'"{name}":{{"observedContentType":', kind, f',"mode":"{mode}","data":"', data, '","encoding":"', encoding)
    return pc.fill_null(_joined(*parts, '"', cut), "")


def _alike(texts: pa.Array) -> pa.Array:
    """Texts of which there are few different ones, as JSON; null as null."""
    coded = texts.dictionary_encode()
    spelled = pa.array([msgspec.json.encode(text).decode() for text in coded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(pc.take(spelled, coded.indices), "null")


def _probabilities(values: pa.Array) -> pa.Array:
    """Null where it is 1."""
    coded = pc.if_else(pc.equal(values, 1.0), None, values).dictionary_encode()
    spelled = pa.array([msgspec.json.encode(value).decode() for value in coded.dictionary.to_pylist()], pa.string())
    return pc.take(spelled, coded.indices)


def _json(values: pa.Array) -> pa.Array:
    if values.null_count == len(values):
        return pa.nulls(len(values), pa.string())
    spelled = (None if value is None else msgspec.json.encode(value).decode() for value in values.to_pylist())
    return pa.array(spelled, pa.string())


def _times(at: pa.Array) -> pa.Array:
    """Few are different: records are of one hour, and their times are whole seconds."""
    coded = at.dictionary_encode()
    at = coded.dictionary
    whole = pc.strftime(pc.floor_temporal(at, unit="second").cast(pa.timestamp("s", "UTC")), "%Y-%m-%dT%H:%M:%S")
    fraction = pc.not_equal(pc.add(pc.multiply(pc.millisecond(at), 1000), pc.microsecond(at)), 0)
    if pc.any(fraction).as_py():
        whole = pc.if_else(fraction, pc.strftime(at, "%Y-%m-%dT%H:%M:%S"), whole)
    return pc.fill_null(pc.take(_joined(whole, "Z"), coded.indices), "")


def _escaped(texts: pa.Array) -> pa.Array:
    """Texts as they stand between the quotes of JSON."""
    data = _bytes(texts)
    for plain, escape in _ESCAPES.items():
        if plain.encode() in data:
            texts = pc.replace_substring(texts, plain, escape)
    if not _controls(_bytes(texts)):
        return texts
    odd = pc.fill_null(pc.match_substring_regex(texts, _CONTROL), False)
    spelled = [_spelled(text) for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(texts, odd, pa.array(spelled, pa.string()))


def _controls(data: bytes) -> bool:
    return bool(data) and int(np.frombuffer(data, np.uint8).min()) < ord(" ")


def _spelled(text: str) -> str:
    """Control characters as JSON spells them, all others being escaped already."""
    return "".join(msgspec.json.encode(c).decode()[1:-1] if c < " " else c for c in text)


def rows_of(data: bytes, *names: str) -> Iterator[pa.RecordBatch]:
    """Some columns of a file of captured records. Raises NotRecords."""
    yield from _batches(io.BytesIO(data), names)


def struck_rows(data: bytes, rows: npt.NDArray[np.int64]) -> bytes:
    """The file with these rows, which are numbered from 0, empty."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in _batches(io.BytesIO(data), SCHEMA.names):
            keep = np.ones(batch.num_rows, np.bool_)
            keep[rows[(rows >= start) & (rows < start + batch.num_rows)] - start] = False
            start += batch.num_rows
            columns = [pc.if_else(pa.array(keep), c, pa.scalar(None, c.type)) for c in batch.columns]
            yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)

    return written(batches())
