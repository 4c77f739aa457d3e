"""Everything in a bucket, with real processes: training data, capture, labels, baselines, runs, reports."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from driftline.capture import Capture
from driftline.objects.places import store_at
from driftline.objects.store import ObjectStore

ENDPOINT = """
import sys
from datetime import datetime
from driftline.capture import Capture

capture = Capture("loans", sys.argv[1])
for number, line in enumerate(sys.stdin):
    at, request, response = line.rstrip("\\n").split(";")
    capture.log(request, response, inference_id=str(number), at=datetime.fromisoformat(at))
capture.close(30)
"""
PLAN = """
version: 1
endpoints:
  loans: {{problem_type: BinaryClassification, probability: "0"}}
baselines:
  inputs: {place}/baselines/inputs
  quality: {place}/baselines/quality
monitors:
  inputs: {{kind: data-quality, endpoint: loans, baseline: inputs, schedule: daily, sides: [input]}}
  quality: {{kind: model-quality, endpoint: loans, baseline: quality, schedule: daily}}
"""


def rows(seed: int, count: int, mean: float) -> list[tuple[str, float, int]]:
    """Rows of (features, score, truth)."""
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        truth = int(chance.random() < 0.3)
        score = 1 / (1 + 2.718281828 ** -((1.5 if truth else -1.5) + chance.gauss(0, 1)))
        found.append((f"{chance.gauss(mean, 1):.4f},{chance.randint(18, 80)}", score, truth))
    return found


class Product:
    """Driftline's commands, in processes of their own, with the store in a bucket."""

    def __init__(self, home: Path, place: str) -> None:
        self.home, self.place = home, place
        self.environ = {**os.environ, "DRIFTLINE_HOME": str(home / "home"), "DRIFTLINE_OBJECTS": place}

    def serve(self, requests: list[str]) -> None:
        lines = "".join(f"{line}\n" for line in requests)
        command = [sys.executable, "-c", ENDPOINT, self.place]
        subprocess.run(command, env=self.environ, input=lines, text=True, check=True, timeout=60)

    def run(self, *words: str | Path, expect: int = 0) -> Any:
        command = [sys.executable, "-m", "driftline", *map(str, words), "--json"]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == expect, (words, done.stdout, done.stderr)
        return json.loads(done.stdout)


@pytest.fixture
def store(s3: str) -> ObjectStore:
    return store_at(s3)


def test_the_whole_loop_in_a_bucket(tmp_path: Path, s3: str, store: ObjectStore) -> None:
    product = Product(tmp_path, s3)
    train = rows(1, 3000, 0.0)
    store.put("train/rows.csv", ("x,age\n" + "".join(f"{x}\n" for x, _, _ in train)).encode())
    scored = "score,truth\n" + "".join(f"{score:.6f},{truth}\n" for _, score, truth in train)
    store.put("scored.csv", scored.encode())
    base = ("--output", f"{s3}/baselines/inputs")
    assert product.run("baseline", "data-quality", f"{s3}/train", *base)["rows"] == 3000
    asked = ("--problem-type", "BinaryClassification", "--label", "truth", "--probability", "score")
    product.run("baseline", "model-quality", f"{s3}/scored.csv", *asked, "--output", f"{s3}/baselines/quality")

    live = rows(2, 1200, 3.0)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: TID251  labels come now
    yesterday = today - timedelta(days=1)
    window = f"{yesterday.isoformat()}/{today.isoformat()}"
    at = [(yesterday + timedelta(minutes=n)).isoformat() for n in range(len(live))]
    product.serve([f"{when};{x};{score:.6f}" for when, (x, score, _) in zip(at, live, strict=True)])
    (tmp_path / "labels.csv").write_text("id,label\n" + "".join(f"{n},{r[2]}\n" for n, r in enumerate(live)))
    product.run("labels", "put", tmp_path / "labels.csv", "--endpoint", "loans")
    (tmp_path / "plan.yaml").write_text(PLAN.format(place=s3))
    product.run("apply", tmp_path / "plan.yaml")

    inputs = product.run("run", "inputs", "--window", window, expect=3)
    assert (inputs["rows"], inputs["verdict"]) == (1200, "violated"), "the feature x moved by three deviations"
    quality = product.run("run", "quality", "--window", window, expect=4)
    assert (quality["coverage"], quality["verdict"]) == (1.0, "unknown"), "too few rows to be sure of every metric"
    auc = next(m for m in quality["measurements"] if m["metric"] == "auc")
    assert (auc["value"] > 0.9, auc["verdict"]) == (True, "holds")
    report = json.loads(store.get(inputs["report"] + "report.json"))
    assert {"x"} <= {violation["column"] for violation in report["violations"]}
    assert report["baseline"]["from"] == f"{s3}/baselines/inputs"
    assert json.loads(store.get(inputs["report"] + "constraint_violations.json"))["violations"]

    checked = product.run(
        "check", "data-quality", f"{s3}/captured", "--baseline", f"{s3}/baselines/inputs", "--window", window,
        "--sides", "input", "--output", f"{s3}/reports/once", expect=3,
    )  # fmt: skip
    assert checked["rows"] == 1200
    assert "report.json" in checked["files"]
    assert json.loads(store.get("reports/once/report.json"))["verdict"] == "violated"
    local = {path.relative_to(tmp_path / "home").parts[0] for path in (tmp_path / "home").iterdir()}
    assert local == {"cache", "catalog.db"}, "only the catalog and a cache are on the disk"


