"""`statistics.json` of a data-quality baseline or run: written from a profile, and read back into one."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.dialects.sagemaker_constraints import DataConstraints, Feature, MonitoringConfig, kind_at
from driftline.dialects.sagemaker_json import MOST, Json, Place, parse, render
from driftline.errors import InputError, Undefined
from driftline.kernels.reference import UNIT
from driftline.monitors.domain import domain_of
from driftline.monitors.monitor import Profile
from driftline.schema import Kind
from driftline.states.column import Column, ColumnState
from driftline.states.counts import CountsState
from driftline.states.frequent import Counted, FrequentState
from driftline.states.histogram import Histogram, HistogramState
from driftline.states.moments import MomentsState
from driftline.states.rows import ONE, Count, Rows, RowsState
from driftline.states.state import AnySummary, State, States

BUCKETS: Final = 10
SKETCH: Final[Json] = {"c": 0.64, "k": 2048.0}
"""Parameters that Model Monitor writes beside its sketch; ours is exact, or finer, whatever they say."""


def data_statistics(profile: Profile) -> Json:
    """The profile as the content of a `statistics.json`; counts are rows seen."""
    return {
        "version": 0.0,
        "dataset": {"item_count": profile.states[Rows()].n},
        "features": [_feature(name, profile.states[Column(name)]) for name in profile.columns],
    }


def write_statistics(profile: Profile) -> bytes:
    """The profile as a `statistics.json` that Model Monitor's readers understand."""
    return render(data_statistics(profile))


def suggested_constraints(profile: Profile, config: MonitoringConfig | None = None) -> DataConstraints:
    """The constraints that Model Monitor would suggest for this baseline."""
    features = tuple(_suggested(name, profile.states[Column(name)]) for name in profile.columns)
    return DataConstraints(features, config or MonitoringConfig())


def _suggested(name: str, state: ColumnState) -> Feature:
    kind, least = _kind(state), state.moments.minimum
    seen, rows = state.kinds.present, state.kinds.rows
    return Feature(
        name=name,
        kind=kind,
        completeness=seen.w / rows.w if rows.n else None,
        non_negative=least >= 0.0 if kind.numeric and least is not None else None,
        domain=domain_of(state) if kind is Kind.STRING else None,
    )


def _kind(state: ColumnState) -> Kind:
    """The inferred type; a numeric column without one finite number has no statistics, so it is Unknown."""
    kind = state.kinds.kind
    return Kind.UNKNOWN if kind.numeric and state.moments.n == 0 else kind


def _feature(name: str, state: ColumnState) -> Json:
    kind = _kind(state)
    out: Json = {"name": name, "inferred_type": kind.value}
    # NaN and infinities of a typed column are missing here, for no sum and no bucket can hold them.
    present = state.moments.n if kind.numeric else state.kinds.present.n
    common = {"num_present": present, "num_missing": state.kinds.rows.n - present}
    if kind.numeric:
        out["numerical_statistics"] = {"common": common, **_numbers(state, kind)}
    elif kind is Kind.STRING:
        out["string_statistics"] = {"common": common, **_strings(state)}
    return out


def _numbers(state: ColumnState, kind: Kind) -> Json:
    moments = state.moments
    low, high = moments.minimum or 0.0, moments.maximum or 0.0
    values, counts, _ = state.histogram.points(integral=kind is Kind.INTEGRAL)
    return {
        "mean": float(moments.mean),
        "sum": sum_of(moments),
        "std_dev": _deviation(moments),
        "min": float(low),
        "max": float(high),
        "distribution": {"kll": kll(np.clip(values, low, high), counts, low, high)},
    }


def sum_of(moments: MomentsState) -> float:
    """The sum over the rows seen: readers find it to be mean times num_present, also of a sample of the traffic."""
    try:
        total = moments.total if moments.w == moments.n * ONE else moments.mean * moments.n
    except Undefined:  # beyond float64
        total = math.inf if moments.s1 > 0 else -math.inf
    return min(max(total, -sys.float_info.max), sys.float_info.max)


