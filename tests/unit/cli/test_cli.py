"""Exit statuses, JSON and odd input of the commands, in their real process environment but for click's runner."""

from __future__ import annotations

import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from driftline.assemble import utc_now
from driftline.capture import Capture
from driftline.cli import main
from driftline.objects.directory import Directory

NOW = utc_now().replace(microsecond=0)
HOUR = NOW.replace(minute=0, second=0) - timedelta(hours=2)
PLAN = """
version: 1
endpoints: {shop: {}}
baselines: {base: base}
monitors: {inputs: {kind: data-quality, endpoint: shop, baseline: base, schedule: hourly, sides: [input], mode: point}}
alarms: {moved: {monitor: inputs}}
"""


def driftline(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIFTLINE_HOME", str(tmp_path / "home"))
    rows = "".join(f"{i % 50},{'free' if i % 3 else 'pro'}\n" for i in range(600))
    (tmp_path / "train.csv").write_text("amount,plan\n" + rows)
    built = driftline("baseline", "data-quality", tmp_path / "train.csv", "--output", tmp_path / "base", "--json")
    assert json.loads(built.output)["rows"] == 600
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def captured(objects: Path, at: datetime, rows: int = 120, amount: str = "") -> None:
    with Capture("shop", objects, clock=lambda: at) as capture:
        for i in range(rows):
            data = f"{amount or i % 50},{'free' if i % 3 else 'pro'}"
            capture.log(data, "0.5", inference_id=f"{at:%H}-{i}", at=at + timedelta(seconds=i))


def sqlite_of(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(home / "home/catalog.db")


def window(start: datetime, hours: int = 1) -> str:
    return f"{start:%Y-%m-%dT%H:%M:%SZ}/PT{hours}H"


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield from commands(command, *path, name) if isinstance(command, click.Group) else [(*path, name)]


@pytest.mark.parametrize("command", list(commands(main)), ids=" ".join)
def test_every_command_has_help_and_json(command: tuple[str, ...]) -> None:
    shown = driftline(*command, "--help")
    assert shown.exit_code == 0
    assert f" {' '.join(command)} " in shown.output.splitlines()[0]
    assert "--json" in shown.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_the_script_alone_or_as_json(shell: str) -> None:
    script = driftline("completion", shell).stdout
    assert "_DRIFTLINE_COMPLETE" in script
    assert json.loads(driftline("completion", shell, "--json").stdout) == {"shell": shell, "script": script[:-1]}


def test_a_demo_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("driftline.demo")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)  # as where it is not installed
    told = driftline("demo")
    assert told.exit_code == 1
    assert "pip install '.[demo]'" in told.stderr


def test_run_says_its_verdict_by_exit_status_and_as_json(home: Path) -> None:
    assert driftline("apply", home / "plan.yaml", "--json").exit_code == 0
    captured(home / "home/objects", HOUR)
    captured(home / "home/objects", HOUR - timedelta(hours=1), amount="99999")
    good = driftline("run", "inputs", "--window", window(HOUR), "--json")
    assert good.exit_code == 0, good.output
    told = json.loads(good.output)
    assert {"verdict", "reason", "rows", "report", "asked", "measurements"} <= told.keys()
    assert (told["verdict"], told["rows"], told["revision"]) == ("holds", 120, 0)
    assert json.loads(driftline("run", "inputs", "--window", window(HOUR), "--json").output)["revision"] == 0
    assert json.loads(driftline("run", "inputs", "--window", window(HOUR), "--again", "--json").output)["revision"] == 1
    bad = driftline("run", "inputs", "--window", window(HOUR - timedelta(hours=1)))
    assert bad.exit_code == 3, bad.output
    assert driftline("run", "inputs", "--window", window(HOUR - timedelta(hours=5))).exit_code == 4
    assert driftline("run", "inputs", "--window", "yesterday").exit_code == 2
    assert driftline("run", "nobody").exit_code == 1
    ahead = driftline("run", "inputs", "--window", window(NOW + timedelta(hours=1)))
    assert ahead.exit_code == 1
    assert re.search(r"not closed yet: it ends at \S+Z, in (2 hours|1[12]\d minutes)\b", ahead.output)


def test_alarms_and_runs_are_json_and_outlive_their_declaration(home: Path) -> None:
    driftline("apply", home / "plan.yaml")
    captured(home / "home/objects", HOUR, amount="99999")
    driftline("run", "inputs", "--window", window(HOUR))
    firing = driftline("alarms", "--notices", "--json")
    assert firing.exit_code == 3
    told = json.loads(firing.output)
    assert told["alarms"][0]["status"] == "firing"
    assert (told["notices"], told["actions"]) == ([], [])
    assert json.loads(driftline("alarms", "--json").output).keys() == {"alarms"}
    (home / "plan.yaml").write_text("version: 1\n")
    assert json.loads(driftline("apply", home / "plan.yaml", "--json").output)["removed"]
    runs = json.loads(driftline("runs", "--monitor", "inputs", "--json").output)
    assert [run["verdict"] for run in runs] == ["violated"]
    assert driftline("runs", "--monitor", "nobody").exit_code == 1
    assert driftline("alarms").exit_code == 0


def test_a_secret_that_is_not_set_stops_no_monitor(home: Path) -> None:
    text = PLAN + 'channels: {team: {kind: webhook, url: "http://127.0.0.1:9/", secret_env: NOBODY_SET_THIS}}\n'
    (home / "plan.yaml").write_text(text)
    driftline("apply", home / "plan.yaml")
    done = driftline("worker", "--once")
    assert done.exit_code == 1
    assert "NOBODY_SET_THIS" in done.output


def test_a_window_within_the_hour_reads_the_file_of_its_hour_and_no_other(home: Path) -> None:
    captured(home / "seen", HOUR)
    captured(home / "seen", HOUR + timedelta(hours=1))
    at = HOUR + timedelta(seconds=30)
    more = ("--baseline", home / "base", "--output", home / "out", "--window", window(at), "--json")
    told = json.loads(driftline("check", "data-quality", home / "seen/captured", *more).output)
    assert told["rows"] == 90 + 30
    assert told["inputs"]["predictions"]["files"] == 2
    alone = ("--window", f"{at:%Y-%m-%dT%H:%M:%SZ}/PT1M", "--json")
    told = json.loads(driftline("check", "data-quality", home / "seen/captured", *more[:4], *alone).output)
    assert (told["rows"], told["inputs"]["predictions"]["files"]) == (60, 1)


def test_packed_captured_records_are_captured_records(home: Path) -> None:
    captured(home / "seen", HOUR)
    [file] = (home / "seen/captured/shop/AllTraffic").glob("2*/**/*.jsonl")
    packed = home / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    checked = driftline(
        "check", "data-quality", packed, "--baseline", home / "base", "--output", home / "out", "--json"
    )
    assert json.loads(checked.output)["rows"] == 120


def test_a_report_is_not_written_over_its_baseline(home: Path) -> None:
    before = (home / "base/constraints.json").read_bytes()
    more = ("--baseline", home / "base", "--output", home / "base")
    result = driftline("check", "data-quality", home / "train.csv", *more)
    assert result.exit_code == 1
    assert "overwrite" in result.output
    assert (home / "base/constraints.json").read_bytes() == before


def test_of_a_mixed_folder_only_the_named_format_is_read(home: Path) -> None:
    folder = home / "mixed"
    folder.mkdir()
    (folder / "a.csv").write_bytes((home / "train.csv").read_bytes())
    (folder / "b.jsonl").write_text('{"amount": 1, "plan": "free"}\n')
    vague = driftline("baseline", "data-quality", folder, "--output", home / "b2")
    assert vague.exit_code == 1
    assert "--format" in vague.output
    told = driftline("baseline", "data-quality", folder, "--output", home / "b2", "--format", "csv", "--json")
    assert json.loads(told.output)["rows"] == 600
    assert driftline("baseline", "data-quality", folder, "--output", home / "b2", "--format", "parquet").exit_code == 1


def test_a_table_of_labels_is_not_taken_for_ground_truth(home: Path) -> None:
    scored = "".join(f"{(i % 10) / 10},{int(i % 10 > 4)}\n" for i in range(600))
    (home / "scored.csv").write_text("score,truth\n" + scored)
    kind = ("--problem-type", "BinaryClassification", "--probability")
    quality = ("baseline", "model-quality", home / "scored.csv", "--label", "truth", *kind, "score")
    assert driftline(*quality, "--output", home / "quality").exit_code == 0
    captured(home / "seen", HOUR)
    (home / "truth.csv").write_text("id,label\nr1,1\n")
    more = ("--baseline", home / "quality", "--output", home / "out", *kind, "0")
    source = ("check", "model-quality", home / "seen/captured", "--labels")
    result = driftline(*source, home / "truth.csv", *more)
    assert result.exit_code == 1
    assert "driftline labels put" in result.output
    assert (
        driftline(
            "check", "model-quality", home / "scored.csv", "--label", "truth", "--label-path", "x", *more
        ).exit_code
        == 2
    )


def test_labels_put_says_what_it_did_as_json(home: Path) -> None:
    (home / "truth.csv").write_text("id,label\nr1,1\nr1,0\nr2,1\n")
    told = json.loads(driftline("labels", "put", home / "truth.csv", "--endpoint", "shop", "--json").output)
    assert (told["written"], told["contradictions"]) == (2, 1)
    assert Directory(home / "home/objects").get(told["key"])


def test_labels_put_of_a_file_without_rows_writes_nothing_and_says_so(home: Path) -> None:
    (home / "truth.csv").write_text("id,label\n")
    told = driftline("labels", "put", home / "truth.csv", "--endpoint", "shop")
    assert (told.exit_code, told.stdout) == (0, "0 labels written: the file has no rows\n")


def test_an_empty_list_says_where_was_looked(home: Path) -> None:
    for command in ("runs", "alarms"):
        looked = driftline(command)
        assert looked.exit_code == 0
        assert looked.stdout == ""
        assert str(home / "home") in looked.stderr


def test_times_are_written_as_they_may_be_given(home: Path) -> None:
    driftline("apply", home / "plan.yaml")
    captured(home / "home/objects", HOUR, amount="99999")
    driftline("run", "inputs", "--window", window(HOUR))
    since = HOUR + timedelta(hours=1)
    assert f"{since:%Y-%m-%dT%H:%M:%SZ}" in driftline("alarms").stdout


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "version: 1\nbaselines: {b: ~nobody-here/x}\n", "version: " + "9" * 5000,
     "version: 1\nendpoints: {shop: {capture: ../up}}\n", "version: 1\nendpoints: {shop: {labels: /abs}}\n", "\x00"],
    ids=["deep", "no such user", "a long number", "a prefix that leads out", "a prefix from the root", "no text"],
)  # fmt: skip
def test_an_odd_plan_is_one_sentence(home: Path, text: str) -> None:
    (home / "plan.yaml").write_text(text)
    result = driftline("plan", home / "plan.yaml")
    assert result.exit_code == 1
    assert "plan.yaml" in result.output


