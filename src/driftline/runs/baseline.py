"""A baseline: what a model's data and quality looked like when all was well, and the constraints that follow.

A folder with `statistics.json` and `constraints.json` in Model Monitor's format (the one source of bounds, made to be
edited) and, where Driftline built it, `baseline.json` (how much the baseline varies by itself) and `states.bin` (its
states).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec

from driftline import __version__
from driftline.constraints import Constraint, Mode
from driftline.dataset.dataset import Decoded, Progress
from driftline.dialects.sagemaker_files import (
    ConstraintsFile,
    DataConstraints,
    Effects,
    QualityConstraints,
    quality_constraints,
    read_constraints,
    read_statistics,
    suggested_constraints,
    write_constraints,
    write_quality_statistics,
    write_statistics,
)
from driftline.engines.engine import Engine
from driftline.errors import InputError, NotFound
from driftline.monitors.data_quality import DataQuality
from driftline.monitors.effects import DISTANCES
from driftline.monitors.model_quality import ModelQuality
from driftline.monitors.monitor import Monitor, Profile
from driftline.objects.places import store_at
from driftline.objects.urls import is_url
from driftline.runs.profiles import decode_profile, encode_profile
from driftline.schema import ProblemType
from driftline.states.column import Column
from driftline.states.rows import Rows
from driftline.states.state import States

VERSION = 0
BLOCK_ROWS = 250
"""A block of the baseline has at least so many rows; …"""
MOST_BLOCKS = 64
"""… there are at most so many of them, …"""
FEWEST_BLOCKS = 6
"""… and neighbours are joined as long as so many are left: windows come in all sizes, and large ones vary less."""
SPANS = 24
"""For windows smaller than a block so many short spans of the baseline are looked at, …"""
SHORTEST_SPAN = 10
"""… down to this length, each a quarter of the one before."""
_FILES = ("constraints.json", "statistics.json", "baseline.json", "states.bin")
_OF_VALUES = frozenset({"linf", "linf_robust", "chi_square"})
_GOLDEN = (math.sqrt(5) - 1) / 2


class _Effect(msgspec.Struct):
    metric: str
    column: str | None
    effect: float


class _Scale(msgspec.Struct):
    """What the baseline varies by from one block of so many rows to the next."""

    rows: int
    effects: list[_Effect]


class _File(msgspec.Struct):
    """`baseline.json`."""

    version: int
    kind: str
    built_by: str
    built_at: datetime
    problem_type: ProblemType | None
    rows: int
    dead_letters: int
    scales: list[_Scale]


@dataclass(frozen=True)
class Baseline:
    """A baseline, read."""

    where: str
    constraints: ConstraintsFile
    profile: Profile | None
    """None: only constraints are known (Model Monitor's model-quality baselines)."""
    scales: Mapping[int, Effects]
    """The smallest effects worth acting on, by the rows of the blocks that told them."""
    own: bool
    """Whether Driftline built it."""
    digest: str
    """Changes whenever one of its files does."""

    @property
    def mode(self) -> Mode:
        """How its constraints are judged unless somebody says otherwise."""
        return Mode.CONFIDENT if self.own else Mode.POINT

    @property
    def names(self) -> tuple[str, ...] | None:
        """The columns in the order of the baseline, for data whose columns have no names."""
        return self.constraints.names if isinstance(self.constraints, DataConstraints) else None

    @property
    def problem(self) -> ProblemType | None:
        """The problem type of a model-quality baseline."""
        return self.constraints.problem if isinstance(self.constraints, QualityConstraints) else None

    def effects(self, rows: int) -> Effects:
        """The effects for a window of so many rows: those of the blocks that are nearest in size.

        Where the farthest part of the baseline sets the effect, no larger part will do: it hides what a window shows.
        """
        if not self.scales:
            return {}
        sizes = sorted(self.scales)
        blocks = [size for size in sizes if any(metric not in DISTANCES for metric, _ in self.scales[size])]
        nearest = self.scales[min(blocks or sizes, key=lambda size: abs(math.log(size / max(rows, 1))))]
        within = self.scales[max((size for size in sizes if size <= rows), default=sizes[0])]
        spread = {key: effect for key, effect in nearest.items() if key[0] not in DISTANCES}
        return spread | {key: effect for key, effect in within.items() if key[0] in DISTANCES}

    def speaks_of(self, constraint: Constraint) -> bool:
        """Whether there is anything to hold the constraint against.

        Model Monitor lists the values of a column of strings only where there are few; it compares no other one.
        """
        if self.profile is None or constraint.metric not in _OF_VALUES:
            return True
        state = self.profile.states.get(Column(constraint.column or ""))
        return state is None or state.values is not None

    def data_quality(self) -> DataQuality:
        """The data-quality monitor with the domains of this baseline's constraints."""
        domains = self.constraints.domains if isinstance(self.constraints, DataConstraints) else {}
        return DataQuality(domains=domains)


def build(
    monitor: Monitor,
    decoded: Decoded,
    engine: Engine,
    now: datetime,
    progress: Progress | None = None,
    named: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """The files of a baseline of these rows, by name.

    The rows are folded in consecutive blocks: what a metric varies by from block to block, in the order of the data,
    is what it does when nothing is wrong.

    Args:
        named: the columns of `label`, `prediction` and `probability`, for messages.

    Raises:
        InputError: there are no rows, or the labels and answers are not those of the problem type.
    """
    table = decoded.table
    if table.rows == 0:
        raise InputError(f"the dataset has no rows that can be read{_why_none(decoded)}; a baseline needs some")
    columns = table.columns if isinstance(monitor, DataQuality) else ()
    blocks = max(1, min(MOST_BLOCKS, table.rows // BLOCK_ROWS))
    bounds = [table.rows * i // blocks for i in range(blocks + 1)]
    spans = list(pairwise(bounds)), _short_spans(table.rows, table.rows // blocks)
    folded = engine.fold_spans(monitor.plan(columns), table, [*spans[0], *spans[1]], progress)
    parts = [Profile(s, columns) for s in folded[:blocks]]
    whole = Profile(_merged(p.states for p in parts), columns)
    if isinstance(monitor, ModelQuality):
        for odd in monitor.oddities(whole):
            column = (named or {}).get(odd.what)
            raise InputError(f"{'' if column is None else f'column {column!r}: '}{odd}; {odd.remedy}")
        monitor.check(whole)
    scales = _short_scales(monitor, whole, parts, dict(zip(spans[1], folded[blocks:], strict=True)))
    while True:
        suggested = list(monitor.suggest(whole, parts))
        scales[table.rows // len(parts)] = suggested
        if len(parts) < 2 * FEWEST_BLOCKS:
            break
        parts = [Profile(_merged(p.states for p in parts[i : i + 2]), columns) for i in range(0, len(parts) - 1, 2)]
    file = _File(
        version=VERSION,
        kind=monitor.kind,
        built_by=f"driftline {__version__}",
        built_at=now,
        problem_type=monitor.problem if isinstance(monitor, ModelQuality) else None,
        rows=table.rows,
        dead_letters=decoded.intake.dead,
        scales=[_Scale(r, [_Effect(c.metric, c.column, c.effect) for c in cs]) for r, cs in scales.items()],
    )
    return {
        **_model_monitor_files(monitor, whole, suggested, now),
        "baseline.json": msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n",
        "states.bin": encode_profile(whole),
    }


def _why_none(decoded: Decoded) -> str:
    """How many records became dead letters, and the first of them."""
    if not decoded.intake.dead or decoded.dead_letters is None:
        return ""
    with decoded.dead_letters.open("rb") as letters:
        first = msgspec.json.decode(letters.readline())
    return (
        f": {decoded.intake.dead:,} of {decoded.intake.records:,} records could not be read, the first in "
        f"{first['file']}, line {first['line']}: {first['reason']} (is the format right?)"
    )


def _short_spans(rows: int, block: int) -> list[tuple[int, int]]:
    """Spans shorter than a block, spread over the rows; the golden ratio keeps them out of step with any cycle."""
    found = []
    length = block // 4
    while length >= SHORTEST_SPAN:
        starts = sorted(int((i * _GOLDEN % 1.0) * (rows - length)) for i in range(1, SPANS + 1))
        found += [(start, start + length) for start in dict.fromkeys(starts)]
        length //= 4
    return found


def _short_scales(
    monitor: Monitor, whole: Profile, blocks: list[Profile], spans: Mapping[tuple[int, int], States]
) -> dict[int, list[Constraint]]:
    """How far short spans are from the baseline, and from the part of it that came before them, by their length."""
    if not isinstance(monitor, DataQuality):
        return {}
    before = list(accumulate((block.states for block in blocks), States.merge))
    scales: dict[int, list[Constraint]] = {}
    for length in dict.fromkeys(end - start for start, end in spans):
        pairs = []
        for (start, end), states in spans.items():
            if end - start != length:
                continue
            pairs.append((states, whole.states))
            block = start * len(blocks) // whole.states[Rows()].n
            if block >= max(1, len(blocks) // 2):
                pairs.append((states, before[block - 1]))
        scales[length] = list(monitor.suggest_distances(whole, pairs))
    return scales


def _model_monitor_files(
    monitor: Monitor, whole: Profile, suggested: Iterable[Constraint], now: datetime
) -> dict[str, bytes]:
    if isinstance(monitor, ModelQuality):
        constraints: ConstraintsFile = quality_constraints(monitor.problem, suggested)
        statistics = write_quality_statistics(monitor, whole, now)
    else:
        constraints, statistics = suggested_constraints(whole), write_statistics(whole)
    return {"statistics.json": statistics, "constraints.json": write_constraints(constraints)}


def _merged(states: Iterable[States]) -> States:
    whole = States({})
    for part in states:
        whole = whole.merge(part)
    return whole


def save(files: Mapping[str, bytes], place: Path | str) -> None:
    """Write the files of a baseline to `place`, a folder or a URL, each whole."""
    store = store_at(place)
    for name, data in files.items():
        store.put(name, data)


def load(place: Path | str) -> Baseline:
    """The baseline at `place`, a folder or a URL, made by Driftline or by Model Monitor.

    Raises:
        NotFound: the folder or its constraints.json is not there.
        InputError, Corrupt: a file of it cannot be read; says which, and why.
    """
    files = {name: data for name in _FILES if (data := _read(place, name)) is not None}
    if "constraints.json" not in files:
        there = is_url(str(place)) or Path(place).is_dir()
        what = "there is no constraints.json in it" if there else "there is no such folder"
        raise NotFound(f"baseline {place}: {what}; build one with `driftline baseline`, or copy Model Monitor's files")
    where = str(place).rstrip("/")
    constraints = read_constraints(files["constraints.json"], f"{where}/constraints.json")
    own = _own(files.get("baseline.json"), where)
    digest = hashlib.sha256(b"".join(n.encode() + hashlib.sha256(d).digest() for n, d in sorted(files.items())))
    return Baseline(
        where=where,
        constraints=constraints,
        profile=_profile(files, constraints, where),
        scales={} if own is None else {s.rows: {(e.metric, e.column): e.effect for e in s.effects} for s in own.scales},
        own=own is not None,
        digest=digest.hexdigest(),
    )


def _read(place: Path | str, name: str) -> bytes | None:
    if is_url(str(place)):
        try:
            return store_at(place).get(name)
        except NotFound:
            return None
    file = Path(place, name)  # it may be a link: that is how clusters mount the files of a configuration
    return file.read_bytes() if file.is_file() else None


def _own(data: bytes | None, where: str) -> _File | None:
    if data is None:
        return None
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError as why:
        raise InputError(f"{where}/baseline.json: not a baseline of Driftline: {why}") from why
    if file.version != VERSION:
        raise InputError(f"{where}/baseline.json: version {file.version}, but this Driftline reads {VERSION}")
    return file


def _profile(files: Mapping[str, bytes], constraints: ConstraintsFile, where: str) -> Profile | None:
    if isinstance(constraints, QualityConstraints):
        return None
    if "states.bin" in files and "baseline.json" in files:
        return decode_profile(files["states.bin"], DataQuality(), f"{where}/states.bin")
    if "statistics.json" in files:
        return read_statistics(files["statistics.json"], f"{where}/statistics.json")
    return None
