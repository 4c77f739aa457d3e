"""Data quality: are the values complete, of the right type, known, and distributed as in the baseline?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, ClassVar, Final

from driftline.constraints import Constraint
from driftline.errors import InputError, Undefined
from driftline.metrics import column as columns_
from driftline.metrics import drift
from driftline.metrics.metric import Estimate, Measurement, Metric, exactly, measure
from driftline.monitors.domain import domain_of
from driftline.monitors.effects import (
    BEST,
    CONFIDENCE,
    DRIFT_BOUND,
    MARGIN,
    effect_of_distance,
    effect_of_spread,
    floor,
)
from driftline.monitors.monitor import Profile
from driftline.schema import Kind
from driftline.states.column import Column, ColumnState
from driftline.states.rows import Rows
from driftline.states.state import Plan, States

QUANTILES: Final[Mapping[str, float]] = {
    "quantile_5": 0.05,
    "quantile_25": 0.25,
    "quantile_50": 0.5,
    "quantile_75": 0.75,
    "quantile_95": 0.95,
}
NUMBERS: Final[tuple[Metric[Any], ...]] = (
    columns_.mean,
    columns_.std,
    columns_.minimum,
    columns_.maximum,
    columns_.total,
    columns_.nan_share,
    columns_.infinite_share,
)
NUMERIC_DRIFT: Final[tuple[Metric[Any], ...]] = (
    drift.ks,
    drift.ks_robust,
    drift.psi,
    drift.jensen_shannon,
    drift.wasserstein,
)
MOSTLY: Final = 0.5
"""A larger share of new values in a part of the baseline: there is no telling how many a window will hold."""
CATEGORICAL_DRIFT: Final[tuple[Metric[Any], ...]] = (
    drift.linf,
    drift.linf_robust,
    drift.chi_square,
    drift.psi,
    drift.jensen_shannon,
)


@dataclass(frozen=True, slots=True)
class DataQuality:
    """Watch every column by itself: what it holds, and how far that is from the baseline."""

    kind: ClassVar[str] = "data-quality"
    domains: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    """The allowed values by column, where somebody listed them; else the baseline's own."""

    def plan(self, columns: Sequence[str]) -> Plan:
        """The rows, and one state per column."""
        return frozenset({Rows(), *(Column(name) for name in columns)})

    def measure(self, current: Profile, baseline: Profile | None, confidence: float) -> Iterator[Measurement]:
        """Rows, missing and extra columns, then every column of the window or the baseline."""
        yield measure(columns_.rows, None, current.states[Rows()], confidence=confidence)
        if baseline is not None:
            missing, extra = set(baseline.columns) - set(current.columns), set(current.columns) - set(baseline.columns)
            yield Measurement("missing_columns", None, exactly(float(len(missing))))
            yield Measurement("extra_columns", None, exactly(float(len(extra))))
        known = {} if baseline is None else {name: baseline.states[Column(name)] for name in baseline.columns}
        for name in current.columns:
            state, before = current.states[Column(name)], known.pop(name, None)
            yield from self._column(name, state, before, confidence)
        for name, before in known.items():
            yield from _absent(name, before)

    def suggest(self, whole: Profile, parts: Iterable[Profile]) -> Iterator[Constraint]:
        """Model Monitor's bounds; the blocks of the baseline say how much beyond them is nothing yet."""
        if whole.states[Rows()].n == 0:
            raise InputError("the baseline has no rows, and constraints cannot be suggested from nothing")
        blocks = list(parts)
        comparisons = _comparisons(blocks) if len(blocks) > 1 else []
        yield _constraint("missing_columns", None, high=0.0)
        yield _constraint("extra_columns", None, high=0.0)
        for name in whole.columns:
            state = whole.states[Column(name)]
            of_blocks = [block.states[Column(name)] for block in blocks]
            pairs = [(block[Column(name)], other[Column(name)]) for block, other in comparisons]
            yield from _suggested(name, state, of_blocks, pairs)

    def suggest_distances(self, whole: Profile, comparisons: Sequence[Comparison]) -> Iterator[Constraint]:
        """The distances alone, as far as the first of each pair of the baseline's parts is from the second."""
        for name in whole.columns:
            pairs = [(part[Column(name)], other[Column(name)]) for part, other in comparisons]
            if whole.states[Column(name)].kinds.kind is not Kind.UNKNOWN:
                yield from _distances(name, whole.states[Column(name)], pairs)

    def _column(
        self, name: str, state: ColumnState, before: ColumnState | None, confidence: float
    ) -> Iterator[Measurement]:
        shares = [columns_.completeness, columns_.integral_share, columns_.numeric_share]
        for metric in shares:
            yield measure(metric, name, state, confidence=confidence)
        domain = self.domains.get(name)
        if domain is None and before is not None and before.kinds.kind is Kind.STRING:
            listed = domain_of(before)
            domain = None if listed is None else frozenset(listed)
        if domain is not None:
            yield measure(columns_.domain_share, name, state, domain, confidence=confidence)
        yield measure(columns_.distinct, name, state, confidence=confidence)
        if state.kinds.kind.numeric:
            yield from _numbers(name, state, confidence)
        if before is not None:
            yield from _drift(name, state, before, confidence)