def test_one_request_is_erased_and_the_rest_expires_in_a_bucket(tmp_path: Path, s3: str, store: ObjectStore) -> None:
    product = Product(tmp_path, s3)
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    columns = Capture("loans", s3, format="parquet", spool=False)
    for number in range(40):
        columns.log(f"{number},30", "0.5", inference_id=f"c{number}", at=at)
    assert columns.close(30)
    product.serve([f"{at.isoformat()};{number},30;0.5" for number in range(40)])
    (tmp_path / "labels.csv").write_text("id,label\n7,1\nc7,0\n")
    product.run("labels", "put", tmp_path / "labels.csv", "--endpoint", "loans")
    asked = ("objects", "erase", "7", "c7", "no-such")
    told = product.run(*asked, "--dry-run")
    done = product.run(*asked)
    assert (told["captured"], told["labels"]) == (done["captured"], done["labels"])
    assert (done["captured"], done["labels"]["records"]) == ({"objects": 2, "records": 2}, 2)
    assert done["missing"] == ["no-such"]
    again = product.run(*asked)
    assert again["missing"] == ["7", "c7", "no-such"]
    assert [entry.key for entry in store.list("holds/")] == []
    gone = product.run("objects", "expire", "--captured", "P1D")
    assert gone["removed"]["captured"]["objects"] >= 2
    assert list(store.list("captured/")) == []
    assert len(list(store.list("audit/"))) == 6


def test_a_report_is_not_written_over_its_baseline(tmp_path: Path, s3: str, store: ObjectStore) -> None:
    product = Product(tmp_path, s3)
    store.put("rows.csv", b"x\n" + b"".join(b"%d\n" % n for n in range(300)))
    product.run("baseline", "data-quality", f"{s3}/rows.csv", "--output", f"{s3}/base")
    words = ("check", "data-quality", f"{s3}/rows.csv", "--baseline", f"{s3}/base", "--output", f"{s3}/base/")
    command = [sys.executable, "-m", "driftline", *words]
    done = subprocess.run(command, env=product.environ, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is the folder of the baseline, which the report would overwrite" in done.stderr


def test_the_data_of_a_batch_job_is_read_where_its_manifests_name_it(
    tmp_path: Path, s3: str, store: ObjectStore
) -> None:
    product = Product(tmp_path, s3)
    features = [x for x, _, _ in rows(3, 600, 0.0)]
    store.put("train.csv", ("x,age\n" + "".join(f"{x}\n" for x in features)).encode())
    product.run("baseline", "data-quality", f"{s3}/train.csv", "--output", f"{s3}/base")
    store.put("jobs/in/part-0.csv", "".join(f"{x}\n" for x in features).encode())
    manifest = [{"prefix": f"{s3}/jobs/in/"}, "part-0.csv"]
    store.put("jobs/capture/input/2026/03/01/09/input.json", json.dumps(manifest).encode())
    words = ("--baseline", f"{s3}/base", "--output", f"{s3}/report", "--sides", "input")
    checked = product.run("check", "data-quality", f"{s3}/jobs/capture", *words)
    assert (checked["rows"], checked["verdict"]) == (600, "holds")
