"""Captured records hour by hour: each is decoded once, and the windows share the hours.

What the records of one hour look like may depend on those of another (the width of a payload, whether a column holds
whole numbers or fractions): where hours differ, those that do are decoded once more with what holds for all. So the
table is the same as if all had been decoded at once.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from driftline.dataset.compiled import SIDES, compiled
from driftline.dataset.dataset import Answers, Captured, Decoded, Intake, Progress, Table
from driftline.dataset.decode_compiled import decode_compiled
from driftline.dataset.fingerprint import source_fingerprint
from driftline.dataset.guess import Agreed, Facts, planned
from driftline.dataset.lines import ENDINGS, files_below
from driftline.dataset.manifests import told_apart
from driftline.dataset.records import majority
from driftline.dataset.spelled import Scratch, Spelling
from driftline.dataset.tables import DEAD, schema_of
from driftline.errors import InputError
from driftline.windows import Window

_FACTS: Final = "facts.json"
_EVENTS: Final = "events.npy"
_ALWAYS: Final = Window(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))
_MOST_EVENTS: Final = 1 << 25
"""More hashes of events are not held in memory to find those that two hours have."""

Kept = Callable[[Path, Callable[[Path], Decoded], Sequence[Path]], Decoded]
"""Gives what lies in a folder, or what is decoded into it now."""


class NotByHour(Exception):  # noqa: N818  it is not an error
    """These records have to be decoded together."""


def decode_hours(
    cache: Path, source: Captured, *, answers: Answers | None, kept: Kept, progress: Progress | None
) -> list[Decoded]:
    """The hours of the source, which is told apart by its folders, with the same columns in each.

    Raises:
        NotByHour: they have to be decoded together.
    """
    manifests, files = told_apart(files_below(source.paths, *ENDINGS["captured"]))
    if source.window is None or source.preprocess is not None or manifests or not files or not compiled():
        raise NotByHour
    hours = [
        _Hour(cache, replace(source, paths=tuple(own)), answers, kept, progress) for _, own in groupby(files, _folder)
    ]
    for hour in hours:
        hour.decode(_ALWAYS, None)
    for hour in hours:
        if not hour.within(source.window):
            hour.decode(source.window, None)
    _distinct(hours)
    agreed = _agreed([hour.facts for hour in hours])
    for hour in hours:
        if hour.differs(agreed):
            hour.decode(hour.window, agreed)
    return [hour.decoded for hour in hours]


def joined(hours: list[Decoded], into: Path) -> Decoded:
    """All hours as one table, with one account; the rows stay where they are."""
    reasons: Counter[str] = Counter()
    into.mkdir(parents=True, exist_ok=True)
    letters = into / DEAD
    with letters.open("wb") as file:
        for hour in hours:
            reasons.update(hour.intake.reasons)
            if hour.dead_letters is not None:
                file.write(hour.dead_letters.read_bytes())
    intakes = [hour.intake for hour in hours]
    table = Table(
        tuple(path for hour in hours for path in hour.table.paths),
        hours[0].table.columns,
        sum(hour.table.rows for hour in hours),
    )
    intake = Intake(
        files=sum(own.files for own in intakes),
        records=sum(own.records for own in intakes),
        rows=table.rows,
        dead=sum(own.dead for own in intakes),
        outside=sum(own.outside for own in intakes),
        duplicates=sum(own.duplicates for own in intakes),
        errors=sum(own.errors for own in intakes),
        statuses=dict(sorted(sum((Counter(own.statuses) for own in intakes), Counter()).items())),
        error_weight=sum(own.error_weight for own in intakes),
        answer_weight=sum(own.answer_weight for own in intakes),
        reasons=dict(reasons),
    )
    if not intake.dead:
        letters.unlink()
    return Decoded(table, intake, letters if intake.dead else None)


class _Hour:
    """The records of one folder."""

    decoded: Decoded
    facts: Facts
    window: Window

    def __init__(
        self, cache: Path, source: Captured, answers: Answers | None, kept: Kept, progress: Progress | None
    ) -> None:
        self._cache, self._source, self._answers, self._kept, self._progress = cache, source, answers, kept, progress

    def decode(self, window: Window, agreed: Agreed | None) -> None:
        source = replace(self._source, window=window)
        key = source_fingerprint(source, self._answers)
        if agreed is not None:
            key = hashlib.sha256(repr((key, _told(agreed))).encode()).hexdigest()[:32]

        def fresh(into: Path) -> Decoded:
            found = decode_compiled(source, into, answers=self._answers, progress=self._progress, agreed=agreed)
            if found is None:
                raise NotByHour
            _save(found[1], into)
            return found[0]

        folder = self._cache / f"h{key}"
        self.decoded, self.window = self._kept(folder, fresh, source.paths), window
        try:
            self.facts = _load(folder)
        except (OSError, ValueError, KeyError) as why:  # what a power cut left; all are decoded together
            raise NotByHour from why

    def within(self, window: Window) -> bool:
        start, end = (int(pa.scalar(at, pa.timestamp("us", "UTC")).value) for at in (window.start, window.end))
        return start <= self.facts.first and self.facts.last < end

    def differs(self, agreed: Agreed) -> bool:
        """Whether the hour by itself has other columns than all hours together."""
        return self._schema(_agreed([self.facts])) != self._schema(agreed)

    def _schema(self, agreed: Agreed) -> tuple[object, ...]:
        scratch = Scratch(Path())
        try:
            needed, layout = planned(self._source, self._answers, agreed, scratch)
        except InputError as why:  # who decodes all together says it better
            raise NotByHour from why
        return dict(agreed.widths), needed, tuple(layout.columns), schema_of(scratch, layout)


def _folder(file: Path) -> Path:
    return file.parent


def _agreed(facts: list[Facts]) -> Agreed:
    widths = {side: majority(sum((Counter(own.widths[side]) for own in facts), Counter())) for side in SIDES}
    spellings: dict[str, frozenset[Spelling]] = {}
    for own in facts:
        for name, found in own.spellings.items():
            spellings[name] = spellings.get(name, frozenset()) | found
    return Agreed(widths, spellings, any(own.sampled for own in facts))


def _told(agreed: Agreed) -> object:
    spellings = sorted((name, sorted(own)) for name, own in agreed.spellings.items())
    return sorted(agreed.widths.items()), spellings, agreed.sampled


def _distinct(hours: list[_Hour]) -> None:
    """Raises NotByHour where two hours may have the same event."""
    if sum(len(hour.facts.events) for hour in hours) > _MOST_EVENTS:
        raise NotByHour
    events = np.sort(np.concatenate([np.unique(hour.facts.events) for hour in hours]))
    if (events[1:] == events[:-1]).any():
        raise NotByHour


def _save(facts: Facts, into: Path) -> None:
    told = {
        "widths": {side: dict(facts.widths[side]) for side in SIDES},
        "spellings": {name: sorted(own) for name, own in facts.spellings.items()},
        "sampled": facts.sampled,
        "first": facts.first,
        "last": facts.last,
    }
    np.save(into / _EVENTS, facts.events)
    (into / _FACTS).write_text(json.dumps(told), encoding="utf-8")


def _load(folder: Path) -> Facts:
    told = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    return Facts(
        widths={side: {int(width): n for width, n in told["widths"][side].items()} for side in SIDES},
        spellings={name: frozenset(map(Spelling, own)) for name, own in told["spellings"].items()},
        sampled=told["sampled"],
        first=told["first"],
        last=told["last"],
        events=np.load(folder / _EVENTS),
    )
