"""How long a profile takes beside a mere scan: Column summaries against pyarrow's reading of the same columns.

    python bench/profile.py [--rows N] [--repeats N] [--batch ROWS ...] [--json]

Writes a seeded Parquet file (12 floats, 4 integers, one epoch in ms, 2 strings of few values, 1 boolean) to
bench/data, then interleaves the repeats of all contenders in one run and prints medians. Two threads each; the
profile's task is one row group and a few columns.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.states.column import Column, ColumnState

DATA = Path(__file__).parent / "data"
THREADS = 2
ROW_GROUPS = 8
COLUMNS_PER_TASK = 2
TABLE, TASKS = "scan, pyarrow.parquet.read_table", "scan, in the profile's tasks"


def columns(r: np.random.Generator, n: int) -> Iterator[tuple[str, np.ndarray]]:
    for i in range(6):
        yield f"normal{i}", r.normal(i, 1 + i, n)
    for i in range(2):
        yield f"exponential{i}", r.exponential(10.0**i, n)
    yield "uniform", r.random(n)
    yield "lognormal", r.lognormal(0, 2, n)
    yield "price", np.round(r.gamma(2, 40, n), 2)
    yield "zeros", np.where(r.random(n) < 0.7, 0.0, r.normal(size=n))
    yield "age", r.integers(18, 90, n)
    yield "count", r.poisson(3, n)
    yield "amount", r.integers(-(10**6), 10**6, n)
    yield "account", r.integers(0, 2**62, n)
    yield "asked_at", 1_700_000_000_000 + np.sort(r.integers(0, 30 * 86_400_000, n))
    yield "state", r.choice(np.array(["NY", "CA", "TX", "OH", "WA", "KS"]), n)
    yield "plan", r.choice(np.array([f"plan-{i}" for i in range(40)]), n)
    yield "returning", r.random(n) < 0.3


def prepare(rows: int) -> Path:
    path = DATA / f"profile_{rows}.parquet"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        table = pa.table(dict(columns(np.random.default_rng(20), rows)))
        pq.write_table(table, path, row_group_size=-(-rows // ROW_GROUPS))
    return path


def scan(path: Path) -> None:
    pa.set_cpu_count(THREADS)
    pq.read_table(path, use_threads=True)


def scan_tasks(path: Path) -> None:
    """Reading alone, cut into the profile's tasks."""
    run(path, lambda group, names: len(pq.ParquetFile(path).read_row_group(group, columns=names, use_threads=False)))


def profile(path: Path, batch_rows: int) -> dict[str, ColumnState]:
    def task(group: int, names: list[str]) -> dict[str, ColumnState]:
        states = {name: Column(name).empty() for name in names}
        for batch in pq.ParquetFile(path).iter_batches(batch_rows, [group], names, use_threads=False):
            states = {name: state.merge(Column(name).of(batch)) for name, state in states.items()}
        return states

    whole: dict[str, ColumnState] = {}
    for states in run(path, task):
        for name, state in states.items():
            whole[name] = whole[name].merge(state) if name in whole else state
    return whole


def run(path: Path, task: Callable[[int, list[str]], object]) -> list:
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    groups = [names[i : i + COLUMNS_PER_TASK] for i in range(0, len(names), COLUMNS_PER_TASK)]
    jobs = [(group, some) for group in range(file.num_row_groups) for some in groups]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda job: task(*job), jobs))


def measure(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--batch", type=int, nargs="+", default=[65_536, 131_072])
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = arguments.parse_args()
    path = prepare(options.rows)
    contenders: dict[str, Callable[[], object]] = {TABLE: lambda: scan(path), TASKS: lambda: scan_tasks(path)}
    for rows in options.batch:
        contenders[f"profile, batches of {rows:,}"] = lambda rows=rows: profile(path, rows)
    medians = measure(contenders, options.repeats)
    if options.json:
        result = {"rows": options.rows, "columns": 20, "threads": THREADS, "machine": platform.machine()}
        ratios = {scan: {k: v / medians[scan] for k, v in medians.items()} for scan in (TABLE, TASKS)}
        print(json.dumps({**result, "seconds": medians, "ratio": ratios}))
        return
    print(f"{options.rows:,} rows x 20 columns, {THREADS} threads, medians of {options.repeats}")
    print(f"{'':34} {'seconds':>8} {'/ table':>8} {'/ tasks':>8}")
    for name, seconds in medians.items():
        print(f"{name:34} {seconds:8.3f} {seconds / medians[TABLE]:8.2f} {seconds / medians[TASKS]:8.2f}")


if __name__ == "__main__":
    main()
