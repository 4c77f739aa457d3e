"""The corrective action of the demo: train anew on what was captured lately and is labelled by now, and swap the model.

    python -m driftline.demo.retrain FOLDER --objects OBJECTS < notice.json

Driftline starts it as a command channel and gives the alarm's notice on standard input. It reads captured requests
and uploaded labels, nothing else; the new model replaces the old one only if it is better on days it has not seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from driftline.capture.layout import captured_prefixes, label_prefixes
from driftline.dataset.dataset import Captured
from driftline.dataset.decode import decode
from driftline.dataset.decode_labels import decode_labels
from driftline.demo.flights import COLUMNS, NEW_YORK, Flight
from driftline.demo.model import Model, auc, load, save, train
from driftline.demo.service import ENDPOINT, MODEL_FILE
from driftline.errors import DriftlineError, InputError
from driftline.schema import ID, LABEL, TIME
from driftline.windows import Window, stamp

WEEKS: Final = 8
VARIANT: Final = "AllTraffic"


class Labelled(NamedTuple):
    """Captured flights whose truth is known, in the order of their ids."""

    facts: list[Flight]
    late: npt.NDArray[np.int64]
    days: npt.NDArray[np.int64]


class Outcome(NamedTuple):
    """What came of it."""

    model: Model
    before: float
    """AUC of the model that served, on the same flights."""
    swapped: bool


def retrain(folder: Path, objects: Path, until: datetime, now: datetime, weeks: int = WEEKS) -> Outcome:
    """Train on the labelled flights of the last weeks before `until`; swap the model if the new one is better.

    Args:
        until: the end of the window that raised the alarm.
        now: labels that were uploaded by then count.

    Raises:
        InputError: too little was captured or is labelled.
    """
    window = Window(until - timedelta(weeks=weeks), until)
    found = labelled(objects, window, now)
    old = load(folder / MODEL_FILE)
    model, held_out = train(*found, version=f"trained-{until.astimezone(NEW_YORK) - timedelta(days=1):%Y-%m-%d}")
    before = auc(found.late, old.probabilities(found.facts))
    swapped = auc(found.late, held_out) > before
    if swapped:
        save(model, folder / MODEL_FILE)
    return Outcome(model, before, swapped)


def labelled(objects: Path, window: Window, now: datetime) -> Labelled:
    """The flights that were asked about in the window, as far as their labels were uploaded until `now`."""
    captured = _files(objects, captured_prefixes(ENDPOINT, VARIANT, window))
    labels = _files(objects, label_prefixes(ENDPOINT, Window(window.start, now + timedelta(microseconds=1))))
    if not captured or not labels:
        missing = "labels" if captured else "captured requests"
        raise InputError(f"there are no {missing} of {window} in {objects}; was the service running then?")
    with tempfile.TemporaryDirectory(prefix="retrain-") as scratch:
        source = Captured(captured, window, names=COLUMNS, sides=("input",))
        flights = pq.read_table(decode(source, Path(scratch, "flights")).table.paths[0]).to_pydict()
        truth = pq.read_table(decode_labels(labels, Path(scratch, "labels")).table.paths[0]).to_pydict()
    late_of = dict(zip(truth[ID], truth[LABEL], strict=True))  # in the order of writing: the last label wins
    columns = [flights[ID], flights[TIME], *(flights[name] for name in COLUMNS)]
    rows = sorted(row for row in zip(*columns, strict=True) if row[0] in late_of)
    return Labelled(
        facts=[Flight(int(row[2]), int(row[3]), int(row[4]), *row[5:]) for row in rows],
        late=np.fromiter((float(late_of[row[0]]) for row in rows), np.float64).astype(np.int64),
        days=np.fromiter((row[1].astimezone(NEW_YORK).toordinal() - _EPOCH for row in rows), np.int64),
    )


_EPOCH: Final = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001  a day, not a time


def _files(objects: Path, prefixes: Iterable[str]) -> tuple[Path, ...]:
    return tuple(file for prefix in prefixes for file in sorted((objects / prefix).glob("*.jsonl")))


def main(arguments: Sequence[str] | None = None) -> int:
    """Retrain as the notice on standard input says; what was done is told on standard error."""
    parser = argparse.ArgumentParser(prog="python -m driftline.demo.retrain", description="Train the model anew.")
    parser.add_argument("folder", type=Path, help="where model.json is")
    parser.add_argument("--objects", type=Path, required=True, help="folder with captured/ and labels/")
    given = parser.parse_args(arguments)
    try:
        until, now = _times(sys.stdin.read())
    except (ValueError, KeyError, TypeError) as why:
        _say(f"standard input holds no notice with since and created_at: {why!r}")
        return 2
    try:
        done = retrain(given.folder, given.objects, until, now)
    except DriftlineError as why:
        _say(str(why))
        return 1
    new = done.model
    what = "serves from now on" if done.swapped else "is not better and does not serve"
    _say(
        f"{new.version} {what}: AUC {new.trained.auc:.3f} on days it has not seen, {done.before:.3f} before; "
        f"{new.trained.rows:,} flights from {new.trained.first} to {new.trained.last}, until {stamp(until)}"
    )
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201  the tail of standard error is kept with the action


def _times(notice: str) -> tuple[datetime, datetime]:
    """The end of the window that raised the alarm, and when the notice was written."""
    told = json.loads(notice)
    return datetime.fromisoformat(told["since"]), datetime.fromisoformat(told["created_at"])


if __name__ == "__main__":
    sys.exit(main())
