from __future__ import annotations

import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.dataset.dataset import Answers, Captured, Files
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.decode import decode
from driftline.dataset.decode_json import read_documents
from driftline.dataset.lines import Reader, plain_ends
from driftline.dataset.tables import working
from driftline.engines.local import LocalEngine
from driftline.errors import Corrupt, InputError, Unavailable
from driftline.schema import PROBABILITY, RESERVED
from driftline.states.column import Column
from driftline.states.rows import ONE
from driftline.states.rows import Rows as Weighed

Write = Callable[[str, str | bytes], Path]
Rows = Callable[..., list[dict[str, Any]]]


def test_json_values_keep_their_types_and_mixed_ones_are_text(
    write: Write, tmp_path: Path, rows: Rows, types: Any
) -> None:
    lines = [
        {"i": 1, "f": 0.5, "b": True, "s": "1", "m": 1, "n": None, "deep": {"x": [1, {"y": 2}]}},
        {"i": -7, "f": 1e300, "b": False, "s": "2", "m": 1.5, "n": None, "late": "z"},
    ]
    found = decode(Files((write("a.jsonl", "\n".join(map(json.dumps, lines))),), "jsonl"), tmp_path / "out")
    assert types(found) == {
        "i": "int64", "f": "double", "b": "bool", "s": "string", "m": "string", "n": "string", "deep.x.0": "int64",
        "deep.x.1.y": "int64", "late": "string",
    }  # fmt: skip
    assert rows(found)[1] | {"f": 0} == {
        "i": -7, "f": 0, "b": False, "s": "2", "m": "1.5", "n": None, "deep.x.0": None, "deep.x.1.y": None, "late": "z",
    }  # fmt: skip


def test_broken_lines_are_dead_letters(write: Write, tmp_path: Path) -> None:
    path = write("a.jsonl", b'{"a": 1}\n{"a": \n[1]\n"x"\n{"a": "\xff"}\n   \n{"a": 2}\n{"a": 3')
    intake = decode(Files((path,), "jsonl"), tmp_path / "out").intake
    assert intake.reasons == {"not valid JSON": 2, "not a JSON object": 2, "not valid UTF-8": 1}
    assert (intake.records, intake.rows) == (7, 2)


def test_a_file_may_be_one_array_of_objects(write: Write, tmp_path: Path, rows: Rows) -> None:
    found = decode(Files((write("a.json", '[\n {"a": 1},\n {"a": 2}\n]\n'),), "jsonl"), tmp_path / "out", label="a")
    assert rows(found) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_an_empty_file_is_refused(write: Write, tmp_path: Path, name: str) -> None:
    kind: Any = name.removeprefix("a.")
    with pytest.raises(InputError, match="is empty"):
        decode(Files((write(name, ""),), kind), tmp_path / "out")


def test_odd_keys_break_nothing(write: Write, tmp_path: Path, rows: Rows) -> None:
    text = json.dumps({"": 1, 'say "hi"': 2, "back\\slash": 3, "a": {"": 4, "b": 5}})
    (row,) = rows(decode(Files((write("a.jsonl", text),), "jsonl"), tmp_path / "out"))
    assert sorted(row.values()) == [2, 3, 5]  # what has no key has no column


@pytest.mark.parametrize("levels", [3_000, 100_000])
def test_a_document_of_far_too_many_levels_is_a_dead_letter(
    write: Write, tmp_path: Path, capture: Any, levels: int
) -> None:
    deep = '{"a": ' + "[" * levels + "]" * levels + "}"
    wide = json.dumps({"a": [[1]] * 300, "b": "[" * 300 + '\\"'})
    reason = "the JSON is nested more than 200 levels deep"
    found = decode(Files((write("a.jsonl", f"{deep}\n{wide}\n"),), "jsonl"), tmp_path / "out")
    assert (found.intake.rows, found.intake.reasons) == (1, {reason: 1})
    lines = [capture(deep, event_id="deep", encodings=("JSON", "CSV")), capture('{"a": 1}', encodings=("JSON", "CSV"))]
    found = decode(Captured((write("b.jsonl", "\n".join(lines)),)), tmp_path / "out")
    assert (found.intake.rows, found.intake.reasons) == (1, {f"endpointInput: {reason}": 1})


def test_values_as_keys_are_refused(write: Write, tmp_path: Path) -> None:
    path = write("a.jsonl", json.dumps({f"id{i}": i for i in range(10_001)}))
    with pytest.raises(InputError, match="more than 10000 different paths"):
        decode(Files((path,), "jsonl"), tmp_path / "out")


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_files_are_not_copied(tmp_path: Path) -> None:
    paths = tuple(parquet(tmp_path / "in" / f"{i}.parquet", {"a": [i]}) for i in range(2))
    found = decode(Files((tmp_path / "in",), "parquet"), tmp_path / "out")
    assert (found.table.paths, found.table.columns, found.table.rows) == (paths, ("a",), 2)


