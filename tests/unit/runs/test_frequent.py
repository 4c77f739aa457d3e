"""The frequent values of columns of texts, as a report tells them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from driftline.engines.local import LocalEngine
from driftline.errors import Corrupt
from driftline.runs.oneoff import Source, Workshop, baseline_of_data, check_data

ROWS = 12_000
LONG = "https://example.org/a/long/path"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("frequent")
    at = range(ROWS)
    columns = {
        "agent": [LONG if i % 4 == 0 else "bot" if i % 10 == 1 else f"agent-{i}" for i in at],
        "plan": [f"plan-{i % 12}" if i else None for i in at],
        "name": [f"name-{i % 3_000}" for i in at],
        "size": list(at),
        "gold": [i % 2 == 0 for i in at],
        "zip": [str(i % 7) for i in at],
    }
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    shop = Workshop(LocalEngine(), folder, datetime(2026, 3, 1, tzinfo=UTC))
    baseline_of_data(Source(folder / "rows.parquet"), folder / "base", shop)
    check_data(Source(folder / "rows.parquet"), folder / "base", folder / "out", None, shop)
    report = json.loads((folder / "out/report.json").read_text())
    return {"folder": folder, **{each["column"]: each for each in report["frequent"]}}


def test_columns_of_texts_are_told_and_no_others(told: dict[str, Any]) -> None:
    assert list(told) == ["folder", "agent", "plan", "name", "zip"]


def test_values_of_few_are_told_exactly_and_the_ten_most_frequent_at_most(told: dict[str, Any]) -> None:
    assert told["plan"]["exact"] is True
    assert len(told["plan"]["values"]) == 10
    first = told["plan"]["values"][0]
    assert first == {"value": "plan-1", "whole": True, "count": 1_000, "share": 1_000 / 11_999, "error": 0.0}


def test_values_that_few_rows_have_are_not_told(told: dict[str, Any]) -> None:
    assert told["name"] == {"column": "name", "exact": True, "distinct": 3_000, "values": []}


def test_frequent_values_among_many_are_told_with_their_error(told: dict[str, Any]) -> None:
    agent = told["agent"]
    assert agent["exact"] is False
    assert agent["distinct"] == pytest.approx(7_802, rel=0.03)
    long, bot = agent["values"]
    assert LONG.startswith(long["value"].rstrip("…"))
    assert long["whole"] == (long["value"] == LONG)
    assert bot["value"] == "bot"
    for value, share in ((long, 0.25), (bot, 0.1)):
        assert share <= value["share"] <= share + value["error"]
        assert value["error"] < 0.003


def test_a_baseline_of_an_earlier_version_says_what_to_do(told: dict[str, Any], tmp_path: Path) -> None:
    folder: Path = told["folder"]
    states = folder / "base/states.bin"
    now = states.read_bytes()
    try:
        states.write_bytes(now.replace(b"\x03\x92\xa6column", b"\x02\x92\xa6column"))
        shop = Workshop(LocalEngine(), tmp_path, datetime(2026, 3, 1, tzinfo=UTC))
        with pytest.raises(Corrupt, match="format version 2 where format version 3 should stand; build the baseline"):
            check_data(Source(folder / "rows.parquet"), folder / "base", tmp_path / "out", None, shop)
    finally:
        states.write_bytes(now)