def _numbers(name: str, state: ColumnState, confidence: float) -> Iterator[Measurement]:
    for metric in NUMBERS:
        yield measure(metric, name, state, confidence=confidence)
    try:
        found = columns_.quantiles(state, tuple(QUANTILES.values()), confidence=confidence)
    except Undefined as why:
        yield from (Measurement(called, name, None, str(why)) for called in QUANTILES)
    else:
        yield from (Measurement(called, name, each) for called, each in zip(QUANTILES, found, strict=True))


def _drift(name: str, state: ColumnState, before: ColumnState, confidence: float) -> Iterator[Measurement]:
    expected = before.kinds.kind
    if expected is Kind.UNKNOWN:
        return
    why = _incomparable(state, before)
    for metric in NUMERIC_DRIFT if expected.numeric else CATEGORICAL_DRIFT:
        if why is None:
            yield measure(metric, name, state, before, confidence=confidence)
        else:
            yield Measurement(metric.name, name, None, why)


def _incomparable(state: ColumnState, before: ColumnState) -> str | None:
    """Why the two have no distance: Model Monitor compares no column whose type changed."""
    kind, expected = state.kinds.kind, before.kinds.kind
    if state.kinds.rows.n == 0:
        return "the window has no rows"
    if kind is Kind.UNKNOWN:
        return "no row of the window has a value in this column"
    # A column of decimals may happen to hold whole numbers only: its type check holds, so its drift counts.
    if kind is not expected and not (kind is Kind.INTEGRAL and expected is Kind.FRACTIONAL):
        return f"the column is {kind} in the window, but {expected} in the baseline: drift is not evaluated"
    if not expected.numeric and before.values is None:
        return "the baseline's statistics do not list the values of this column"
    return None


def _absent(name: str, before: ColumnState) -> Iterator[Measurement]:
    """The measurements of a column that the window should have, and has not."""
    expected = before.kinds.kind
    why = "the window has no column of this name"
    names = ["completeness"]
    if expected is Kind.STRING:
        names += ["domain_share", *(metric.name for metric in CATEGORICAL_DRIFT)]
    elif expected.numeric:
        names += ["integral_share", "numeric_share", *(metric.name for metric in NUMERIC_DRIFT)]
    for metric in names:
        yield Measurement(metric, name, None, why)


Pair = tuple[ColumnState, ColumnState]
Comparison = tuple[States, States]