def test_a_folder_that_cannot_be_written_is_told_without_a_traceback(home: Path) -> None:
    (home / "file").write_text("")
    result = driftline("baseline", "data-quality", home / "train.csv", "--output", home / "file/below")
    assert result.exit_code == 1
    assert "driftline: " in result.output


def test_progress_is_shown_on_a_terminal_and_not_in_a_pipe(home: Path) -> None:
    command = [sys.executable, "-m", "driftline", "baseline", "data-quality", "train.csv", "--output", "again"]
    piped = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
    assert piped.stderr == ""
    mine, theirs = os.openpty()
    shown = subprocess.Popen(
        command, cwd=home, env=os.environ | {"TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # the terminal is closed
        while chunk := os.read(mine, 4096):
            seen += chunk
    out, _ = shown.communicate(timeout=30)
    os.close(mine)
    assert b"baseline" in seen
    assert b"600 rows of 600 rows" in seen
    assert b"600 rows" in out
    assert b"\x1b" not in out


def test_a_worker_prints_every_run_as_a_line_of_json(home: Path) -> None:
    driftline("apply", home / "plan.yaml")
    with closing(sqlite_of(home)) as catalog, catalog:  # as if the file had been applied three hours ago
        catalog.execute("UPDATE monitors SET created_at = datetime(created_at, '-3 hours')")
    done = driftline("worker", "--once", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3
    assert {line["reason"] for line in lines} == {"no data: the window has no rows"}
    assert all(line["alarms"] == [] for line in lines)


def test_the_shape_of_payloads_can_be_said(home: Path) -> None:
    with Capture("baskets", home / "objects", clock=lambda: HOUR) as capture:
        for i in range(50):
            asked = json.dumps({"basket": [{"sku": i}, {"sku": i + 1}]})
            capture.log(asked, "0.5", request_content_type="application/json", response_content_type="text/html")
    built = ["baseline", "data-quality", home / "objects" / "captured", "--output", home / "baskets", "--json"]
    said = ["--payload", "input=document", "--payload", "output=csv"]
    assert json.loads(driftline(*built, *said).output)["rows"] == 50
    refused = driftline(*built, "--payload", "input=basket")
    assert refused.exit_code == 2
    assert "'input=basket' is not input=SHAPE or output=SHAPE" in refused.output


def test_objects_are_expired_and_erased_after_a_dry_run(home: Path) -> None:
    captured(home / "home/objects", HOUR)
    told = driftline("objects", "erase", f"{HOUR:%H}-7", "nobody", "--dry-run")
    assert told.exit_code == 0, told.output
    assert "no record and no label has 'nobody'" in told.stderr
    (home / "ids.txt").write_text(f"{HOUR:%H}-7\n\n{HOUR:%H}-8\n")
    done = json.loads(driftline("objects", "erase", "--from", home / "ids.txt", "--json").output)
    assert (done["captured"], done["missing"]) == ({"objects": 1, "records": 2}, [])
    assert json.loads(driftline("objects", "expire", "--captured", "PT30M", "--dry-run", "--json").output)["dry_run"]
    assert "2 objects removed" in driftline("objects", "expire", "--captured", "PT30M").output
    assert driftline("objects", "erase").exit_code == 1
    assert "nothing says how long" in driftline("objects", "expire").output
    assert driftline("objects", "expire", "--captured", "90 days").exit_code == 2


def test_a_declared_retention_is_planned_and_its_mistakes_are_named(home: Path) -> None:
    (home / "kept.yaml").write_text(PLAN + "retention: {captured: P90D}\n")
    assert "captured" in driftline("plan", home / "kept.yaml").output
    assert driftline("apply", home / "kept.yaml").exit_code == 0
    assert driftline("objects", "expire", "--dry-run", "--json").exit_code == 0
    for wrong, why in (("{captures: P90D}", "did you mean"), ("{labels: PT0S}", "nothing would be kept")):
        (home / "wrong.yaml").write_text(PLAN + f"retention: {wrong}\n")
        refused = driftline("plan", home / "wrong.yaml")
        assert refused.exit_code == 1
        assert why in refused.output
