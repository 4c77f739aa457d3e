"""Captured records in columns are the same records: every reader sees what it would have seen in lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.capture.columnar import SCHEMA, parquet, same_records
from driftline.capture.record import Encoding, Payload, Record
from driftline.dataset.columnar import is_columnar, opened, struck_rows
from driftline.dataset.compact import decode_cached
from driftline.dataset.compiled import compiled
from driftline.dataset.dataset import Captured, Decoded
from driftline.dataset.decode import decode
from driftline.runs.source import resolve
from driftline.schema import LABEL
from driftline.windows import Window

DAY = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
sides = st.none() | st.builds(
    Payload, texts, st.sampled_from(["CSV", "JSON", "BASE64"]), st.none() | texts, st.booleans()
)
records = st.builds(
    Record,
    event_id=texts.filter(bool),
    inferred_at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    input=sides,
    output=sides,
    inference_id=st.none() | texts.filter(bool),
    custom_attributes=st.lists(texts, max_size=2).map(tuple),
    probability=st.just(1.0) | st.floats(1e-6, 1.0),
    status=st.none() | st.integers(400, 599),
    version=st.sampled_from(["0", "1"]),
    unknown=st.just({}) | st.just({("eventMetadata", "more"): b'{"a":1}', ("mine",): b'"\\u00e9"'}),
).filter(lambda record: record.input or record.output or record.status)


@settings(max_examples=150, deadline=None)
@given(many=st.lists(records, max_size=6))
def test_records_come_back_from_columns_byte_by_byte(many: list[Record], tmp_path_factory: Any) -> None:
    lines = [record.encode() for record in many]
    path = tmp_path_factory.getbasetemp() / "round.parquet"
    path.write_bytes(parquet(lines))
    assert is_columnar(path)
    assert opened(path).read() == b"".join(line + b"\n" for line in lines)


def record(hour: int, n: int, data: str | None = None, kind: Encoding = "CSV", **more: Any) -> str:
    made = Record(
        event_id=f"e{hour}-{n}",
        inferred_at=datetime(2026, 3, 1, hour, 0, n % 60, tzinfo=UTC),
        input=Payload(f"{n},{n}.5,a" if data is None else data, kind, "text/csv"),
        output=Payload("0.5\n", "CSV", "text/csv"),
        inference_id=f"order-{hour}-{n}",
        **more,
    )
    return made.encode().decode()


Put = Callable[..., Path]


@pytest.fixture(params=["lines", "columns", "both"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Writes records as lines, and the same as columns, or some in each."""
    written = 0

    def write(hour: int, *lines: str, name: str = "a", plain: bool = False) -> Path:
        nonlocal written
        written += 1
        columns = not plain and (request.param == "columns" or (request.param == "both" and written % 2))
        folder = tmp_path / f"{'plain' if plain else 'captured'}/2026/03/01/{hour:02}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.{'parquet' if columns else 'jsonl'}"
        path.write_bytes(parquet([line.encode() for line in lines]) if columns else ("\n".join(lines) + "\n").encode())
        return path

    return write


def rows(decoded: Decoded) -> tuple[Any, ...]:
    table = pa.concat_tables([pq.read_table(path) for path in decoded.table.paths])
    letters = [] if decoded.dead_letters is None else decoded.dead_letters.read_text().splitlines()
    told = [(json.loads(letter)["line"], json.loads(letter)["reason"]) for letter in letters]
    return table.schema, table.to_pylist(), decoded.intake, told


