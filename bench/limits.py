"""What a machine can do at most: the bytes of the files, and pyarrow's reading of their columns, nothing computed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGES = ("pyarrow",)
VALUES, SLICE = 1 << 21, 1 << 15
"""Values (rows times columns) of a task and rows of a batch, as in Driftline's engine."""


def read_bytes(work):
    """The files, byte by byte."""
    buffer, total = bytearray(8 << 20), 0
    for path in work.paths:
        with Path(path).open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return {"bytes": total}


def read_lines(work):
    """The files of a folder, and how many lines they have: a raw read of JSON lines."""
    buffer, lines = bytearray(8 << 20), 0
    for path in sorted(Path(work.current).glob("*.jsonl")):
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                lines += buffer.count(b"\n", 0, count)
    return {"lines": lines}


def read_table(work):
    """`pyarrow.parquet.read_table`: all columns, all threads, everything in memory."""
    pa.set_cpu_count(work.threads)
    return {"rows": sum(pq.read_table(path, use_threads=True).num_rows for path in work.paths)}


def read_groups(work):
    """Row groups whole, one per thread."""
    return _groups(work, ())


def read_groups_dictionary(work):
    """The same, columns of few strings left as dictionaries: less to copy."""
    return _groups(work, work.categorical)


def _groups(work, few):
    def read(task):
        path, metadata, group = task
        some = [name for name in metadata.schema.to_arrow_schema().names if name.startswith(tuple(few))] if few else []
        file = pq.ParquetFile(path, metadata=metadata, read_dictionary=some)
        return file.read_row_group(group, use_threads=False).num_rows

    metadata = {path: pq.read_metadata(path) for path in work.paths}
    tasks = [(path, own, group) for path, own in metadata.items() for group in range(own.num_row_groups)]
    return _counted(read, tasks, work)


def read_tasks(work):
    """Batches of a few columns of a row group, one task per thread: how Driftline's engine reads, memory bounded."""
    few, last = tuple(work.categorical), threading.local()

    def read(task):
        path, metadata, group, names = task
        if getattr(last, "path", None) != path:
            coded = [name for name in metadata.schema.to_arrow_schema().names if name.startswith(few)]
            last.path, last.file = path, pq.ParquetFile(path, metadata=metadata, read_dictionary=coded)
        batches = last.file.iter_batches(SLICE, row_groups=[group], columns=names, use_threads=False)
        return sum(batch.num_rows for batch in batches)

    tasks = []
    for path in work.paths:
        own = pq.read_metadata(path)
        names = own.schema.to_arrow_schema().names
        for group in range(own.num_row_groups):
            together = max(1, VALUES // max(1, own.row_group(group).num_rows))
            tasks += [(path, own, group, names[i : i + together]) for i in range(0, len(names), together)]
    return _counted(read, tasks, work)


def _counted(read, tasks, work):
    with ThreadPoolExecutor(work.threads) as pool:
        return {"rows": sum(pool.map(read, tasks))}
