"""An erasure that is killed again and again ends where one that was left alone would have."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from driftline.capture import Capture
from driftline.dataset.labels import put_labels
from driftline.objects.directory import Directory

START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = 60
KILLS = 6


def lines(objects: Path) -> list[str]:
    return sorted(
        line for path in objects.rglob("*.jsonl") if "audit" not in path.parts for line in path.read_text().split("\n")
    )


def test_an_erasure_that_is_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    environ = {**os.environ, "DRIFTLINE_HOME": str(tmp_path / "home")}
    objects = tmp_path / "home/objects"
    with Capture("loans", objects, clock=lambda: START) as capture:
        for hour in range(HOURS):
            for number in range(20):
                at = START + timedelta(hours=hour)
                capture.log(f"{number},1", "0.5", inference_id=f"{hour}-{number}" if number else "him", at=at)
    put_labels(Directory(objects), "loans", [("him", 1), ("her", 0)], now=START)
    wanted = sorted("" if '"him"' in line else line for line in lines(objects))
    command = [sys.executable, "-m", "driftline", "objects", "erase", "him", "--json"]

    begin = time.monotonic()
    subprocess.run([*command, "--dry-run"], env=environ, capture_output=True, check=True)
    takes = time.monotonic() - begin
    chance = random.Random(7)
    for _ in range(KILLS):
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(takes * chance.uniform(0.4, 1.1))
        process.kill()
        process.wait()
    done = json.loads(subprocess.run(command, env=environ, capture_output=True, check=True).stdout)
    assert lines(objects) == wanted
    assert not (objects / "holds/erase.json").exists()
    assert done["captured"]["records"] <= HOURS
