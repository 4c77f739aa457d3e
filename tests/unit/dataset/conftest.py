from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Decoded

Capture = Callable[..., str]


def captured(
    data: str | None = "1,2",
    output: str | None = "0.5",
    *,
    event_id: str | None = "e1",
    encodings: tuple[str, str] = ("CSV", "CSV"),
    time: str | None = "2026-03-01T09:14:07Z",
    **more: Any,
) -> str:
    """One line of a capture file; `encodings` of input and output, `more` goes to the event's metadata."""
    sides: dict[str, Any] = {}
    if data is not None:
        sides["endpointInput"] = {"mode": "INPUT", "data": data, "encoding": encodings[0]}
    if output is not None:
        sides["endpointOutput"] = {"mode": "OUTPUT", "data": output, "encoding": encodings[1]}
    record: dict[str, Any] = {"captureData": sides, "eventMetadata": dict(more), "eventVersion": "0"}
    if "truth" in more:
        record["groundTruthData"] = record["eventMetadata"].pop("truth")
    for key, value in (("eventId", event_id), ("inferenceTime", time)):
        if value is not None:
            record["eventMetadata"][key] = value
    return json.dumps(record)


@pytest.fixture
def capture() -> Capture:
    return captured


def rows_of(decoded: Decoded, *, reserved: bool = False) -> list[dict[str, Any]]:
    table = pa.concat_tables([pq.read_table(path) for path in decoded.table.paths])
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows if reserved else [{k: v for k, v in row.items() if k in decoded.table.columns} for row in rows]


@pytest.fixture
def rows() -> Callable[..., list[dict[str, Any]]]:
    return rows_of


def types_of(decoded: Decoded) -> dict[str, str]:
    return {field.name: str(field.type) for field in pq.read_schema(decoded.table.paths[0])}


@pytest.fixture
def types() -> Callable[[Decoded], dict[str, str]]:
    return types_of


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
