"""Labels whose id may occur twice, found by their hashes: sorting 64-bit numbers is much faster than grouping texts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.dataset.dataset import Table
from driftline.dataset.decode_parquet import opened
from driftline.kernels.numbers import hash_strings
from driftline.schema import ID, ORDINAL

FILE: Final = 1 << 40
"""The place of a row: the number of its file, from 1, times this, and its number in the file."""
AT_ONCE: Final = 1 << 25
"""Rows whose hashes are held at once, in 16 bytes each; of more rows some hashes at a time."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


class _Group(NamedTuple):
    """One row group."""

    path: Path
    group: int
    first: int
    """The place of its first row."""


def suspects(labels: Table, threads: int) -> npt.NDArray[np.int64]:
    """The places of the rows whose (id, ordinal) has the hash of another row's; rows without an id are in none."""
    groups = list(_groups(labels))
    passes = -(-max(1, labels.rows) // AT_ONCE)
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for number in range(passes):
            parts = list(pool.map(lambda group: _hashed(group, number, passes), groups))
            hashes = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.uint64)
            ordered = np.sort(hashes)
            twice = ordered[1:][ordered[1:] == ordered[:-1]]
            if len(twice):
                places = np.concatenate([part[1] for part in parts])
                found.append(places[np.isin(hashes, twice)])
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _groups(labels: Table) -> Iterator[_Group]:
    for number, path in enumerate(labels.paths, 1):
        with opened(path) as file:
            metadata = file.metadata
        first = number * FILE
        for group in range(metadata.num_row_groups):
            yield _Group(path, group, first)
            first += metadata.row_group(group).num_rows


def _hashed(group: _Group, number: int, passes: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The hashes that belong to this pass, and the places of their rows."""
    with opened(group.path) as file:
        table = file.read_row_group(group.group, columns=[ID, ORDINAL], use_threads=False)
    ids = table.column(ID).cast(pa.large_string()).combine_chunks()
    there = np.asarray(ids.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    _, offsets, data = ids.buffers()
    at = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    hashes = hash_strings(np.frombuffer(data or b"", np.uint8), at)
    ordinals = table.column(ORDINAL).cast(pa.int64()).fill_null(-1).to_numpy().view(np.uint64)
    hashes = (hashes + ordinals) * _MIX
    there &= hashes % np.uint64(passes) == number if passes > 1 else True
    return hashes[there], (group.first + np.flatnonzero(there)).astype(np.int64)
