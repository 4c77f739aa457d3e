"""What befalls endpoints in production befalls real ones here: every accepted request is a record or a counted loss."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("scene", ["disk full", "store", "half open", "large", "flood", "fork", "starved"])
def test_requests_are_records_or_counted_losses_whatever_befalls(scene: str) -> None:
    command = [sys.executable, str(BENCH / "fault_scenes.py"), scene, "--seconds", "0.5", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["accepted"] >= 100
    assert told["written"] + sum(told["lost"].values()) == told["accepted"]


def test_kills_at_any_moment_and_line_lose_nothing_that_was_spooled() -> None:
    command = [sys.executable, str(BENCH / "faults.py"), "kill", "--rounds", "12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["written"] + sum(told["lost"].values()) == told["accepted"]
