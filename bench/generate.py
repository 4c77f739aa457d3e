"""Seeded data for every benchmark, written to bench/data once and kept.

    python bench/generate.py      writes what the full benchmark needs

Every chunk has its own seed, so the first rows of a large file are those of a small one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import DATA

CHUNK = 1_000_000
"""Rows of a row group, and of what has one seed."""
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_LINE = (
    '{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","data":"%s","encoding":"CSV"},'
    '"endpointOutput":{"observedContentType":"text/csv; charset=utf-8","mode":"OUTPUT","data":"%.17g",'
    '"encoding":"CSV"}},'
    '"eventMetadata":{"eventId":"%s","inferenceTime":"%sZ"},"eventVersion":"0"}\n'
)


def tabular(rows: int, drifted: bool = False, part: int = 0) -> Path:
    """A table of 20 columns: 12 floats of all shapes, 3 integers, an epoch in ms, 3 categories, an identifier.

    Some of the columns move where it is `drifted`. Part 1 and so on are more rows of the same kind.
    """
    of_part = f"_part{part}" if part else ""
    path = DATA / f"tabular_{rows}_{'current' if drifted else 'reference'}{of_part}.parquet"
    sizes = [min(CHUNK, rows - at) for at in range(0, rows, CHUNK)]
    seeds = range(1000 * part + (500_000 if drifted else 100), 1_000_000)
    return _written(path, partial(_chunk_of, drifted), list(zip(seeds, sizes, strict=False)))


def wide(rows: int, columns: int, group: int = 100_000) -> Path:
    """The 20 columns over and over, each time with another seed."""
    path = DATA / f"wide_{rows}_{columns}_{group}.parquet"
    sizes = [min(group, rows - at) for at in range(0, rows, group)]
    return _written(path, partial(_wide_chunk, columns), list(zip(range(9000, 10**6), sizes, strict=False)))


def one_group(rows: int) -> Path:
    """Five of the 20 columns, one of each kind, in one row group of so many rows."""
    path = DATA / f"one_group_{rows}.parquet"
    if path.exists():
        return path
    import duckdb

    parts = ", ".join(f"'{tabular(10_000_000, part=part)}'" for part in range(-(-rows // 10_000_000)))
    half = path.with_suffix(".half")
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT f01, f03, i03, c01, c02 FROM read_parquet([{parts}]) LIMIT {rows}) "
            f"TO '{half}' (FORMAT parquet, ROW_GROUP_SIZE {rows})"
        )
    assert pq.read_metadata(half).num_row_groups == 1
    return half.rename(path)


def many_files(rows: int, files: int) -> tuple[Path, ...]:
    """The rows of one chunk in so many files."""
    folder = DATA / f"files_{rows}_{files}"
    paths = tuple(folder / f"{n:05d}.parquet" for n in range(files))
    if not paths[-1].exists():
        folder.mkdir(parents=True, exist_ok=True)
        whole = chunk(100, rows, drifted=False)
        bounds = [rows * n // files for n in range(files + 1)]
        for n, path in enumerate(paths):
            pq.write_table(whole.slice(bounds[n], bounds[n + 1] - bounds[n]), path)
    return paths


def categories(rows: int, values: int) -> Path:
    """One column of strings with so many equally frequent values."""
    path = DATA / f"categories_{rows}_{values}.parquet"
    return _written(path, partial(_category_chunk, values), [(n, CHUNK) for n in range(rows // CHUNK)])


def join(rows: int) -> tuple[Path, Path]:
    """Predictions and labels with uuid texts as ids, the labels in another order."""
    predictions, labels = DATA / f"join_{rows}_predictions.parquet", DATA / f"join_{rows}_labels.parquet"
    if predictions.exists() and labels.exists():
        return predictions, labels
    import duckdb

    DATA.mkdir(exist_ok=True)
    step = next(s for s in (7919, 104729, 1299709) if rows % s)
    of_hash = "concat_ws('-', substr(h, 1, 8), substr(h, 9, 4), substr(h, 13, 4), substr(h, 17, 4), substr(h, 21))"
    with duckdb.connect() as connection:
        # hash() of the row's number is the seeded noise; a positive has the greater score two times out of three.
        connection.execute(f"""
            COPY (SELECT {of_hash} AS "driftline.id", 0::BIGINT AS "driftline.ordinal",
                (hash(i) % 1000000007) / 1000000007.0 AS "driftline.score"
            FROM (SELECT i, md5(i::VARCHAR) AS h FROM range({rows}) t(i)) ORDER BY i)
            TO '{predictions}' (ROW_GROUP_SIZE 131072)""")
        connection.execute(f"""
            COPY (SELECT {of_hash} AS "driftline.id", 0::BIGINT AS "driftline.ordinal",
                CASE WHEN (hash(i) % 1000000007) / 1000000007.0 > (hash(i + 99991) % 997) / 997.0
                THEN '1' ELSE '0' END AS "driftline.label"
            FROM (SELECT k, (k * {step}) % {rows} AS i, md5(((k * {step}) % {rows})::VARCHAR) AS h
                FROM range({rows}) t(k)) ORDER BY k)
            TO '{labels}' (ROW_GROUP_SIZE 131072)""")
    return predictions, labels


def captured(lines: int, files: int = 10) -> Path:
    """A folder of captured records as an endpoint of Model Monitor writes them: about 511 bytes, 20 features in CSV."""
    folder = DATA / f"captured_{lines}"
    missing = [n for n in range(files) if not (folder / f"part-{n:02d}.jsonl").exists()]
    folder.mkdir(parents=True, exist_ok=True)
    list(_each(partial(_captured_file, folder, lines // files), missing))
    return folder


def chunk(seed: int, n: int, drifted: bool) -> pa.Table:
    r = np.random.default_rng(seed)
    moved = 1.0 if drifted else 0.0
    sparse = lambda values, share: pa.array(values, mask=r.random(n) < share)  # noqa: E731
    zipf = lambda count, power: (p := 1.0 / np.arange(1, count + 1) ** power) / p.sum()  # noqa: E731
    columns = {
        "f00": r.normal(0.3 * moved, 1.0, n),
        "f01": r.normal(100.0, 15.0, n),
        "f02": sparse(r.normal(0, 1, n), 0.05),
        "f03": sparse(r.normal(-5, 2, n), 0.30),
        "f04": r.lognormal(0, 1.0, n),
        "f05": r.lognormal(0.25 * moved, 1.5, n),
        "f06": r.pareto(1.5, n) + 1,
        "f07": r.standard_t(2, n),
        "f08": np.round(r.gamma(2.0, 30.0, n), 2),
        "f09": np.round(r.uniform(0, 1, n), 3),
        "f10": np.where(r.random(n) < 0.6, 0.0, r.exponential(3.0, n)),
        "f11": sparse(r.exponential(1e6, n), 0.01),
        "i00": r.integers(0, 100, n),
        "i01": r.poisson(4, n).astype(np.int64),
        "i02": r.geometric(0.001, n).astype(np.int64),
        "i03": 1_790_000_000_000 + r.integers(0, 86_400_000, n),
        "c00": strings(r.choice(5, n, p=[0.5, 0.25, 0.15, 0.07, 0.03]), 5),
        "c01": strings(r.choice(50, n, p=np.roll(zipf(50, 1.0), 5 if drifted else 0)), 50),
        "c02": strings(r.choice(10_000, n, p=zipf(10_000, 1.1)), 10_000),
        "c03": _fixed(_hex(r.integers(0, 256, (n, 8), dtype=np.uint8))),
    }
    return pa.table(columns)


def strings(codes: np.ndarray, values: int) -> pa.Array:
    spelled = pa.array([f"v{i:05d}" for i in range(values)])
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), spelled).cast(pa.string())


def _hex(raw: np.ndarray) -> np.ndarray:
    return np.stack([_HEX[raw >> 4], _HEX[raw & 15]], axis=2).reshape(len(raw), -1)


def _fixed(characters: np.ndarray) -> pa.Array:
    n, width = characters.shape
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters)))


def _chunk_of(drifted: bool, seed_and_rows: tuple[int, int]) -> pa.Table:
    return chunk(*seed_and_rows, drifted=drifted)


def _wide_chunk(columns: int, seed_and_rows: tuple[int, int]) -> pa.Table:
    seed, rows = seed_and_rows
    found: dict[str, pa.ChunkedArray] = {}
    for copy in range(-(-columns // 20)):
        more = chunk(1000 * seed + copy, rows, drifted=False)
        found |= {f"{name}_{copy}": more[name] for name in more.column_names}
    return pa.table(found).select(range(columns))


def _category_chunk(values: int, seed_and_rows: tuple[int, int]) -> pa.Table:
    seed, rows = seed_and_rows
    return pa.table({"c": strings(np.random.default_rng(seed).integers(0, values, rows), values)})


def _written(path: Path, make: Callable[[tuple[int, int]], pa.Table], parts: list[tuple[int, int]]) -> Path:
    """Every part is a row group. Whole or not at all."""
    if path.exists():
        return path
    DATA.mkdir(exist_ok=True)
    half = path.with_suffix(".half")
    writer = None
    for table in _each(make, parts):
        writer = writer or pq.ParquetWriter(half, table.schema)
        writer.write_table(table, row_group_size=len(table))
    assert writer is not None
    writer.close()
    return half.rename(path)


def _each(make: Callable, parts: list) -> Iterator:
    """In order, on all cores; few parts are in memory at a time."""
    if len(parts) < 2:
        yield from map(make, parts)
        return
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        for at in range(0, len(parts), cores):
            yield from pool.map(make, parts[at : at + cores])


def _captured_file(folder: Path, lines: int, number: int) -> None:
    r = np.random.default_rng(7000 + number)
    floats, integers, codes = (
        r.normal(0, 10, (lines, 14)),
        r.integers(0, 1000, (lines, 4)),
        r.integers(0, 50, (lines, 2)),
    )
    answers = 1 / (1 + np.exp(-r.normal(0, 1, lines)))
    ids = _hex(r.integers(0, 256, (lines, 16), dtype=np.uint8)).view("S32")[:, 0].astype(str)
    # Ten minutes in an hour of its own.
    start = np.datetime64("2026-11-01T10:00:00") + np.timedelta64(number, "h")
    times = np.datetime_as_string(start + (np.arange(lines) * 600 // lines).astype("timedelta64[s]"))
    pattern = ",".join(["%.6g"] * 14 + ["%d"] * 4 + ["cat%02d"] * 2)

    def written() -> Iterable[str]:
        for row in zip(floats.tolist(), integers.tolist(), codes.tolist(), answers, ids, times, strict=True):
            x, i, c, answer, h, at = row
            uuid = f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{h[16:20]}-{h[20:]}"
            yield _LINE % (pattern % (*x, *i, *c), answer, uuid, at)

    half = folder / f"part-{number:02d}.half"
    with half.open("w") as file:
        file.writelines(written())
    half.rename(folder / f"part-{number:02d}.jsonl")


def main() -> None:
    for drifted in (False, True):
        tabular(1_000_000, drifted)
    for part in range(5):
        tabular(10_000_000, part=part)
    wide(1_000_000, 200)
    join(10_000_000)
    captured(2_000_000)


if __name__ == "__main__":
    main()
