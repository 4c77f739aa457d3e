from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driftline.dataset import lines
from driftline.dataset.dataset import Answers, Decoded, Files
from driftline.dataset.decode import decode
from driftline.errors import InputError

Write = Callable[[str, str | bytes], Path]
Rows = Callable[..., list[dict[str, Any]]]


def decoded(path: Path, *, header: bool = True, label: str | None = None, answers: Answers | None = None) -> Decoded:
    return decode(Files((path,), "csv", header), path.parent.parent / "out", label=label, answers=answers)


def test_a_column_is_typed_by_the_spelling_of_all_its_values(write: Write, types: Any) -> None:
    path = write(
        "a.csv", "whole,part,mixed,text,code,none,huge\n1,1.5,1,a,007,,9223372036854775808\n-2,2e3,1.5,,+8,,1\n"
    )
    assert types(decoded(path)) == {
        "whole": "int64",
        "part": "double",
        "mixed": "string",
        "text": "string",
        "code": "string",
        "none": "string",
        "huge": "string",
    }


@pytest.mark.parametrize("value", [".5", "1.", "NaN", "inf", "1e", "0x1F", "1e999", "true", "- 1"])
def test_what_is_not_spelled_as_a_number_makes_a_column_of_text(write: Write, types: Any, value: str) -> None:
    assert types(decoded(write("a.csv", f"x\n{value}\n2.5\n")))["x"] == "string"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\r\n1,2\r\n", [{"a": 1, "b": 2}]),
        ("\ufeffa,b\n1,2\n", [{"a": 1, "b": 2}]),
        ("a,b\n\n1,2\n\n\n3,4", [{"a": 1, "b": 2}, {"a": 3, "b": 4}]),
        ('a,b\n"x\ny",""\n', [{"a": "x\ny", "b": None}]),
        ('a,b\n"say ""hi"", you",2\n', [{"a": 'say "hi", you', "b": 2}]),
        ('a,b\n5" pipe,1\n6" pipe,2\n', [{"a": '5" pipe', "b": 1}, {"a": '6" pipe', "b": 2}]),
        ("a,b\n,\n", [{"a": None, "b": None}]),
        ('"a b","c"\n1,2\n', [{"a b": 1, "c": 2}]),
    ],
    ids=["CRLF", "BOM", "empty lines", "quoted newline", "escaped quotes", "stray quotes", "nulls", "quoted header"],
)
def test_csv_is_read_as_people_write_it(write: Write, rows: Rows, text: str, expected: list[dict[str, Any]]) -> None:
    found = decoded(write("a.csv", text))
    assert rows(found) == expected
    assert found.intake.dead == 0


def test_without_a_header_columns_are_named_by_place(write: Write, rows: Rows) -> None:
    assert rows(decoded(write("a.csv", "1,x\n2,y\n"), header=False)) == [{"_c0": 1, "_c1": "x"}, {"_c0": 2, "_c1": "y"}]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"a,b\n1,2\n3\n4,5\n", 3, "1 fields where 2 are expected"),
        (b"a,b\n1,2\n3,4,5\n6,7\n", 3, "3 fields where 2 are expected"),
        (b"a,b\n1,2\n3,\xff\n6,7\n", 3, "not valid UTF-8"),
        (b'a,b\n1,2\n3,"x\n6,7\n', 3, "a quote is opened and never closed"),
        (b"a,b\n1,2\n6,7\n3", 4, "1 fields where 2 are expected"),
    ],
    ids=["too few", "too many", "invalid UTF-8", "open quote", "truncated last line"],
)
def test_a_bad_line_is_a_dead_letter_and_the_others_are_rows(
    write: Write, content: bytes, line: int, reason: str
) -> None:
    found = decoded(write("a.csv", content))
    assert found.intake.rows == 2
    assert found.intake.records == 3
    assert found.intake.reasons == {reason: 1}
    assert found.dead_letters is not None
    letter = json.loads(found.dead_letters.read_text())
    assert (letter["file"], letter["line"], letter["reason"]) == (
        str(found.dead_letters.parents[1] / "in/a.csv"),
        line,
        reason,
    )


