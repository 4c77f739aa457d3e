"""Results in the cache that came of objects that are no more: they are forgotten, with the states beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from driftline.dataset.compact import ACCOUNT, LABEL_DAYS, removed
from driftline.dataset.lines import ENDINGS, size_of
from driftline.dataset.strike import Hits, key_in, struck
from driftline.errors import Corrupt
from driftline.objects.mirror import MIRROR
from driftline.schema import ID


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Results that were removed from the cache."""

    results: int = 0
    bytes: int = 0


def forget(cache: Path, concerns: Callable[[Path], bool], *, dry_run: bool = False) -> Forgotten:
    """Remove the results, folders of `cache`, that `concerns` is true of; whoever needs one decodes it anew."""
    gone = [folder for folder in _results(cache) if concerns(folder)]
    size = sum(size_of(path for path in folder.iterdir() if path.is_file()) for folder in gone)
    if not dry_run:
        for folder in gone:
            removed(folder)
    return Forgotten(len(gone), size)


def forget_copies(cache: Path, concerns: Callable[[Path], bool], *, dry_run: bool = False) -> int:
    """Remove the copies of a bucket's objects that `concerns` is true of; how many."""
    gone = [path for path in (cache / MIRROR).rglob("*") if path.is_file() and concerns(path)]
    for path in gone:
        if not dry_run:
            path.unlink(missing_ok=True)
    return len(gone)


def copy_of(keys: set[str]) -> Callable[[Path], bool]:
    """Whether a file is a copy of one of these objects."""
    return lambda path: key_in(path.as_posix(), keys) is not None


def copy_with(hits: Hits) -> Callable[[Path], bool]:
    """Whether a copy holds a record of one of the requests."""

    def concerns(path: Path) -> bool:
        if not path.name.lower().endswith(ENDINGS["captured"]):
            return False
        try:
            return struck(path.read_bytes(), path.name, hits.ids) is not None
        except OSError:  # another process took it away
            return False
        except Corrupt:  # it is as bad as the object it is of, which is told
            return key_in(path.as_posix(), hits.places) is not None

    return concerns


def came_of(keys: set[str]) -> Callable[[Path], bool]:
    """Whether a result came of one of these objects, or does not say of what it came."""

    def concerns(folder: Path) -> bool:
        try:
            sources = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))["sources"]
        except (OSError, ValueError, KeyError):
            return bool(keys)
        return any(key_in(source, keys) is not None for source in sources)

    return concerns


def holds(hits: Hits) -> Callable[[Path], bool]:
    """Whether a result came of one of the places, holds a row with one of the ids, or a dead letter about one."""
    asked = pa.array(sorted(hits.ids), pa.string())
    came = came_of(set(hits.places))

    def concerns(folder: Path) -> bool:
        return (
            came(folder)
            or any(_has(path, asked) for path in folder.glob("*.parquet"))
            or any(_letters(path, hits) for path in folder.glob("*.jsonl"))
        )

    return concerns


def _letters(path: Path, hits: Hits) -> bool:
    try:
        return any(hits.letter(line) is not None for line in path.read_bytes().split(b"\n"))
    except OSError:  # another process took it away
        return False


def _has(path: Path, asked: pa.Array) -> bool:
    try:
        with pq.ParquetFile(path) as file:
            if ID not in file.schema_arrow.names:
                return False
            return any(pc.any(pc.is_in(batch.column(0), asked)).as_py() for batch in file.iter_batches(columns=[ID]))
    except (OSError, pa.ArrowException):  # another process took it away, or it is broken: nobody reads it
        return False


def _results(cache: Path) -> Iterator[Path]:
    for account in (*cache.glob(f"*/{ACCOUNT}"), *cache.glob(f"{LABEL_DAYS}/*/*/{ACCOUNT}")):
        yield account.parent
