"""Whatever comes in: a clear message or a verdict with its reason, never a crash, and nothing is lost uncounted."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from driftline.capture import Capture
from driftline.cli import main

AT = datetime(2026, 3, 1, 9, tzinfo=UTC)
WINDOW = "2026-03-01T09:00:00Z/2026-03-01T10:00:00Z"


def driftline(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of two columns (amount, plan) and one of the model's quality."""
    folder = tmp_path_factory.mktemp("home")
    rows = [f"{i % 50},{'free' if i % 3 else 'pro'}" for i in range(600)]
    (folder / "train.csv").write_text("amount,plan\n" + "\n".join(rows) + "\n")
    scored = [f"{(i % 10) / 10},{int(i % 10 > 4)}" for i in range(600)]
    (folder / "scored.csv").write_text("score,truth\n" + "\n".join(scored) + "\n")
    assert driftline("baseline", "data-quality", folder / "train.csv", "--output", folder / "base").exit_code == 0
    quality = ("--problem-type", "BinaryClassification", "--label", "truth", "--probability", "score")
    made = driftline("baseline", "model-quality", folder / "scored.csv", *quality, "--output", folder / "quality")
    assert made.exit_code == 0, made.output
    return folder


def check(home: Path, source: Path, *more: object) -> Result:
    return driftline(
        "check", "data-quality", source, "--baseline", home / "base", "--output", source.parent / "out", *more
    )


def check_quality(home: Path, source: Path, labels: Path, *more: object) -> Result:
    return driftline(
        *("check", "model-quality", source, "--labels", labels, "--baseline", home / "quality"),
        *("--output", source.parent / "out", "--problem-type", "BinaryClassification", "--probability", "0", *more),
    )


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out/report.json").read_text())
    return found


def captured(folder: Path, rows: int = 100, change: Callable[[str], str] = lambda line: line) -> Path:
    """One hour of captured requests, as one file whose lines went through `change`."""
    with Capture("shop", folder, clock=lambda: AT) as capture:
        for i in range(rows):
            score, at = f"{(i % 10) / 10}", AT + timedelta(seconds=i)
            capture.log(f"{i % 50},{'free' if i % 3 else 'pro'}", score, inference_id=f"r{i}", at=at)
    [file] = (folder / "captured/shop/AllTraffic/2026").rglob("*.jsonl")
    file.write_text("".join(change(line) for line in file.read_text().splitlines(keepends=True)))
    return folder / "captured"


