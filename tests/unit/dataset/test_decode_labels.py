from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.dataset.decode_labels import decode_labels
from driftline.schema import ID, LABEL, ORDINAL

Write = Callable[[str, str], Path]
Rows = Callable[..., list[dict[str, Any]]]


def truth(data: Any, event: str | None = "e1", encoding: str = "CSV") -> str:
    return json.dumps(
        {
            "groundTruthData": {"data": data, "encoding": encoding},
            "eventMetadata": {} if event is None else {"eventId": event},
            "eventVersion": "0",
        }
    )


def labels(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(r[ID], r[ORDINAL], r[LABEL]) for r in found]


@pytest.mark.parametrize(
    ("data", "encoding", "path", "expected"),
    [
        ("1", "CSV", None, ["1"]),
        ("1\n0\n", "CSV", None, ["1", "0"]),
        ("2.50", "CSV", None, ["2.50"]),
        ("1", "JSON", None, ["1"]),
        ('"cat"', "JSON", None, ["cat"]),
        ('{"label": 1}', "JSON", None, ["1"]),
        ('{"instances": [{"label": 0}, {"label": 1}]}', "JSON", None, ["0", "1"]),
        ('[0, {"label": "x"}]', "JSON", None, ["0", "x"]),
        ('{"label": [0, 1]}', "JSON", None, ["0", "1"]),
        ('{"truth": {"class": "dog"}}', "JSON", "truth.class", ["dog"]),
        ('{"instances": [{"y": 3}]}', "JSON", "instances[*].y", ["3"]),
    ],
)
def test_a_label_is_found_in_every_form(
    write: Write, tmp_path: Path, rows: Rows, data: str, encoding: str, path: str | None, expected: list[str]
) -> None:
    found = decode_labels((write("l.jsonl", truth(data, encoding=encoding)),), tmp_path / "out", path=path)
    assert labels(rows(found, reserved=True)) == [("e1", i, label) for i, label in enumerate(expected)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"groundTr', "not valid JSON"),
        (truth("1", None), "no eventMetadata.eventId"),
        ("{}", "no eventMetadata.eventId"),
        (truth(None), "no groundTruthData.data"),
        (truth(""), "groundTruthData holds no label where one is expected"),
        (truth("1,2"), "groundTruthData has several values in a line"),
        (truth("{", encoding="JSON"), "groundTruthData is not valid JSON"),
        (truth('{"other": 1}', encoding="JSON"), "groundTruthData holds no label where one is expected"),
        (truth("MQ==", encoding="BASE64"), "groundTruthData is neither CSV nor JSON"),
    ],
)
def test_a_label_that_cannot_be_read_is_a_dead_letter(write: Write, tmp_path: Path, line: str, reason: str) -> None:
    found = decode_labels((write("l.jsonl", f"{truth('1')}\n{line}\n{truth('0', 'e2')}"),), tmp_path / "out")
    assert found.intake.reasons == {reason: 1}
    assert (found.intake.records, found.intake.rows) == (3, 2)


def test_duplicates_and_contradictions_are_counted_and_kept_in_order(write: Write, tmp_path: Path, rows: Rows) -> None:
    write("b/2.jsonl", f"{truth('0')}\n{truth('7', 'e3')}")
    write("b/1.jsonl", f"{truth('1')}\n{truth('1.0')}\n{truth('1', 'e2')}\n")
    found = decode_labels((tmp_path / "in",), tmp_path / "out")
    assert [label for *_, label in labels(rows(found, reserved=True))] == ["1", "1.0", "1", "0", "7"]
    assert (found.intake.duplicates, found.intake.contradictions) == (1, 1)


def test_one_array_per_file_is_read_too(write: Write, tmp_path: Path) -> None:
    found = decode_labels((write("l.jsonl", f"[{truth('1')},\n {truth('0', 'e2')}]"),), tmp_path / "out")
    assert (found.intake.records, found.intake.rows) == (2, 2)


def test_a_broken_array_loses_nothing_uncounted(write: Write, tmp_path: Path) -> None:
    found = decode_labels(
        (write("l.jsonl", f"[{truth('1')},\n{truth('0', 'e2')},\n{truth('0', 'e3')}"),), tmp_path / "out"
    )
    assert found.intake.records == found.intake.dead + found.intake.rows == 3


def test_no_labels_are_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert decode_labels((tmp_path / "in",), tmp_path / "out").table.rows == 0