def test_probabilities_may_be_in_some_of_the_parquet_files(tmp_path: Path, rows: Rows) -> None:
    for i, more in enumerate(({}, {PROBABILITY: [0.5]}, {})):
        parquet(tmp_path / "in" / f"{i}.parquet", {"a": [i], **more})
    source = Files((tmp_path / "in",), "parquet")
    whole, asked = decode(source, tmp_path / "out").table, decode(source, tmp_path / "out", label="a")
    assert whole.columns == asked.table.columns == ("a",)
    assert [row[PROBABILITY] for row in rows(asked, reserved=True)] == [1, 0.5, 1]
    for table in (whole, asked.table):
        assert LocalEngine().fold(frozenset({Weighed()}), table).states[Weighed()].w == 4 * ONE


@pytest.mark.parametrize("name", sorted(RESERVED - {PROBABILITY}))
def test_a_name_that_is_reserved_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    path = parquet(tmp_path / "a.parquet", {"a": [1], name: ["x"]})
    with pytest.raises(InputError, match=rf"a\.parquet' has a column '{name}', a name that Driftline reserves; rename"):
        decode(Files((path,), "parquet"), tmp_path / "out")


def test_parquet_gets_the_columns_that_are_asked_for(tmp_path: Path, rows: Rows) -> None:
    path = parquet(tmp_path / "a.parquet", {"a": [1, 2], "p": [0.5, None]})
    found = decode(Files((path,), "parquet"), tmp_path / "out", label="a", answers=Answers(score="p"))
    assert rows(found, reserved=True)[0] == {"a": 1, "p": 0.5, "driftline.label": 1, "driftline.score": 0.5}


def test_parquet_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "in" / "0.parquet", {"a": [1]})
    parquet(tmp_path / "in" / "1.parquet", {"a": ["x"]})
    with pytest.raises(InputError, match=r"1\.parquet.*column 'a' is string instead of int64"):
        decode(Files((tmp_path / "in",), "parquet"), tmp_path / "out")


def test_parquet_files_may_store_the_same_values_in_other_types(tmp_path: Path) -> None:
    values = [pa.array([1], pa.int32()), pa.array([1.5]), pa.array([Decimal("1.25")]), pa.nulls(1)]
    texts = [pa.nulls(1), pa.array(["a"]), pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string())]
    for i, (a, t) in enumerate(zip(values, texts, strict=True)):
        parquet(tmp_path / "in" / f"{i}.parquet", {"a": a, "t": t})
    table = decode(Files((tmp_path / "in",), "parquet"), tmp_path / "out").table
    states = LocalEngine().fold(frozenset({Column("a"), Column("t")}), table).states
    assert states[Column("a")].moments.total == 3.75
    assert states[Column("t")].kinds.string.n == 3
    with pytest.raises(InputError, match=r"1\.parquet.*column 'a' is double instead of int32"):
        decode(Files((tmp_path / "in",), "parquet"), tmp_path / "out", label="a")


@pytest.mark.parametrize("values", [[[1]], [b"\xff"], [{"a": 1}]], ids=["list", "binary", "struct"])
def test_what_is_no_label_is_refused_with_its_file_and_column(tmp_path: Path, values: list[Any]) -> None:
    path = parquet(tmp_path / "a.parquet", {"a": values})
    with pytest.raises(InputError, match=r"a\.parquet': column 'a' is .*, which cannot be the label"):
        decode(Files((path,), "parquet"), tmp_path / "out", label="a")


def test_a_damaged_parquet_file_is_named_with_its_column(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"a": list(range(500)), "p": [0.5 + i for i in range(500)]})
    place = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[place.data_page_offset : place.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"a\.parquet', row group 0: column 'p' cannot be read"):
        decode(Files((path,), "parquet"), tmp_path / "out", answers=Answers(score="p"))


def test_a_parquet_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"a": list(range(100_000))})

    def change(done: int, total: int | None, unit: str) -> None:
        os.utime(path, (0, 0))

    with pytest.raises(Unavailable, match=r"a\.parquet' changed while it was read"):
        decode(Files((path,), "parquet"), tmp_path / "out", label="a", progress=change)


def test_a_file_of_lines_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 10)
    reading = Reader(0, path, DeadLetters(tmp_path / "dead.jsonl"), plain_ends).batches()
    assert len(next(reading)) == 10
    with path.open("a") as more:
        more.write('{"a": 2}\n')
    with pytest.raises(Unavailable, match=r"a\.jsonl' changed while it was read"):
        list(reading)


def test_an_array_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"a": i} for i in range(200_000)]))
    with working(tmp_path / "out", None) as work:
        reading = read_documents((path,), work)
        assert len(next(reading)) > 0
        path.write_text('[{"a": 1}]')
        with pytest.raises(Unavailable, match=r"a\.json' changed while it was read"):
            list(reading)
        assert work.dead.count == 0


def test_what_is_not_parquet_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a whole Parquet file"):
        decode(Files((write("a.parquet", "a,b\n1,2\n"),), "parquet"), tmp_path / "out")
