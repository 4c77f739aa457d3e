"""Labels whose id may occur twice, found by their hashes: sorting 64-bit numbers is much faster than grouping texts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from driftline.dataset.dataset import Table
from driftline.dataset.decode_parquet import opened
from driftline.engines.tasks import SLICE
from driftline.kernels.numbers import hash_strings
from driftline.schema import ID, ORDINAL

FILE: Final = 1 << 40
"""The place of a row: the number of its file, from 1, times this, and its number in the file."""
AT_ONCE: Final = 1 << 25
"""Rows whose hashes are held at once, in 16 bytes each; of more rows some hashes at a time."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


class _Stretch(NamedTuple):
    """Consecutive row groups of one file."""

    path: Path
    groups: range
    first: int
    """The place of their first row."""


def suspects(labels: Table, threads: int) -> npt.NDArray[np.int64]:
    """The places of the rows whose (id, ordinal) has the hash of another row's; rows without an id are in none."""
    stretches = list(_stretches(labels, threads))
    passes = -(-max(1, labels.rows) // AT_ONCE)
    found = [np.empty(0, np.int64)]
    with ThreadPoolExecutor(threads) as pool:
        for number in range(passes):
            parts = list(pool.map(partial(_hashed, number=number, passes=passes), stretches))
            hashes = np.concatenate([part.hashes for part in parts]) if parts else np.empty(0, np.uint64)
            ordered = np.sort(hashes)
            twice = ordered[1:][ordered[1:] == ordered[:-1]]
            if len(twice):
                places = np.concatenate([part.places for part in parts])
                found.append(places[np.isin(hashes, twice)])
    return np.concatenate(found)


def _stretches(labels: Table, threads: int) -> Iterator[_Stretch]:
    for number, path in enumerate(labels.paths, 1):
        with opened(path) as file:
            metadata = file.metadata
        first, step = number * FILE, max(1, -(-metadata.num_row_groups // threads))
        for start in range(0, metadata.num_row_groups, step):
            groups = range(start, min(start + step, metadata.num_row_groups))
            yield _Stretch(path, groups, first)
            first += sum(metadata.row_group(group).num_rows for group in groups)


class _Hashed(NamedTuple):
    hashes: Hashes
    places: npt.NDArray[np.int64]


def _hashed(stretch: _Stretch, number: int, passes: int) -> _Hashed:
    """The hashes that belong to this pass, and the places of their rows."""
    parts = [_Hashed(np.empty(0, np.uint64), np.empty(0, np.int64))]
    at = stretch.first
    with opened(stretch.path) as file:
        for batch in file.iter_batches(SLICE, list(stretch.groups), [ID, ORDINAL], use_threads=False):
            hashes, there = _hashes(batch)
            if passes > 1:
                there &= hashes % np.uint64(passes) == number
            parts.append(_Hashed(hashes[there], at + np.flatnonzero(there).astype(np.int64)))
            at += batch.num_rows
    return _Hashed(*map(np.concatenate, zip(*parts, strict=True)))


def _hashes(batch: pa.RecordBatch) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    ids = batch.column(ID).cast(pa.large_string())
    _, offsets, data = ids.buffers()
    at = np.frombuffer(offsets, np.int64)[ids.offset : ids.offset + len(ids) + 1]
    hashes = hash_strings(np.frombuffer(data or b"", np.uint8), at)
    ordinals = batch.column(ORDINAL).cast(pa.int64()).fill_null(-1).to_numpy().view(np.uint64)
    return (hashes + ordinals) * _MIX, np.array(ids.is_valid().to_numpy(zero_copy_only=False), np.bool_)