@pytest.mark.parametrize("way", ["at once", "by hours", "step by step"])
def test_a_window_is_the_same_in_lines_in_columns_and_in_both(tmp_path: Path, put: Put, way: str) -> None:
    parts = {
        (0, "a"): [record(0, n, probability=0.5) for n in range(40)],
        (0, "b"): [record(0, n) for n in range(40, 80)] + [record(0, 81, "1,2"), record(0, 3)],
        (3, "a"): [
            record(3, n, f'"x,{n}",2,b' if n % 7 == 0 else None, status=500 if n == 8 else None) for n in range(40)
        ],
    }
    if way == "step by step":  # as documents are
        parts = {place: [record(place[0], n, f'{{"x": {n}}}', "JSON") for n in range(40)] for place in parts}
    found = []
    for plain in (True, False):
        for (hour, name), lines in parts.items():
            put(hour, *lines, name=name, plain=plain)
        folder = tmp_path / ("plain" if plain else "captured")
        source = Captured((folder,), window=DAY)
        if way == "by hours":
            found.append(decode_cached(tmp_path / f"cache{plain}", source))
        else:
            found.append(decode(source, tmp_path / f"out{plain}"))
    assert rows(found[0]) == rows(found[1])
    assert found[0].table.rows > 0


@pytest.mark.skipif(not compiled(), reason="the package was built without a compiler")
def test_a_file_that_is_no_capture_is_one_dead_letter_and_the_others_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "2026/03/01/09"
    folder.mkdir(parents=True)
    (folder / "a.parquet").write_bytes(parquet([record(9, 1).encode()]))
    pq.write_table(pa.table({"x": [1]}), folder / "b.parquet")
    (folder / "c.parquet").write_bytes(b"PAR1 and then nothing")
    (folder / "d.parquet").write_bytes(b"")
    for window in (None, DAY):
        found = decode_cached(tmp_path / f"cache{window}", Captured((tmp_path / "2026",), window=window))
        assert (found.table.rows, found.intake.dead) == (1, 3)
        assert "it has no column 'event_id'" in str(found.intake.reasons)


def test_an_erased_row_is_empty_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    lines = [record(9, n).encode() for n in range(5)]
    made = parquet(lines)
    path = tmp_path / "a.parquet"
    path.write_bytes(struck_rows(made, pa.array([1, 3]).to_numpy()))
    assert opened(path).read().split(b"\n") == [lines[0], b"", lines[2], b"", lines[4], b""]
    assert b"order-9-3" not in path.read_bytes()
    assert same_records(path.read_bytes(), made)
    assert not same_records(made, path.read_bytes())
    assert not same_records(parquet(lines[:4]), made)
    assert not same_records(b"", made)


def test_no_record_is_a_file_with_all_columns(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet([]))
    assert pq.read_schema(tmp_path / "a.parquet").names == SCHEMA.names
    assert opened(tmp_path / "a.parquet").read() == b""


def test_a_folder_of_columns_or_of_both_is_one_of_captured_records(tmp_path: Path, put: Put) -> None:
    for name in "ab":
        put(9, record(9, 1), name=name)
    assert isinstance(resolve(tmp_path), Captured)


def test_a_folder_of_other_parquet_files_is_a_dataset(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    assert not isinstance(resolve(tmp_path), Captured)


def test_a_preprocess_script_sees_the_records_as_lines(tmp_path: Path, put: Put) -> None:
    for hour in (3, 4):
        put(hour, *(record(hour, n) for n in range(3)))
    script = tmp_path / "script.py"
    script.write_text(
        "def preprocess_handler(it):\n"
        "    return {'n': it.endpoint_input.data.split(',')[0], 'id': it.event_metadata.event_id}\n"
    )
    found = decode(Captured((tmp_path / "captured",), window=DAY, preprocess=script), tmp_path / "out")
    table = pa.concat_tables([pq.read_table(path) for path in found.table.paths]).to_pylist()
    assert [(row["n"], row["id"]) for row in table] == [(n, f"e{hour}-{n}") for hour in (3, 4) for n in range(3)]


def test_ground_truth_beside_the_payloads_is_kept_in_columns(tmp_path: Path) -> None:
    line = json.loads(record(3, 1)) | {"groundTruthData": {"data": "1", "encoding": "CSV"}}
    (tmp_path / "a.parquet").write_bytes(parquet([json.dumps(line).encode()]))
    found = decode(Captured((tmp_path / "a.parquet",)), tmp_path / "out")
    assert pq.read_table(found.table.paths[0])[LABEL].to_pylist() == [1]
