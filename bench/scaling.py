"""What a profile costs as the data grow: in rows, in columns, in files, in distinct strings, in row groups.

    python bench/scaling.py [--quick]

None may be quadratic: the report shows the cost per cell (or file, or row) from the least to the most.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import generate
from measure import LIMITS, OURS, Contender, Record, interleaved, keep
from options import options

CONTENDERS = (Contender("Driftline", OURS, "profile"), Contender("scan", LIMITS, "read_tasks"))


def points(quick: bool) -> Iterator[tuple[str, int, tuple[Path, ...]]]:
    for rows in (1_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        yield "rows", rows, (generate.tabular(rows),)
    for columns in (20, 200) if quick else (20, 100, 500, 2_000, 10_000):
        yield "columns", columns, (generate.wide(10_000, columns, group=10_000),)
    for files in (1, 100) if quick else (1, 10, 100, 1_000, 10_000):
        yield "files", files, generate.many_files(10_000 if quick else 100_000, files)
    for files in (1, 100) if quick else (1, 10, 100, 1_000, 10_000):
        yield "files of one row", files, generate.many_files(files, files)
    for values in (10, 100_000) if quick else (10, 1_000, 10_000, 100_000, 1_000_000):
        yield "categories", values, (generate.categories(1_000_000, values),)
    for groups in () if quick else (1, 10, 100):
        yield "row groups", groups, (generate.wide(100_000, 200, group=100_000 // groups),)
    for rows in () if quick else (1_000_000, 10_000_000, 50_000_000):
        yield "rows of one group", rows, (generate.one_group(rows),)


def main() -> None:
    given = options(__doc__, repeats=3)
    records: list[Record] = []
    for axis, at, paths in points(given.quick):
        records += [r | {"axis": axis, "at": at} for r in interleaved(f"{axis} {at}", CONTENDERS, paths, given.repeats)]
    keep("scaling", records, given.quick)


if __name__ == "__main__":
    main()
