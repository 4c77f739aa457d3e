"""Ground truth as files: labels are written in Model Monitor's format, and read from CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from driftline.capture.ids import storable
from driftline.capture.layout import label_key
from driftline.errors import Conflict, InputError
from driftline.objects.store import ObjectStore

Format: TypeAlias = Literal["csv", "jsonl", "parquet"]
FORMATS: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
MODEL_MONITOR_ID: Final = 64
"""Longest id that Model Monitor accepts; Driftline accepts and joins longer ones."""


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """What became of an upload of labels."""

    written: int
    """Labels in the file: one per id."""
    duplicates: int
    """Labels that came again with the same value."""
    contradictions: int
    """Labels that came again with another value; the last one was written."""
    long_ids: int
    """Labels whose id has more than 64 characters: written, but Model Monitor itself would refuse them."""
    key: str | None
    """The object they are in; None where there were no labels."""


def put_labels(
    store: ObjectStore, endpoint: str, labels: Iterable[tuple[str, object]], *, now: datetime
) -> LabelReceipt:
    """Upload labels: all of them, in one file, or none.

    Args:
        labels: pairs of id and value. The id is the request's inference id, or its event id where it had none. Text,
            numbers and truth values are written as a scalar (true is 1); lists and mappings as JSON, for requests of
            several records.
        now: when they are uploaded, aware; files sort by it, and the last written label of an id wins.

    Raises:
        InputError: an id is empty, or a value is none (null, NaN, infinite, another type). Nothing is written then.
    """
    found: dict[str, bytes] = {}
    duplicates = contradictions = 0
    for number, (event_id, value) in enumerate(labels, 1):
        truth = _truth(number, event_id, value)
        before = found.get(event_id)
        if before is not None:
            duplicates += before == truth
            contradictions += before != truth
        found[event_id] = truth
    if not found:
        label_key(endpoint, now, 0)  # refuses a bad name or time, labels or not
        return LabelReceipt(0, 0, 0, 0, None)
    lines = [_LINE % (truth, _encoder.encode(storable(event_id))) for event_id, truth in found.items()]
    key = _put_next(store, endpoint, now, b"".join(lines))
    return LabelReceipt(
        written=len(found),
        duplicates=duplicates,
        contradictions=contradictions,
        long_ids=sum(len(event_id) > MODEL_MONITOR_ID for event_id in found),
        key=key,
    )


def read_label_file(
    path: Path,
    id_column: str = "id",
    label_column: str = "label",
    format: Format | None = None,  # noqa: A002  the word of `Files` and of the command line
) -> Iterator[tuple[str, object]]:
    """The labels of a file, one by one, with numbers as they are spelled.

    JSON lines may be flat objects, or ground-truth records of Model Monitor (then the columns are not needed).

    Args:
        format: default by the suffix of the file.

    Raises:
        InputError: the file cannot be read, a column is missing, or a row has no id or no label; with file and line.
    """
    kind = format or FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"label file {str(path)!r} is neither .csv, .jsonl nor .parquet; rename it, or say its format")
    if not path.is_file():
        raise InputError(f"label file {str(path)!r} does not exist or is not a file")
    return _READERS[kind](path, id_column, label_column)


_LINE: Final = (
    b'{"groundTruthData":%b,"eventMetadata":{"eventId":%b},"eventVersion":"0"}\n'  # only bytes can be formatted so fast
)
_encoder = msgspec.json.Encoder(decimal_format="number")
# A float keeps its digits as they are spelled: 0.50 stays 0.50.
_decoder = msgspec.json.Decoder(float_hook=Decimal)


def _truth(number: int, event_id: object, value: object) -> bytes:
    if not isinstance(event_id, str) or not event_id:
        raise InputError(f"label {number} has the id {event_id!r}; an id is text of at least one character")
    if isinstance(value, (dict, list, tuple)):
        try:
            return _encoder.encode({"data": _encoder.encode(value).decode(), "encoding": "JSON"})
        except (TypeError, ValueError) as why:
            raise InputError(f"label {number}, id {event_id!r}: {value!r} cannot be written as JSON: {why}") from why
    return _encoder.encode({"data": storable(_scalar(number, event_id, value)), "encoding": "CSV"})


def _scalar(number: int, event_id: str, value: object) -> str:
    if hasattr(value, "item") and not isinstance(value, (str, int, float)):
        value = value.item()  # a NumPy scalar
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, float, Decimal)) and math.isfinite(value):
        return str(value)
    raise InputError(
        f"label {number}, id {event_id!r}: the value is {value!r}; a label is text that is not blank, a finite number "
        f"or true or false. Leave out what is not known yet and send it later"
    )


def _put_next(store: ObjectStore, endpoint: str, now: datetime, data: bytes) -> str:
    """Store under the first free key of this instant, after all that are taken."""
    ordinal = 0
    while True:
        key = label_key(endpoint, now, ordinal)
        try:
            store.put(key, data, if_absent=True)
            return key
        except Conflict:
            instant = key.rpartition("-")[0]
            taken = max(entry.key for entry in store.list(f"{instant}-"))
            ordinal = int(taken.rpartition("-")[2].removesuffix(".jsonl")) + 1


def _read_csv(path: Path, id_column: str, label_column: str) -> Iterator[tuple[str, object]]:
    # Not by `open` in text mode: a byte that is not UTF-8 is reported with its line.
    with path.open("rb") as file:
        rows = csv.reader(_text_lines(path, file), strict=True)
        try:
            header = next(rows, None)
            if header is None:
                raise InputError(f"label file {str(path)!r} is empty; its first line names the columns")
            at_id, at_label = (_position(path, header, column) for column in (id_column, label_column))
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    raise _bad_line(path, rows.line_num, f"there are {len(row)} fields, but {len(header)} columns")
                yield _pair(path, rows.line_num, row[at_id], row[at_label])
        except csv.Error as why:
            raise _bad_line(path, rows.line_num, str(why)) from why


def _text_lines(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as why:
            raise _bad_line(path, number, f"it is not UTF-8 ({why}); convert the file") from why
        yield text.removeprefix("\ufeff") if number == 1 else text


def _position(path: Path, header: list[str], column: str) -> int:
    if header.count(column) > 1:
        raise InputError(f"label file {str(path)!r} has {header.count(column)} columns named {column!r}; rename one")
    try:
        return header.index(column)
    except ValueError:
        raise _no_column(path, column, header) from None


def _read_json(path: Path, id_column: str, label_column: str) -> Iterator[tuple[str, object]]:
    with path.open("rb") as file:
        start = file.read(4096).lstrip()[:1]
        file.seek(0)
        if start == b"[":
            yield from _json_array(path, file.read(), id_column, label_column)
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _json_pair(path, number, _json(path, number, line), id_column, label_column)


def _json_array(path: Path, data: bytes, id_column: str, label_column: str) -> Iterator[tuple[str, object]]:
    for number, record in enumerate(_json(path, 1, data), 1):
        yield _json_pair(path, number, record, id_column, label_column)


def _json(path: Path, number: int, text: bytes) -> Any:
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as why:
        raise _bad_line(path, number, f"it is not JSON: {why}") from why


def _json_pair(path: Path, number: int, found: Any, id_column: str, label_column: str) -> tuple[str, object]:
    if not isinstance(found, dict):
        raise _bad_line(path, number, f"{str(found)[:60]!r} is not a JSON object")
    if "groundTruthData" in found:
        return _ground_truth(path, number, found)
    for column in (id_column, label_column):
        if column not in found:
            raise _bad_line(path, number, str(_no_column(path, column, list(found))))
    return _pair(path, number, found[id_column], found[label_column])


def _ground_truth(path: Path, number: int, found: dict[str, Any]) -> tuple[str, object]:
    truth, metadata = found["groundTruthData"], found.get("eventMetadata")
    if not isinstance(truth, dict) or not isinstance(truth.get("data"), str):
        raise _bad_line(path, number, "groundTruthData.data is not text")
    if not isinstance(metadata, dict):
        raise _bad_line(path, number, "there is no eventMetadata with an eventId")
    encoding = truth.get("encoding")
    if encoding not in ("CSV", "JSON"):
        raise _bad_line(path, number, f"groundTruthData.encoding is {encoding!r}; it must be CSV or JSON")
    data = truth["data"] if encoding == "CSV" else _json(path, number, truth["data"].encode())
    return _pair(path, number, metadata.get("eventId"), data)


def _read_parquet(path: Path, id_column: str, label_column: str) -> Iterator[tuple[str, object]]:
    import pyarrow as pa  # not needed, and slow to import, for the other formats
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for column in (id_column, label_column):
                if column not in file.schema_arrow.names:
                    raise _no_column(path, column, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(columns=list({id_column, label_column})):
                labels = batch.column(label_column)
                if labels.type in (pa.float16(), pa.float32()):
                    # The shortest spelling that means the same: 0.1 and not 0.10000000149011612.
                    labels = labels.cast(pa.string())
                for event_id, label in zip(batch.column(id_column).to_pylist(), labels.to_pylist(), strict=True):
                    number += 1
                    yield _pair(path, number, event_id, label)
    except pa.ArrowException as why:
        raise InputError(f"label file {str(path)!r} cannot be read as Parquet: {why}") from why


def _pair(path: Path, number: int, event_id: object, label: object) -> tuple[str, object]:
    if event_id is None or event_id == "":
        raise _bad_line(path, number, "there is no id; every label names the request it belongs to")
    if isinstance(event_id, bool) or not isinstance(event_id, (str, int)):
        raise _bad_line(path, number, f"the id {event_id!r} is neither text nor a whole number")
    if label is None or label == "":
        raise _bad_line(
            path, number, f"id {event_id!r} has no label; leave out what is not known yet and send it later"
        )
    return str(event_id), label


def _no_column(path: Path, column: str, there: Iterable[str]) -> InputError:
    return InputError(
        f"label file {str(path)!r} has no column {column!r}; it has {', '.join(map(repr, there)) or 'none'}. "
        f"Name the columns of the id and of the label"
    )


def _bad_line(path: Path, number: int, why: str) -> InputError:
    return InputError(f"label file {str(path)!r}, line {number}: {why}")


_READERS: Final[Mapping[Format, Callable[[Path, str, str], Iterator[tuple[str, object]]]]] = {
    "csv": _read_csv,
    "jsonl": _read_json,
    "parquet": _read_parquet,
}
