"""How far the Kolmogorov-Smirnov distance of two states is from the exact one, for every type of column.

    python bench/accuracy.py [--quick]

Each column is two samples, the second one moved. The states are merged from batches of uneven sizes, as an engine does.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pyarrow as pa
from measure import Record, keep
from options import options

from driftline.metrics.drift import ks
from driftline.states.column import Column, ColumnState

DAY = 86_400_000


def columns(r: np.random.Generator, n: int, moved: float) -> Iterator[tuple[str, pa.Array]]:
    """Every type that a monitored column has, and the shapes that sketches find hard."""
    normal = lambda: r.normal(0.1 * moved, 1.0, n)  # noqa: E731
    yield "float64, normal", pa.array(normal())
    yield "float32, normal", pa.array(normal().astype(np.float32))
    yield "float16, normal", pa.array(normal().astype(np.float16))
    yield "float64, far from zero (1e9 + normal)", pa.array(1e9 + normal())
    yield "float64, all powers (lognormal, sigma 8)", pa.array(r.lognormal(0.5 * moved, 8, n))
    yield "float64, heavy tail of both signs (t, 1)", pa.array(r.standard_t(1, n) + 0.1 * moved)
    yield "float64, uniform", pa.array(r.random(n) * (1 + 0.05 * moved))
    yield "float64, prices in cents", pa.array(np.round(r.gamma(2.0, 30.0 + moved, n), 2))
    yield "float64, 60 % zeros", pa.array(np.where(r.random(n) < 0.6, 0.0, normal()))
    yield "float64, 30 % null", pa.array(normal(), mask=r.random(n) < 0.3)
    yield (
        "float64, two narrow peaks",
        pa.array(np.where(r.random(n) < 0.5 + 0.02 * moved, 1.0, 1000.0) + 1e-4 * normal()),
    )
    yield "int8", pa.array(r.integers(-100, 100 - 10 * int(moved), n).astype(np.int8))
    yield "int32, ages", pa.array((18 + r.binomial(70, 0.4 + 0.01 * moved, n)).astype(np.int32))
    yield "int64, six digits", pa.array(r.integers(0, 10**6 - 20_000 * int(moved), n))
    yield "int64, identifiers of 62 bits", pa.array(r.integers(0, int(2**62 * (1 - 0.05 * moved)), n))
    yield "int64, epoch milliseconds of one day", pa.array(_times(r, n, moved, DAY))
    yield "int64, epoch milliseconds of one minute", pa.array(_times(r, n, moved, 60_000))
    yield "int64, epoch microseconds of one day", pa.array(1000 * _times(r, n, moved, DAY))
    yield "strings spelled as numbers", pa.array(np.round(normal(), 6).astype(str))
    yield (
        "decimal(12, 2)",
        pa.array([Decimal(int(v)).scaleb(-2) for v in r.integers(0, 10**6, min(n, 100_000))], pa.decimal128(12, 2)),
    )


def _times(r: np.random.Generator, n: int, moved: float, length: int) -> np.ndarray:
    return 1_790_000_000_000 + (length * r.beta(1.0, 1.0 + 0.1 * moved, n)).astype(np.int64)


def state(column: pa.Array) -> ColumnState:
    summary, at = Column("x"), 0
    found = summary.empty()
    for size in range(10_007, 10**9, 30_011):
        found = found.merge(summary.of(pa.record_batch({"x": column.slice(at, size)})))
        at += size
        if at >= len(column):
            break
    return found


def exact(*columns_: pa.Array) -> float:
    """The largest gap between the two distribution functions, over all values."""
    p, q = (np.sort(_numbers(column)) for column in columns_)
    places = np.concatenate((p, q))
    steps = (np.searchsorted(side, places, "right") / len(side) for side in (p, q))
    return float(np.max(np.abs(next(steps) - next(steps))))


def _numbers(column: pa.Array) -> np.ndarray:
    kept = column.drop_null()
    whole = pa.types.is_integer(kept.type)  # as they are: float64 would round the largest
    return (kept if whole else kept.cast(pa.float64())).to_numpy(zero_copy_only=False)


def main() -> None:
    given = options(__doc__)
    rows = 50_000 if given.quick else 1_000_000
    records: list[Record] = []
    before, after = np.random.default_rng(1), np.random.default_rng(2)
    for (name, reference), (_, current) in zip(columns(before, rows, 0.0), columns(after, rows, 1.0), strict=True):
        record: Record = {"task": "ks", "contender": name, "repeat": 0, "rows": len(current)}
        told, truth = ks(state(current), state(reference), confidence=0.95).value, exact(current, reference)
        records.append(record | {"ks": told, "exact": truth, "apart": abs(told - truth)})
        print(f"{name:44} exact {truth:.6f}  state {told:.6f}  apart {abs(told - truth):.1e}")
    keep("accuracy", records, given.quick)


if __name__ == "__main__":
    main()
