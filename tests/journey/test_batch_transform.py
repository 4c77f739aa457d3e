"""A captured batch transform job: `driftline check` follows its manifests to the data, and the labels meet its ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from driftline.cli import main

HOUR = "2026/03/01/09"
WINDOW = "2026-03-01T09:00:00Z/2026-03-01T10:00:00Z"
ROWS = 300


def driftline(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the bucket `acme` with the input of a job, its output with ids, and both manifests; and baselines."""
    rows = [f"{i % 50},{'free' if i % 3 else 'pro'}" for i in range(ROWS)]
    answers = [f"{(i % 10) / 10},{UUID(int=i)},2026-03-01T09:10:00Z" for i in range(ROWS)]
    for part, start in (("part-0", 0), ("part-1", ROWS // 2)):
        write(tmp_path / f"acme/in/{part}.csv", rows[start : start + ROWS // 2])
        write(tmp_path / f"acme/out/{part}.csv.out", answers[start : start + ROWS // 2])
    for side, ending in (("input", ""), ("output", ".out")):
        prefix = {"prefix": f"s3://acme/{side.removesuffix('put')}/"}
        manifest = [prefix, f"part-0.csv{ending}", f"part-1.csv{ending}"]
        write(tmp_path / f"acme/capture/{side}/{HOUR}/{side}.json", [json.dumps(manifest)])
    train = write(tmp_path / "train.csv", ["amount,plan", *rows])
    scored = write(
        tmp_path / "scored.csv", ["score,truth", *(f"{(i % 10) / 10},{int(i % 10 > 4)}" for i in range(ROWS))]
    )
    quality = ("--problem-type", "BinaryClassification", "--label", "truth", "--probability", "score")
    assert driftline("baseline", "data-quality", train, "--output", tmp_path / "base").exit_code == 0
    assert driftline("baseline", "model-quality", scored, *quality, "--output", tmp_path / "quality").exit_code == 0
    return tmp_path


def check(home: Path, *more: object) -> Result:
    arguments = ("check", "data-quality", home / "acme/capture", "--baseline", home / "base", "--output", home / "out")
    return driftline(*arguments, "--window", WINDOW, *more)


def report(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "out/report.json").read_text())
    return found


def test_the_inputs_that_the_manifests_name_hold_or_are_violated(home: Path) -> None:
    result = check(home, "--json")
    assert (result.exit_code, json.loads(result.output)["rows"]) == (0, ROWS)
    write(home / "acme/in/part-1.csv", [f"{i % 50},none" for i in range(ROWS // 2)])
    result = check(home, "--json")
    assert result.exit_code == 3
    assert {v["column"] for v in json.loads(result.output)["violations"]} == {"plan"}


@pytest.mark.parametrize(
    ("source", "wrong", "status"), [("capture", 0, 0), ("capture/output", 0, 0), ("capture", 1, 3)]
)
def test_labels_meet_the_ids_that_batch_transform_generated(home: Path, source: str, wrong: int, status: int) -> None:
    truth = [
        {
            "groundTruthData": {"data": str(int(i % 10 > 4) ^ wrong), "encoding": "CSV"},
            "eventMetadata": {"eventId": str(UUID(int=i))},
        }
        for i in range(ROWS)
    ]
    labels = write(home / "labels.jsonl", [json.dumps(each) for each in truth])
    result = driftline(
        *("check", "model-quality", home / "acme" / source, "--labels", labels, "--baseline", home / "quality"),
        *("--output", home / "out", "--problem-type", "BinaryClassification", "--probability", "0", "--window", WINDOW),
        *("--mode", "point"),
    )
    assert result.exit_code == status, result.output
    assert report(home)["inputs"]["coverage"]["labelled"] == ROWS


def test_a_broken_manifest_is_counted_and_data_that_is_not_there_is_named(home: Path) -> None:
    write(home / f"acme/capture/input/{HOUR}/broken.json", ['[{"prefix": "s3://acme/in/"}, "part-2'])
    result = check(home)
    assert "1 records could not be read" in result.output
    letter = json.loads((home / "out/dead_letters.jsonl").read_text())
    assert (Path(letter["file"]).name, letter["line"]) == ("broken.json", 1)
    for part in ("part-0", "part-1"):
        (home / f"acme/in/{part}.csv").unlink()
    result = check(home)
    assert result.exit_code == 1
    assert "names 's3://acme/in/part-0.csv', which is not there" in result.output
