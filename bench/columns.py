"""Captured records as columns beside JSON lines: how large they are, how long it takes to make and to read them.

python bench/columns.py [--quick] [--repeats N]
"""

from __future__ import annotations

import gzip
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import generate
from measure import OURS, Contender, Record, keep, once
from options import options

from driftline.capture.columnar import parquet

FORMS = {"JSON lines": "jsonl", "JSON lines, gzip": "jsonl.gz", "columns": "parquet"}
MAKE: dict[str, Callable[[bytes], bytes]] = {
    "jsonl": lambda data: data,
    "jsonl.gz": lambda data: gzip.compress(data, 6),
    "parquet": lambda data: parquet(data.splitlines()),
}


def made(folder: Path, ending: str) -> Record:
    """The files of the folder in another form, with their size and the time that it took."""
    into = folder.with_name(f"{folder.name}_{ending.replace('.', '_')}")
    into.mkdir(exist_ok=True)
    seconds = 0.0
    for file in sorted(folder.glob("*.jsonl")):
        data = file.read_bytes()
        begin = time.perf_counter()
        (into / f"{file.stem}.{ending}").write_bytes(MAKE[ending](data))
        seconds += time.perf_counter() - begin
    size = sum(file.stat().st_size for file in into.iterdir())
    return {"task": "columns: make", "folder": str(into), "seconds": seconds, "mb": size / 1e6}


def main() -> None:
    given = options(__doc__)
    count = 50_000 if given.quick else 1_000_000
    folder = generate.captured(count)
    parquet([])  # imports are not timed
    records = [{"contender": name, **made(folder, ending)} for name, ending in FORMS.items()]
    folders = {record["contender"]: record.pop("folder") for record in records}
    for repeat in range(given.repeats):
        for name, path in folders.items():
            command = Contender(name, OURS, "ingest").command([Path(path)])
            records.append({"task": "columns: read", "contender": name, "repeat": repeat, **once(command, 900)})
    for name in FORMS:
        making, *reading = [record for record in records if record["contender"] == name]
        read = statistics.median(record["seconds"] for record in reading)
        each = f"{making['mb'] * 1e6 / count:6.0f} bytes, {making['seconds'] / count * 1e6:5.1f} µs to make"
        print(f"{name:20} {making['mb']:8.1f} MB {each}, read in {read:6.2f} s: {count / read / 1e6:5.2f} million/s")
    keep("columns", records, given.quick)


if __name__ == "__main__":
    main()