def _comparisons(blocks: Sequence[Profile]) -> list[Comparison]:
    """Every block beside all others together, and those of the later half also beside all that came before them.

    A window always comes after its baseline: what only ever grows shows that best from the past to the future.
    """
    none = States({})
    before = list(accumulate((block.states for block in blocks[:-1]), States.merge, initial=none))
    after = list(accumulate((block.states for block in reversed(blocks[1:])), States.merge, initial=none))
    rests = [left.merge(right) for left, right in zip(before, reversed(after), strict=True)] if blocks else []
    later = range(max(1, len(blocks) // 2), len(blocks))
    return [
        *((block.states, rest) for block, rest in zip(blocks, rests, strict=True)),
        *((blocks[i].states, before[i]) for i in later),
    ]


def _suggested(
    name: str, whole: ColumnState, blocks: Sequence[ColumnState], pairs: Sequence[Pair]
) -> Iterator[Constraint]:
    kind = whole.kinds.kind
    seen = columns_.completeness(whole, confidence=CONFIDENCE).value
    if kind is Kind.INTEGRAL:
        yield _constraint("integral_share", name, low=1.0)
    if kind is Kind.FRACTIONAL:
        yield _constraint("numeric_share", name, low=1.0)
    effect = effect_of_spread("completeness", seen, _defined(columns_.completeness, blocks))
    effect = max(effect, MARGIN * _emptiest(seen, blocks))
    yield _constraint("completeness", name, low=seen, effect=effect)
    if kind is not Kind.UNKNOWN:
        yield from _distances(name, whole, pairs)


def _distances(name: str, whole: ColumnState, pairs: Sequence[Pair]) -> Iterator[Constraint]:
    pairs = [pair for pair in pairs if _incomparable(*pair) is None]
    if whole.kinds.kind.numeric:
        shown = _apart(drift.ks, pairs)
        yield _constraint("ks", name, high=DRIFT_BOUND, effect=effect_of_distance(DRIFT_BOUND, shown))
        return
    # Blocks seldom end where days do: where one is mostly new values, a window may hold nothing else.
    foreign = [1.0 if new > MOSTLY else new for new in (_foreign(block, rest) for block, rest in pairs)]
    if domain_of(whole) is not None:
        effect = max(floor("domain_share", 1.0), effect_of_distance(0.0, foreign))
        yield _constraint("domain_share", name, low=1.0, effect=effect)
    # Values that come and go, such as dates: a window may hold nothing but new ones, and even one alone.
    shown = [max(far, new) for far, new in zip(_apart(drift.linf, pairs), foreign, strict=True)]
    yield _constraint("linf", name, high=DRIFT_BOUND, effect=effect_of_distance(DRIFT_BOUND, shown))


def _emptiest(seen: float, blocks: Sequence[ColumnState]) -> float:
    """How much less complete than the whole the emptiest block is, if that is not chance: gaps come in bursts."""
    sure = 1.0 - (1.0 - CONFIDENCE) / max(1, len(blocks))
    shares = (measure(columns_.completeness, None, block, confidence=sure).estimate for block in blocks)
    return max((seen - e.value for e in shares if e is not None and e.high < seen), default=0.0)


def _foreign(block: ColumnState, rest: ColumnState) -> float:
    """The share of the block's values that the rest of the baseline does not know, as far as that is beyond chance."""
    if rest.values is None or not rest.values.exact:
        return 0.0  # a sample of the values cannot tell a new one
    known = frozenset(rest.values.values)
    try:
        return 1.0 - columns_.domain_share(block, known, confidence=CONFIDENCE).high
    except Undefined:
        return 0.0


def _apart(metric: Metric[Any], pairs: Iterable[Pair]) -> list[float]:
    """How far apart the two of each pair are: what is beyond chance, and all of it where that is beyond the bound."""
    estimates = [_estimate(metric, block, rest) for block, rest in pairs]
    return [0.0 if e is None else e.value if e.low > DRIFT_BOUND else max(0.0, e.low) for e in estimates]


def _defined(metric: Metric[Any], blocks: Iterable[ColumnState]) -> list[Estimate | None]:
    return [_estimate(metric, block) for block in blocks]


def _estimate(metric: Metric[Any], *states: object) -> Estimate | None:
    return measure(metric, None, *states, confidence=CONFIDENCE).estimate


def _constraint(
    metric: str, column: str | None, *, low: float | None = None, high: float | None = None, effect: float = 0.0
) -> Constraint:
    return Constraint(metric, column, low=low, high=high, effect=effect, best=BEST[metric])
