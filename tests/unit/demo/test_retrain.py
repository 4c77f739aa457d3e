from __future__ import annotations

import io
import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from driftline.capture import Capture
from driftline.dataset.labels import put_labels
from driftline.demo import retrain
from driftline.demo.flights import Flights, local
from driftline.demo.model import Model, load, save, train
from driftline.demo.service import ENDPOINT, MODEL_FILE
from driftline.errors import InputError
from driftline.objects.directory import Directory
from driftline.windows import Window

FIRST, LAST = date(2013, 7, 1), date(2013, 7, 20)
UNTIL = local(LAST + timedelta(days=1), 0)
NOW = UNTIL + timedelta(hours=5)


@pytest.fixture(scope="module")
def summer(flights: Flights) -> Flights:
    return flights.between(FIRST, LAST).share(1, 6)


@pytest.fixture(scope="module")
def captured(model: Model, summer: Flights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every flight was asked about; all but the first hundred have a label, and ten of those were corrected."""
    folder = tmp_path_factory.mktemp("captured")
    save(model, folder / MODEL_FILE)
    store = Directory(folder / "objects")
    with Capture(ENDPOINT, store) as capture:
        for at, flight_id, facts in zip(summer.departs_at, summer.ids, summer.facts, strict=True):
            capture.log(facts.line(), f"{model.probability(facts)}\n", inference_id=flight_id, at=at)
    labels = list(zip(summer.ids, summer.late.tolist(), strict=True))[100:]
    wrong = [(flight_id, 1 - late) for flight_id, late in labels[:10]]
    put_labels(store, ENDPOINT, wrong + labels[10:], now=UNTIL)
    put_labels(store, ENDPOINT, labels[:10], now=UNTIL + timedelta(hours=1))
    return folder


@pytest.fixture
def folder(captured: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test."""
    return Path(shutil.copytree(captured, tmp_path / "demo"))


def test_what_was_captured_and_labelled_is_read_back(folder: Path, summer: Flights) -> None:
    found = retrain.labelled(folder / "objects", Window(local(FIRST, 0), UNTIL), NOW)
    rows = sorted(zip(summer.ids, summer.facts, summer.late, summer.days, strict=True))
    known = set(summer.ids[100:])
    expected = [row for row in rows if row[0] in known]
    assert found.facts == [row[1] for row in expected]
    assert found.late.tolist() == [row[2] for row in expected]
    assert found.days.tolist() == [row[3] for row in expected]


def test_a_better_model_is_swapped_in(folder: Path) -> None:
    done = retrain.retrain(folder, folder / "objects", UNTIL, NOW)
    assert done.swapped
    assert done.model.trained.auc > done.before
    assert load(folder / MODEL_FILE).version == "trained-2013-07-20"


def test_a_model_that_is_not_better_leaves_the_old_one(folder: Path) -> None:
    best, _ = train(*retrain.labelled(folder / "objects", _window(), NOW), version="has seen it all")
    save(best, folder / MODEL_FILE)
    assert not retrain.retrain(folder, folder / "objects", UNTIL, NOW).swapped
    assert load(folder / MODEL_FILE).version == "has seen it all"


def test_nothing_captured_or_labelled_is_told(folder: Path) -> None:
    with pytest.raises(InputError, match="no captured requests"):
        retrain.retrain(folder, folder / "objects", local(date(2013, 5, 1), 0), NOW)
    with pytest.raises(InputError, match="no labels"):
        retrain.labelled(folder / "objects", _window(), UNTIL - timedelta(hours=1))


def test_the_command_does_what_the_notice_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notice = {"since": "2013-07-21T04:00:00Z", "created_at": "2013-07-21T09:00:00Z"}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(notice)))
    assert retrain.main([str(folder), "--objects", str(folder / "objects")]) == 0
    assert "trained-2013-07-20 serves from now on" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{}", '{"since": "now", "created_at": "now"}', "[]"])
def test_the_command_refuses_what_is_no_notice(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert retrain.main([str(tmp_path), "--objects", str(tmp_path)]) == 2
    assert "no notice" in capsys.readouterr().err


def _window() -> Window:
    return Window(UNTIL - timedelta(weeks=8), UNTIL)
