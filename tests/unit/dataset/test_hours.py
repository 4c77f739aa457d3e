"""A window that is put together from hours is the window decoded at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.compact import decode_cached
from driftline.dataset.compiled import compiled
from driftline.dataset.dataset import Answers, Captured, Decoded
from driftline.dataset.decode import decode
from driftline.windows import Window

pytestmark = pytest.mark.skipif(not compiled(), reason="the package was built without a compiler")

DAY = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
Write = Callable[..., Path]


def record(hour: int, n: int, data: str | None = None, answer: str | None = "0.5", **more: Any) -> str:
    sides = {"endpointInput": {"data": f"{n},{n}.5,a" if data is None else data, "encoding": "CSV"}}
    if answer is not None:
        sides["endpointOutput"] = {"data": answer, "encoding": "CSV"}
    event = {"eventId": f"{hour}-{n}", "inferenceTime": f"2026-03-01T{hour:02}:00:{n:02}Z"} | more
    return json.dumps({"captureData": sides, "eventMetadata": event, "eventVersion": "0"})


@pytest.fixture
def put(tmp_path: Path) -> Write:
    def write(hour: int, *lines: str, name: str = "a") -> Path:
        path = tmp_path / f"captured/2026/03/01/{hour:02}/{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
        return path

    return write


def source(tmp_path: Path, **given: Any) -> Captured:
    return Captured(tuple(sorted((tmp_path / "captured").rglob("*.jsonl"))), **{"window": DAY} | given)


def told(decoded: Decoded) -> dict[str, Any]:
    letters = [] if decoded.dead_letters is None else decoded.dead_letters.read_text().splitlines()
    table = pa.concat_tables([pq.read_table(path) for path in decoded.table.paths])
    own = (decoded.intake, decoded.table.columns, decoded.table.rows, sorted(letters))
    return {"own": own, "schema": table.schema, "rows": table.to_pylist()}


def hours(cache: Path) -> set[str]:
    return {folder.name for folder in cache.iterdir() if folder.name.startswith("h")}


PLAIN = [record(8, n) for n in range(4)]
CASES: dict[str, list[str]] = {
    "the same columns": [record(9, n) for n in range(3)],
    "fractions where the others are whole": [record(9, 1, "1.5,2.5,a"), record(9, 2, "2.5,2.5,a")],
    "whole numbers among fractions": [record(9, 1, "1,2,a"), record(9, 2, "1,2.50,a")],
    "another width in a few": [record(9, 1, "1,2"), record(9, 2, "1,2")],
    "another width in most": [record(9, n, "1,2") for n in range(9)],
    "no output": [record(9, n, answer=None) for n in range(3)],
    "inclusion probabilities": [record(9, n, inclusionProbability=0.25) for n in range(3)],
    "broken lines": [record(9, 1), "{", record(9, 2, "1,2,3,4"), "\x00"],
    "events twice": [record(9, 1), record(9, 1), record(9, 2)],
    "an event of another hour": [record(9, 1), record(9, 2, eventId="8-1")],
    "a record of another day": [record(9, 1), record(9, 2, inferenceTime="2026-03-02T00:00:00Z")],
    "only records of another day": [record(9, 2, inferenceTime="2026-02-28T00:00:00Z")],
    "errors": [
        record(9, 1),
        record(9, 2, "oops", statusCode=500, inclusionProbability=0.1),
        record(9, 3, statusCode=404),
    ],
    "only errors": [record(9, 1, "oops", statusCode=500), record(9, 2, statusCode=500)],
    "an error of another day": [record(9, 1), record(9, 2, statusCode=500, inferenceTime="2026-03-02T00:00:00Z")],
    "JSON": [record(9, 1), record(9, 2, '{"a": 1}')],
    "quotes": [record(9, 1, '1,2.5,"a,b"')],
}


@pytest.mark.parametrize("answers", [None, Answers(score="0")], ids=["features", "answers"])
@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
def test_a_day_from_hours_is_the_day_decoded_at_once(
    tmp_path: Path, put: Write, lines: list[str], answers: Answers | None
) -> None:
    put(8, *PLAIN)
    put(9, *lines)
    put(10, record(10, 1))
    names = ("y", "a", "b", "c")
    for given in (source(tmp_path), source(tmp_path, names=names), source(tmp_path, names=names[1:])):
        at_once = decode(given, tmp_path / "once", answers=answers)
        first = decode_cached(tmp_path / "cache", given, answers=answers)
        assert told(first) == told(at_once)
        assert decode_cached(tmp_path / "cache", given, answers=answers) == first


def test_a_late_file_costs_one_hour(tmp_path: Path, put: Write) -> None:
    for hour in range(5):
        put(hour, *(record(hour, n) for n in range(4)))
    cache = tmp_path / "cache"
    decode_cached(cache, source(tmp_path))
    before = hours(cache)
    assert len(before) == 5
    put(3, record(3, 50), name="late")
    late = decode_cached(cache, source(tmp_path))
    assert len(hours(cache) - before) == 1
    assert told(late) == told(decode(source(tmp_path), tmp_path / "once"))


def test_windows_share_their_hours(tmp_path: Path, put: Write) -> None:
    for hour in range(6):
        put(hour, *(record(hour, n) for n in range(4)))
    cache, whole = tmp_path / "cache", source(tmp_path)
    decode_cached(cache, whole)
    before = hours(cache)
    some = replace(whole, paths=whole.paths[2:4], window=Window(DAY.start.replace(hour=2), DAY.start.replace(hour=4)))
    assert told(decode_cached(cache, some)) == told(decode(some, tmp_path / "once"))
    assert hours(cache) == before


def test_an_hour_on_the_edge_of_a_window_is_decoded_for_it(tmp_path: Path, put: Write) -> None:
    put(8, *PLAIN)
    put(9, *(record(9, n) for n in range(30, 50)))
    half = source(tmp_path, window=Window(DAY.start, DAY.start.replace(hour=9, second=40)))
    found = decode_cached(tmp_path / "cache", half)
    assert found.table.rows == 14
    assert found.intake.outside == 10
    assert told(found) == told(decode(half, tmp_path / "once"))