def _deviation(moments: MomentsState) -> float:
    try:
        return moments.std
    except Undefined:  # the variance is beyond float64, its root is not
        return float(math.isqrt((moments.s2 * moments.w - moments.s1**2) // (moments.w**2 << 2 * UNIT)))


def kll(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], low: float, high: float) -> Json:
    """Ten equal-width buckets and the sketch of sorted distinct values with their counts.

    An item at level i of `sketch.data` stands for 2^i rows: every value stands at the levels of the bits of its count.
    """
    bounds = [_bound(low, high, i) for i in range(BUCKETS + 1)]
    below = np.concatenate(([0], np.cumsum(counts)))
    ranks = [int(below[np.searchsorted(values, bound, side="left")]) for bound in bounds[:-1]] + [int(below[-1])]
    if low == high:
        ranks = [0] * BUCKETS + [int(below[-1])]
    buckets = [
        {"lower_bound": bounds[i], "upper_bound": bounds[i + 1], "count": float(ranks[i + 1] - ranks[i])}
        for i in range(BUCKETS)
    ]
    levels = int(counts.max()).bit_length() if len(counts) else 1
    data = [values[(counts >> level) & 1 == 1].tolist() for level in range(levels)]
    return {"buckets": buckets, "sketch": {"parameters": dict(SKETCH), "data": data}}


def _bound(low: float, high: float, i: int) -> float:
    """The bound in Model Monitor's own order of operations, so that the last bits agree."""
    bound = low + (high - low) * i / float(BUCKETS)
    return bound if math.isfinite(bound) else low * (1 - i / BUCKETS) + high * (i / BUCKETS)


def _strings(state: ColumnState) -> Json:
    values = state.values
    if values is None and state.kinds.other.n:
        return {}  # nobody counted lists, structs or binary values one by one
    distinct = float(values.distinct) if values is not None else 0.0
    domain = domain_of(state)
    if values is None or domain is None:
        return {"distinct_count": distinct}
    counted = sorted(((v, values.values[v].n) for v in domain), key=lambda item: (-item[1], item[0]))
    buckets = [{"value": value, "count": count} for value, count in counted]
    return {"distinct_count": distinct, "distribution": {"categorical": {"buckets": buckets}}}


def read_statistics(data: bytes, file: str = "statistics.json") -> Profile:
    """The profile that a data-quality `statistics.json` stands for, whoever wrote it.

    Numbers come back as exactly as the file holds them; a numeric distribution as finely as its sketch, or from its
    ten buckets where it has none; categories only where the file lists them.

    Raises:
        InputError: with the file and the key whose value is wrong.
    """
    place = parse(data, file)
    if place.get("features") is None:
        raise InputError(f"{file}: key 'features' is missing; is this the statistics file of a data-quality baseline?")
    items = place.need("dataset").need("item_count").count()
    states: dict[AnySummary, State] = {Rows(): RowsState(n=items, w=items * ONE, w2=items * ONE * ONE)}
    names = []
    for feature in place.need("features").items():
        name = feature.need("name").text()
        if name in names:
            raise InputError(f"{file}: feature {name!r} is listed twice; names of features must differ")
        names.append(name)
        states[Column(name)] = _column(feature, name, items)
    return Profile(States(states), tuple(names))


def _column(feature: Place, name: str, items: int) -> ColumnState:
    kind = kind_at(feature.need("inferred_type"))
    empty = Column(name).empty()
    if kind is Kind.UNKNOWN:
        return replace(empty, rows=_rows(items), kinds=_kinds(empty.kinds, kind, 0, items))
    part = feature.need("numerical_statistics" if kind.numeric else "string_statistics")
    common = part.need("common")
    present, missing = common.need("num_present").count(), common.need("num_missing").count()
    state = replace(empty, rows=_rows(present + missing), kinds=_kinds(empty.kinds, kind, present, missing))
    if not kind.numeric:
        return replace(state, values=_values(part))
    if present == 0:
        return state
    return replace(state, moments=_moments(part, present), histogram=_histogram(part, present))


def _rows(n: int) -> RowsState:
    return RowsState(n=n, w=n * ONE, w2=n * ONE * ONE)


def _count(n: int) -> Count:
    return Count(n, n * ONE)


def _kinds(empty: CountsState, kind: Kind, present: int, missing: int) -> CountsState:
    seen = _count(present)
    kinds = replace(empty, null=_count(missing))
    if kind is Kind.INTEGRAL:
        return replace(kinds, integral=seen)
    if kind is Kind.FRACTIONAL:
        return replace(kinds, fractional=seen)
    return replace(kinds, string=seen) if kind is Kind.STRING else kinds


def _moments(part: Place, present: int) -> MomentsState:
    """The exact sums whose mean, sum and deviation are those of the file."""
    mean, std = part.need("mean").number(), part.need("std_dev").number(low=0.0)
    total = part.get("sum")
    low, high = part.need("min").number(), part.need("max").number()
    if low > high:
        part.need("min").fail(f"at most max, which is {high!r}")
    first = Fraction(total.number()) if total is not None else Fraction(mean) * present
    second = present * Fraction(std) ** 2 + first * first / present
    return MomentsState(
        n=present,
        w=present * ONE,
        w2=present * ONE * ONE,
        s1=round(first * ONE * 2**UNIT),
        s2=round(second * ONE * 2 ** (2 * UNIT)),
        minimum=low,
        maximum=high,
    )


def _histogram(part: Place, present: int) -> HistogramState:
    distribution = part.get("distribution")
    sketch = distribution.get("kll") if distribution is not None else None
    if sketch is None:
        return _state_of(())
    items = sketch.get("sketch")
    state = _state_of(_items(items)) if items is not None else _state_of(_buckets(sketch))
    if state.total.n != present:
        place = items.need("data") if items is not None else sketch.need("buckets")
        raise InputError(
            f"{part.file}: {place.path} stands for {state.total.n} values, but num_present is {present}; "
            f"the two must agree"
        )
    return state


def _items(sketch: Place) -> Iterable[tuple[list[float], int]]:
    """The items of every level, and how many rows each of them stands for."""
    levels = list(sketch.need("data").items())
    if len(levels) > 62:
        sketch.need("data").fail("a list of at most 62 levels")
    return [([item.number() for item in level.items()], 1 << i) for i, level in enumerate(levels)]


def _buckets(sketch: Place) -> Iterable[tuple[list[float], int]]:
    """The middle of every bucket, and its count."""
    for bucket in sketch.need("buckets").items():
        middle = (bucket.need("lower_bound").number() + bucket.need("upper_bound").number()) / 2
        yield [middle], bucket.need("count").count()


def _state_of(weighted: Iterable[tuple[list[float], int]]) -> HistogramState:
    """The histogram of values that each stand for so many rows."""
    summary = Histogram("value")
    state = summary.empty()
    for values, times in weighted:
        if values and times:
            once = summary.of(pa.record_batch({"value": pa.array(values, pa.float64())}))
            state = state.merge(_times(once, times))
    return state


def _times(state: HistogramState, times: int) -> HistogramState:
    """The state of the same rows so many times over: doublings are merges, so counts stay exact."""
    whole: HistogramState | None = None
    while times:
        if times & 1:
            whole = state if whole is None else whole.merge(state)
        times >>= 1
        if times:
            state = state.merge(state)
    if whole is None:
        raise Undefined("no rows")
    return whole


def _values(part: Place) -> FrequentState | None:
    """The counts of the categories; None where the file does not list them."""
    distribution = part.get("distribution")
    categorical = distribution.get("categorical") if distribution is not None else None
    buckets = categorical.get("buckets") if categorical is not None else None
    if buckets is None:
        return None
    counts: dict[str, Count] = {}
    for bucket in buckets.items():
        value, n = bucket.need("value").text(), bucket.need("count").count()
        counts[value] = counts[value] + _count(n) if value in counts else _count(n)
        if counts[value].n > MOST:
            bucket.need("count").fail(f"at most {MOST} rows together with the earlier buckets of {value!r}")
    return FrequentState(values=Counted.of(counts))
