"""The cache of decoded sources: each is parsed once, and re-runs and other monitors read the Parquet."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from driftline.dataset.dataset import Answers, Captured, Decoded, Files, Intake, Progress, Table
from driftline.dataset.decode import decode
from driftline.dataset.decode_labels import decode_labels
from driftline.dataset.fingerprint import labels_fingerprint, source_fingerprint
from driftline.errors import Corrupt

_ACCOUNT: Final = "decoded.json"


def decode_cached(
    cache: Path,
    source: Files | Captured,
    *,
    answers: Answers | None = None,
    label: str | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """`decode`, or what it gave when the same files were decoded with the same options before.

    Each result is a folder of `cache`, named by the fingerprint of source and options, written whole or not at all.
    """

    def fresh(into: Path) -> Decoded:
        return decode(source, into, answers=answers, label=label, progress=progress)

    return _cached(cache / source_fingerprint(source, answers, label), fresh)


def decode_labels_cached(
    cache: Path, paths: tuple[Path, ...], *, path: str | None = None, progress: Progress | None = None
) -> Decoded:
    """`decode_labels`, or what it gave for the same files before."""

    def fresh(into: Path) -> Decoded:
        return decode_labels(paths, into, path=path, progress=progress)

    return _cached(cache / labels_fingerprint(paths, path), fresh)


def _cached(folder: Path, fresh: Callable[[Path], Decoded]) -> Decoded:
    if (folder / _ACCOUNT).exists():
        return _load(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that the renaming stays within one file system.
    partial = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        _save(fresh(partial), partial)
        try:
            partial.rename(folder)
        except OSError:
            # Another process was faster, and its result is as good; a folder without an account is what a crash left.
            if not (folder / _ACCOUNT).exists():
                shutil.rmtree(folder)
                partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _load(folder)


def _save(decoded: Decoded, folder: Path) -> None:
    account = {
        "paths": [_relative(path, folder) for path in decoded.table.paths],
        "columns": decoded.table.columns,
        "rows": decoded.table.rows,
        "intake": asdict(decoded.intake),
        "dead_letters": None if decoded.dead_letters is None else _relative(decoded.dead_letters, folder),
    }
    with (folder / _ACCOUNT).open("w", encoding="utf-8") as file:
        json.dump(account, file)
        file.flush()
        os.fsync(file.fileno())


def _relative(path: Path, folder: Path) -> str:
    """Files of the cache by their name; Parquet datasets stay where they are, by their whole path."""
    return path.name if path.parent == folder else str(path.absolute())


def _load(folder: Path) -> Decoded:
    try:
        account = json.loads((folder / _ACCOUNT).read_text(encoding="utf-8"))
        letters = account["dead_letters"]
        table = Table(tuple(folder / name for name in account["paths"]), tuple(account["columns"]), account["rows"])
        return Decoded(table, Intake(**account["intake"]), None if letters is None else folder / letters)
    except (ValueError, KeyError, TypeError) as why:
        raise Corrupt(f"{str(folder / _ACCOUNT)!r} is not the account of a decoded source; remove its folder") from why
