from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driftline.dataset.dataset import Answers, Captured, Decoded
from driftline.dataset.decode import decode
from driftline.dataset.preprocess import Script
from driftline.errors import InputError

Capture = Callable[..., str]
Rows = Callable[..., list[dict[str, Any]]]
Run = Callable[..., Decoded]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(script: str, *lines: str, answers: Answers | None = None) -> Decoded:
        path, captured = tmp_path / "script.py", tmp_path / "a.jsonl"
        path.write_text(script)
        captured.write_text("".join(line + "\n" for line in lines))
        return decode(Captured((captured,), preprocess=path), tmp_path / "out", answers=answers)

    return run


def test_a_script_sees_the_record_as_model_monitor_hands_it_over(run: Run, capture: Capture, rows: Rows) -> None:
    script = """
import json
def preprocess_handler(record, logger):
    logger.warning("seen")
    print("this does not disturb")
    assert record.as_dict() == json.loads(record.str()) == json.loads(str(record))
    assert record.event_data.endpointInput.data == record.endpoint_input.data
    assert record.batch_transform_output is None and record.ground_truth is None
    return {
        "a": record.endpoint_input.data.split(",")[0], "out": float(record.endpoint_output.data),
        "id": record.event_metadata.event_id, "time": record.event_metadata.event_time,
        "attribute": record.event_metadata.custom_attribute[0], "version": record.event_version, "none": None,
    }
"""
    found = run(script, capture(customAttributes=["x=1"]), answers=Answers(score="out"))
    row = rows(found, reserved=True)[0]
    assert [row[name] for name in found.table.columns] == [1, 0.5, "e1", "2026-03-01T09:14:07Z", "x=1", 0, None]
    assert (row["driftline.id"], row["driftline.score"]) == ("e1", 0.5)


def test_a_script_may_drop_records_and_make_several_rows(run: Run, capture: Capture, rows: Rows) -> None:
    script = """
def preprocess_handler(record):
    lines = record.endpoint_input.data.split()
    return [] if lines == ["0"] else [{"x": line} for line in lines]
"""
    found = run(script, capture("1 2"), capture("0", event_id="e2"), capture("3", event_id="e3"))
    assert [(r["driftline.id"], r["driftline.ordinal"], r["x"]) for r in rows(found, reserved=True)] == [
        ("e1", 0, 1), ("e1", 1, 2), ("e3", 0, 3),
    ]  # fmt: skip
    assert (found.intake.skipped, found.intake.rows, found.intake.records) == (1, 3, 3)


def test_a_script_imports_what_lies_beside_it_and_nothing_of_driftlines_own_files(
    run: Run, capture: Capture, rows: Rows, tmp_path: Path
) -> None:
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    script = """
import beside, importlib.util
def preprocess_handler(record):
    return {"name": beside.NAME, "foreign": importlib.util.find_spec("spelled") is not None}
"""
    assert rows(run(script, capture())) == [{"name": "beside", "foreign": False}]


def test_what_a_script_does_wrong_is_a_dead_letter_with_its_line(run: Run, capture: Capture) -> None:
    script = "import sys\ndef preprocess_handler(r):\n    v = r.endpoint_input.data\n" \
        "    if v == 'exit': sys.exit(3)\n    return {'x': int(v)} if v != 'list' else [1]\n"  # fmt: skip
    lines = [capture(v, event_id=v) for v in ("1", "one", "list", "exit")]
    found = run(script, *lines)
    assert found.intake.rows == 1
    assert found.dead_letters is not None
    letters = [json.loads(line) for line in found.dead_letters.read_text().splitlines()]
    assert [(x["line"], x["reason"]) for x in letters] == [
        (2, "preprocess script, line 5: ValueError: invalid literal for int() with base 10: 'one'"),
        (3, "preprocess script, TypeError: it returned list; a dict, a list of dicts or [] is expected"),
        (4, "preprocess script, line 4: SystemExit: 3"),
    ]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("def preprocess_handler(:", "cannot be used: SyntaxError"),
        ("import nothing_of_that_name", "cannot be used: line 1: ModuleNotFoundError"),
        ("x = 1", "has no function preprocess_handler"),
        (
            "import os\ndef preprocess_handler(r): os._exit(4)",
            "ended on the record at .*a.jsonl, line 1, exit status 4",
        ),
    ],
)
def test_a_script_that_cannot_run_is_refused(run: Run, capture: Capture, script: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(script, capture())


def test_a_script_that_hangs_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("import time\ndef preprocess_handler(r): time.sleep(60)\n")
    script = Script(path, time_limit_s=0.5)
    script_rows = script.rows(["{}"], ["a.jsonl, line 1"])
    with pytest.raises(InputError, match=r"longer than 0\.5 seconds on the record at a\.jsonl, line 1"):
        next(script_rows)