def truth(folder: Path, ids: list[tuple[str, str]]) -> Path:
    file = folder / "labels/2026/03/01/10/l.jsonl"
    file.parent.mkdir(parents=True)
    lines = [
        {"groundTruthData": {"data": v, "encoding": "CSV"}, "eventMetadata": {"eventId": i}, "eventVersion": "0"}
        for i, v in ids
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "labels"


GOOD = [(f"r{i}", str(int(i % 10 > 4))) for i in range(100)]


def test_an_empty_file_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    result = check(home, tmp_path / "empty.csv")
    assert result.exit_code == 1
    assert "empty.csv' is empty" in result.output or "empty.csv is empty" in result.output


def test_a_missing_path_is_wrong_usage(home: Path, tmp_path: Path) -> None:
    assert check(home, tmp_path / "nowhere.csv").exit_code == 2


def test_an_empty_window_is_unknown_with_its_reason(home: Path, tmp_path: Path) -> None:
    source = captured(tmp_path)
    result = check(home, source, "--window", "2027-01-01/2027-01-02")
    assert result.exit_code == 4, result.output
    assert "no data" in result.output


def test_missing_and_new_columns_are_violations(home: Path, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("amount,colour\n" + "1,red\n" * 50)
    assert check(home, tmp_path / "live.csv").exit_code == 3
    violated = {v["metric"] for v in report(tmp_path)["violations"]}
    assert {"missing_columns", "extra_columns"} <= violated


def test_a_column_of_nulls_is_incomplete(home: Path, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("amount,plan\n" + ",free\n" * 80)
    assert check(home, tmp_path / "live.csv").exit_code == 3
    assert ("completeness", "amount") in {(v["metric"], v["column"]) for v in report(tmp_path)["violations"]}


def test_a_baseline_of_another_model_is_refused_with_both_lists_of_columns(home: Path, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("height,weight\n" + "1,2\n" * 50)
    result = check(home, tmp_path / "live.csv")
    assert result.exit_code == 1
    assert "another model" in result.output
    assert "'amount'" in result.output
    assert "'height'" in result.output


def test_a_baseline_of_another_kind_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "live.csv").write_text("amount,plan\n1,free\n")
    arguments = ("check", "data-quality", tmp_path / "live.csv", "--baseline", home / "quality")
    result = driftline(*arguments, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "is not a baseline for data-quality" in result.output


def test_broken_lines_are_dead_letters_with_file_line_and_reason(home: Path, tmp_path: Path) -> None:
    def broken(line: str) -> str:
        if '"r3"' in line:
            return "{not json\n"
        if '"r4"' in line:
            return line.replace('"encoding":"CSV"', '"encoding":"EBCDIC"')
        return line

    source = captured(tmp_path, change=broken)
    [file] = source.rglob("2026/**/*.jsonl")
    file.write_bytes(file.read_bytes() + b'\xff\xfe\n{"captureData": {"endpointInp')
    check(home, source)
    told = report(tmp_path)["inputs"]["predictions"]
    assert told["dead"] == 4
    assert told["records"] == 102
    assert told["rows"] == 98
    letters = [json.loads(line) for line in (tmp_path / "out/dead_letters.jsonl").read_text().splitlines()]
    assert sorted(letter["line"] for letter in letters) == [4, 5, 101, 102]
    assert all(letter["reason"] and letter["file"].endswith(".jsonl") for letter in letters)


def test_times_outside_the_window_are_counted(home: Path, tmp_path: Path) -> None:
    def shifted(line: str) -> str:
        if '"r7"' in line:
            return line.replace("2026-03-01T09", "2031-03-01T09")
        return line.replace("2026-03-01T09", "2001-03-01T09") if '"r8"' in line else line

    check(home, captured(tmp_path, change=shifted), "--window", WINDOW)
    told = report(tmp_path)["inputs"]["predictions"]
    assert (told["outside"], told["rows"]) == (2, 98)


def test_one_class_only_leaves_ranking_unknown(home: Path, tmp_path: Path) -> None:
    source, labels = captured(tmp_path), truth(tmp_path, [(i, "0") for i, _ in GOOD])
    check_quality(home, source, labels)
    auc = next(m for m in report(tmp_path)["measurements"] if m["metric"] == "auc")
    assert auc["value"] is None
    assert auc["verdict"] == "unknown"
    assert "class" in auc["undefined"]


def test_labels_for_nobody_are_labels_pending(home: Path, tmp_path: Path) -> None:
    result = check_quality(home, captured(tmp_path), truth(tmp_path, [("x1", "1"), ("x2", "0")]))
    assert result.exit_code == 4
    assert "labels pending" in result.output


def test_a_label_that_comes_twice_counts_once_and_the_last_one_wins(home: Path, tmp_path: Path) -> None:
    labels = truth(tmp_path, [("r0", "1"), *GOOD, ("r1", "0")])
    check_quality(home, captured(tmp_path), labels)
    told = report(tmp_path)["inputs"]
    assert told["labels"]["contradictions"] == 1
    assert told["labels"]["duplicates"] == 1
    assert told["coverage"]["labelled"] == 100
    assert next(m["value"] for m in report(tmp_path)["measurements"] if m["metric"] == "auc") == 1.0


def test_a_line_of_many_megabytes_is_a_dead_letter_and_its_neighbours_are_read(home: Path, tmp_path: Path) -> None:
    rows = ['{"amount": 1, "plan": "free"}'] * 60
    (tmp_path / "live.jsonl").write_text("\n".join([*rows, '{"amount": "' + "x" * 17_000_000 + '"}', *rows]) + "\n")
    check(home, tmp_path / "live.jsonl")
    told = report(tmp_path)["inputs"]["predictions"]
    assert (told["rows"], told["dead"]) == (120, 1)
    [letter] = [json.loads(line) for line in (tmp_path / "out/dead_letters.jsonl").read_text().splitlines()]
    assert letter["line"] == 61
    assert "longer than" in letter["reason"]
    assert len(letter["record"]) < 100_000


def test_a_clock_that_goes_backwards_loses_nothing(home: Path, tmp_path: Path) -> None:
    with Capture("shop", tmp_path, clock=lambda: AT) as capture:
        for i in range(100):
            at = AT + timedelta(minutes=50 - i)  # back over the hour
            capture.log(f"{i % 50},free", "0.5", inference_id=f"r{i}", at=at)
    check(home, tmp_path / "captured")
    assert report(tmp_path)["inputs"]["predictions"]["rows"] == 100
    check(home, tmp_path / "captured", "--window", WINDOW)
    assert report(tmp_path)["inputs"]["predictions"]["rows"] == 51


def test_a_folder_without_ground_truth_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    result = check_quality(home, captured(tmp_path), tmp_path / "labels")
    assert result.exit_code == 1
    assert f"{tmp_path / 'labels'}: there is no ground-truth file" in result.output


def test_a_probability_that_is_not_there_is_an_error_that_says_where(home: Path, tmp_path: Path) -> None:
    result = check_quality(home, captured(tmp_path), truth(tmp_path, GOOD), "--probability", "7")
    assert result.exit_code == 1
    assert "7" in result.output


def test_an_unknown_key_in_the_plan_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_HOME", str(tmp_path / "home"))
    (tmp_path / "plan.yaml").write_text("version: 1\nendpoints:\n  shop: {treshold: 0.4}\n")
    result = driftline("apply", tmp_path / "plan.yaml")
    assert result.exit_code == 1
    assert "plan.yaml, line 3" in result.output
    assert "did you mean 'threshold'" in result.output


def test_a_plan_whose_baseline_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLINE_HOME", str(tmp_path / "home"))
    (tmp_path / "plan.yaml").write_text(
        "version: 1\nendpoints: {shop: {}}\nbaselines: {b: nowhere}\n"
        "monitors: {m: {kind: data-quality, endpoint: shop, baseline: b, schedule: daily}}\n"
    )
    result = driftline("apply", tmp_path / "plan.yaml")
    assert result.exit_code == 1
    assert "nowhere" in result.output
    assert "created" in driftline("plan", tmp_path / "plan.yaml").output


@pytest.mark.parametrize(
    ("score", "truth", "message"),
    [
        (
            lambda _: 0.5,
            lambda i: i % 10,
            "column 'truth': 480 of 600 labels are neither 0 nor 1 ('2', '3', '4', '5', '6', …)",
        ),
        (
            lambda i: i % 25 / 10 - 0.9,
            lambda i: i % 2,
            "column 'score': 336 of 600 probabilities are outside [0, 1] (they go from -0.9",
        ),
    ],
)
def test_a_baseline_of_what_is_not_binary_names_the_column(
    tmp_path: Path, score: Callable[[int], float], truth: Callable[[int], int], message: str
) -> None:
    rows = [f"{score(i):.1f},{truth(i)}" for i in range(600)]
    (tmp_path / "scored.csv").write_text("score,truth\n" + "\n".join(rows) + "\n")
    quality = ("--problem-type", "BinaryClassification", "--label", "truth", "--probability", "score")
    made = driftline("baseline", "model-quality", tmp_path / "scored.csv", *quality, "--output", tmp_path / "base")
    assert made.exit_code == 1
    assert message in made.output


def test_a_few_probabilities_that_are_none_are_told_beside_the_verdict(home: Path, tmp_path: Path) -> None:
    rows = [f"{1.5 if i == 7 else (i % 10) / 10},{int(i % 10 > 4)}" for i in range(600)]
    (tmp_path / "scored.csv").write_text("score,truth\n" + "\n".join(rows) + "\n")
    found = driftline(
        *("check", "model-quality", tmp_path / "scored.csv", "--label", "truth", "--baseline", home / "quality"),
        *("--output", tmp_path / "out", "--problem-type", "BinaryClassification", "--probability", "score"),
    )
    assert found.exit_code in (0, 4), found.output
    note = "1 of 600 probabilities are outside [0, 1] (they go from 0.1 to 1.5); give the probability of class 1"
    assert report(tmp_path)["notes"] == [note]
    assert f"note: {note}" in found.output


def test_a_baseline_of_which_nothing_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("amount,plan\n" + "1,free\n" * 20)
    output = ("--output", tmp_path / "base")
    made = driftline("baseline", "data-quality", tmp_path / "train.csv", "--format", "jsonl", *output)
    assert made.exit_code == 1
    assert "no rows that can be read: 21 of 21 records could not be read, the first in " in made.output
    assert "train.csv, line 1: not valid JSON (is the format right?)" in made.output


def test_captured_json_is_held_against_a_baseline_of_inputs_by_its_input_side(home: Path, tmp_path: Path) -> None:
    with Capture("shop", tmp_path, clock=lambda: AT) as capture:
        for i in range(600):
            asked, kind = json.dumps({"amount": i % 50, "plan": "free" if i % 3 else "pro"}), "application/json"
            capture.log(
                asked,
                '{"score": 0.5}',
                inference_id=f"r{i}",
                at=AT + timedelta(seconds=i),
                request_content_type=kind,
                response_content_type=kind,
            )
    source = tmp_path / "captured"
    assert check(home, source).exit_code == 3
    assert [v["metric"] for v in report(tmp_path)["violations"]] == ["extra_columns"]
    assert check(home, source, "--sides", "input").exit_code == 0
    refused = check(home, home / "train.csv", "--sides", "input")
    assert refused.exit_code == 1
    assert "leave out --window, --preprocess, --sides and --payload" in refused.output


def test_a_header_that_looks_like_data_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("".join(f"{i},{i / 7:.3f}\n" for i in range(300)))
    build = ("baseline", "data-quality", tmp_path / "train.csv", "--output", tmp_path / "base")
    made = driftline(*build)
    assert made.exit_code == 0
    assert "train.csv, line 1: the names of all 2 columns are numbers ('0', '0.000', …); if this" in made.output
    assert "note" not in driftline(*build, "--no-header").output


@pytest.mark.parametrize(("mark", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_baseline_of_fields_that_no_comma_separates_is_refused(tmp_path: Path, mark: str, called: str) -> None:
    (tmp_path / "train.csv").write_text(f"amount{mark}plan\n" + "".join(f"{i}{mark}free\n" for i in range(300)))
    made = driftline("baseline", "data-quality", tmp_path / "train.csv", "--output", tmp_path / "base")
    assert made.exit_code == 1
    assert f"its fields seem to be separated by {called}; CSV is read with commas" in made.output
    assert not (tmp_path / "base").exists()
