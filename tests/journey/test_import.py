"""Batches that were scored elsewhere: imported by the command, checked against a baseline, met by their labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROWS = 300


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A training set, a batch of March 1 that is like it, and one of March 2 that is not; with truths."""
    rows = [f"{i % 50},{'free' if i % 3 else 'pro'}" for i in range(ROWS)]
    (tmp_path / "train.csv").write_text("amount,plan\n" + "\n".join(rows) + "\n")
    scored = [f"order-{i},{row},{(i % 10) / 10}" for i, row in enumerate(rows)]
    (tmp_path / "monday.csv").write_text("order,amount,plan,score\n" + "\n".join(scored) + "\n")
    moved = [line.replace("free", "none") for line in scored]
    (tmp_path / "tuesday.csv").write_text("order,amount,plan,score\n" + "\n".join([*moved, "broken"]) + "\n")
    truths = [f"order-{i},{int(i % 10 > 4)}" for i in range(ROWS)]
    (tmp_path / "truth.csv").write_text("id,label\n" + "\n".join(truths) + "\n")
    held = [f"{(i % 10) / 10},{int(i % 10 > 4)}" for i in range(ROWS)]
    (tmp_path / "held.csv").write_text("score,truth\n" + "\n".join(held) + "\n")
    return tmp_path


def driftline(home: Path, *arguments: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "driftline", *arguments, "--json"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3, 4), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_batch_is_imported_once_checked_and_met_by_its_labels(home: Path) -> None:
    quality = ("--problem-type", "BinaryClassification")
    driftline(home, "baseline", "data-quality", "train.csv", "--output", "base")
    driftline(home, "baseline", "model-quality", "held.csv", *quality, "--label", "truth", "--probability", "score",
              "--output", "good")  # fmt: skip
    imports = ("--endpoint", "shop", "--id", "order", "--output-column", "score")
    for day, batch, bad in ((1, "monday", 0), (2, "tuesday", 1)):
        for records in (ROWS, 0):
            _, told = driftline(home, "capture", "import", f"{batch}.csv", *imports, "--at", f"2026-03-0{day}")
            assert (told["records"], told["already"], told["bad"]) == (records, ROWS - records, bad)
    letter = json.loads((home / "import-dead-letters.jsonl").read_text())
    assert (Path(letter["file"]).name, letter["line"]) == ("tuesday.csv", ROWS + 2)

    checked = ("check", "data-quality", ".driftline/objects/captured/shop", "--baseline", "base", "--output", "report")
    assert driftline(home, *checked, "--window", "2026-03-01/P1D")[0] == 0
    status, told = driftline(home, *checked, "--window", "2026-03-02/P1D")
    assert (status, told["rows"], {v["column"] for v in told["violations"]}) == (3, ROWS, {"plan"})

    driftline(home, "labels", "put", "truth.csv", "--endpoint", "shop")
    status, told = driftline(
        home, "check", "model-quality", ".driftline/objects/captured/shop",
        "--labels", ".driftline/objects/labels/shop",
        "--baseline", "good", "--output", "report", *quality, "--probability", "0", "--window", "2026-03-01/P1D",
        "--mode", "point",
    )  # fmt: skip
    assert status == 0
    assert json.loads((home / "report/report.json").read_text())["inputs"]["coverage"]["labelled"] == ROWS