def test_a_far_too_long_line_is_never_loaded_as_a_whole(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1 << 20)
    monkeypatch.setattr(lines, "BLOCK", 1 << 18)
    found = decoded(write("a.csv", b"a,b\n1,2\n" + b"x" * (5 << 20) + b"\n3,4\n" + b"y" * (3 << 20)))
    assert (found.intake.rows, found.intake.dead, found.intake.records) == (2, 2, 4)
    assert found.dead_letters is not None
    letters = [json.loads(line) for line in found.dead_letters.read_text().splitlines()]
    assert [(x["line"], x["offset"], len(x["record"])) for x in letters] == [(3, 8, 1000), (5, 8 + (5 << 20) + 5, 1000)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "column 'a' twice"),
        ("a,,b\n1,2,3\n", "column 2 of file"),
        ("driftline.id\n1\n", "reserves"),
        (b"gr\xf6\xdfe,b\n1,2\n", "header of file .* cannot be read: not valid UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16; convert the file to UTF-8"),
    ],
    ids=["empty file", "duplicate name", "empty name", "reserved name", "header in Latin-1", "UTF-16"],
)
def test_a_file_that_cannot_be_a_dataset_is_refused(write: Write, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decoded(write("a.csv", content))


def test_files_with_another_header_are_refused(write: Write, tmp_path: Path) -> None:
    write("a.csv", "a,b\n1,2\n")
    write("b.csv", "a,c\n1,2\n")
    with pytest.raises(InputError, match=r"b\.csv.*'c' instead of 'b'"):
        decode(Files((tmp_path / "in",), "csv"), tmp_path / "out")


def test_a_folder_stands_for_its_files_and_gz_is_unpacked(write: Write, tmp_path: Path, rows: Rows) -> None:
    write("part-0.csv", "a\n1\n")
    write("part-1.csv.gz", gzip.compress(b"a\n2\n"))
    write("_SUCCESS", "")
    assert rows(decode(Files((tmp_path / "in",), "csv"), tmp_path / "out")) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ"])
def test_a_broken_gz_keeps_what_came_before(write: Write, name: str) -> None:
    whole = gzip.compress(b"a\n" + b"".join(b"%d\n" % i for i in range(200_000)))
    found = decoded(write(name, whole[: len(whole) // 2]))
    assert found.intake.reasons == {"the gz file is broken from here on": 1}
    assert found.intake.rows > 80_000
    assert found.dead_letters is not None
    letter = json.loads(found.dead_letters.read_text())
    assert letter["line"] == found.intake.rows + 2
    assert letter["offset"] == len(b"a\n" + b"".join(b"%d\n" % i for i in range(found.intake.rows)))


def test_prediction_score_and_label_are_columns_of_the_file(write: Write, rows: Rows, types: Any) -> None:
    path = write("a.csv", "p,s,y\n1,0.5,1\n0,1,2.5\n")
    found = decoded(path, label="y", answers=Answers(prediction="p", score="s"))
    assert found.table.columns == ("p", "s", "y")
    assert types(found) | {"s": "", "y": ""} == {
        "p": "int64", "s": "", "y": "", "driftline.prediction": "int64", "driftline.score": "double",
        "driftline.label": "double",
    }  # fmt: skip
    assert [row["driftline.label"] for row in rows(found, reserved=True)] == [1.0, 2.5]
    with pytest.raises(InputError, match=r"there is no label at 'nope'.*'p', 's', 'y'"):
        decoded(path, label="nope")


field = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.lists(field, min_size=3, max_size=3), min_size=1, max_size=12))
def test_fields_come_out_as_pythons_writer_wrote_them(tmp_path: Path, rows: Rows, table: list[list[str]]) -> None:
    # A last row of texts keeps the types out of it.
    wanted = [[f"k{i}", *row] for i, row in enumerate([*table, ["~"] * 3])]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["k", "a", "b", "c"], *wanted])
    path = tmp_path / "in" / "a.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    found = [list(row.values()) for row in rows(decoded(path))]
    assert found == [[value or None for value in row] for row in wanted]
