"""What a profile costs beside a mere scan of the same columns, and how much memory it takes.

    python bench/profiling.py [--quick]

10M x 20 and 1M x 200 against the bytes of the file and pyarrow's ways to read it; then 10M and 50M rows for memory.
"""

from __future__ import annotations

import generate
from measure import LIMITS, OURS, Contender, Record, interleaved, keep
from options import options

SCANS = {
    "scan: read_table": "read_table",
    "scan: row groups on threads": "read_groups",
    "scan: row groups, dictionaries kept": "read_groups_dictionary",
    "scan: the engine's own tasks": "read_tasks",
}
BYTES = Contender("bytes of the file", LIMITS, "read_bytes")
PROFILE = Contender("Driftline", OURS, "profile")
IN_NUMPY = Contender("Driftline without the kernel", OURS, "profile_in_numpy")


def main() -> None:
    given = options(__doc__)
    rows, wide_rows = (500_000, 50_000) if given.quick else (10_000_000, 1_000_000)
    scans = [Contender(name, LIMITS, function) for name, function in SCANS.items()]
    records: list[Record] = []
    tasks = {
        f"{told(rows)} x 20": (generate.tabular(rows), [BYTES, *scans, PROFILE, IN_NUMPY]),
        f"{told(wide_rows)} x 200": (generate.wide(wide_rows, 200), [BYTES, *scans, PROFILE, IN_NUMPY]),
    }
    for task, (path, contenders) in tasks.items():
        records += interleaved(task, contenders, [path], given.repeats)
    parts = [generate.tabular(rows, part=part) for part in range(5)]
    for name, paths in ((f"memory, {told(rows)} x 20", parts[:1]), (f"memory, {told(5 * rows)} x 20", parts)):
        records += interleaved(name, [PROFILE], paths, given.repeats)
    keep("profiling", records, given.quick)


def told(rows: int) -> str:
    return f"{rows // 1_000_000}M" if rows % 1_000_000 == 0 else f"{rows:,}"


if __name__ == "__main__":
    main()
