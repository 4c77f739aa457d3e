"""A baseline that Model Monitor wrote, judged as Model Monitor does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from driftline.constraints import Verdict
from driftline.engines.local import LocalEngine
from driftline.runs.oneoff import Source, Workshop, check_data

STATISTICS = {
    "version": 0.0,
    "dataset": {"item_count": 1000},
    "features": [
        {
            "name": "id",
            "inferred_type": "String",
            "string_statistics": {"common": {"num_present": 1000, "num_missing": 0}, "distinct_count": 1000.0},
        }
    ],
}
CONSTRAINTS = {"version": 0.0, "features": [{"name": "id", "inferred_type": "String", "completeness": 1.0}]}


def test_a_column_whose_values_are_not_listed_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "statistics.json").write_text(json.dumps(STATISTICS))
    (tmp_path / "base" / "constraints.json").write_text(json.dumps(CONSTRAINTS))
    (tmp_path / "data.csv").write_text("id\n" + "".join(f"u{i}\n" for i in range(300)))
    shop = Workshop(LocalEngine(), tmp_path, datetime(2026, 3, 1, tzinfo=UTC))
    checked = check_data(Source(tmp_path / "data.csv"), tmp_path / "base", tmp_path / "report", None, shop)
    assert checked.outcome.verdict is Verdict.HOLDS
    assert {j.constraint.metric for j in checked.outcome.judgements} == {
        "missing_columns",
        "extra_columns",
        "completeness",
    }
