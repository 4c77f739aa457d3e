"""The cache of decoded sources: each is parsed once, and re-runs and other monitors read the Parquet."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

from driftline.dataset.dataset import Answers, Captured, Decoded, Files, Intake, Progress, Table
from driftline.dataset.decode import decode
from driftline.dataset.decode_labels import decode_labels, joined_labels
from driftline.dataset.fingerprint import labels_fingerprint, source_fingerprint
from driftline.dataset.hours import NotByHour, decode_hours, joined
from driftline.dataset.nonresponse import knows_times, weighed
from driftline.errors import Corrupt
from driftline.objects.mirror import MIRROR
from driftline.objects.mirror import pruned as prune_mirror

LABEL_DAYS: Final = "label-days"
NOTES: Final = "fingerprints"
"""Folder of the notes that runs leave about windows whose inputs they know."""
ACCOUNT: Final = "decoded.json"
"""File of a result that tells what lies there, and of which sources it came."""
_SUPERSEDED: Final = timedelta(hours=1)
"""So long after its last use the former state of a day of labels may still be read by a slow run."""
_BROKEN_OFF: Final = timedelta(days=1)
_EVERY: Final = timedelta(hours=1)


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
    Captured records of a window are decoded hour by hour (the folder of the files), where the compiled parser takes
    them: a late file costs one hour, and windows share the hours.
    """

    def fresh(into: Path) -> Decoded:
        if isinstance(source, Captured) and label is None:
            try:
                return joined(decode_hours(cache, source, answers=answers, kept=_cached, progress=progress), into)
            except NotByHour:
                pass
        return decode(source, into, answers=answers, label=label, progress=progress)

    return _cached(cache / source_fingerprint(source, answers, label), fresh, source.paths)


def weighed_cached(cache: Path, decoded: Decoded, kept: Mapping[datetime, float], sources: Sequence[Path]) -> Decoded:
    """The rows with the weight of those that capture lost of their hour; without losses, as they are.

    Args:
        kept: by hour, the share of its chosen requests that was not lost.
        sources: the files that all this was decoded from.
    """
    if not kept or not knows_times(decoded.table):
        return decoded
    found: list[Path] = []
    for path in decoded.table.paths:
        told = repr((str(path), sorted((hour.isoformat(), share) for hour, share in kept.items())))
        folder = cache / f"w{hashlib.sha256(told.encode(errors='surrogateescape')).hexdigest()[:32]}"
        fresh = partial(weighed, path, decoded.table.columns, kept)
        found += _cached(folder, fresh, sources).table.paths
    return replace(decoded, table=replace(decoded.table, paths=tuple(found)))


def decode_labels_cached(
    cache: Path, paths: tuple[Path, ...], *, path: str | None = None, progress: Progress | None = None
) -> Decoded:
    """`decode_labels`, or what it gave for the same files before.

    Each day of uploads (the folder above the hours) is decoded for itself: a new label costs one day, not all of them,
    and the windows share the days. Of a day there may be several states; `pruned` removes those that are superseded.
    """

    def decoded(of: tuple[Path, ...], folder: Path) -> Decoded:
        return _cached(folder, lambda into: decode_labels(of, into, path=path, progress=progress), of)

    days = [(day, tuple(files)) for day, files in groupby(paths, lambda file: file.parent.parent)]
    if len(days) < 2:
        return decoded(paths, cache / labels_fingerprint(paths, path))
    found = [decoded(files, _day(cache, day, path) / labels_fingerprint(files, path)) for day, files in days]
    return _cached(cache / f"j{labels_fingerprint(paths, path)}", lambda into: joined_labels(found, into), paths)


def _day(cache: Path, day: Path, path: str | None) -> Path:
    return cache / LABEL_DAYS / hashlib.sha256(f"{day}\n{path}".encode(errors="surrogateescape")).hexdigest()[:32]


def _cached(folder: Path, fresh: Callable[[Path], Decoded], sources: Sequence[Path]) -> Decoded:
    known = _known(folder)
    if known is not None:
        return known
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that the renaming stays within one file system.
    begun = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        _save(fresh(begun), begun, sources)
        try:
            begun.rename(folder)
        except OSError:
            # Another process was faster, and its result is as good; a folder without an account is what a crash left.
            if _known(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)
                begun.rename(folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return _load(folder)


def _save(decoded: Decoded, folder: Path, sources: Sequence[Path]) -> None:
    account = {
        # By these it is found again when a source must be forgotten.
        "sources": [str(path) for path in sources],
        "paths": [_relative(path, folder) for path in decoded.table.paths],
        "sizes": _sizes(decoded),
        "columns": decoded.table.columns,
        "rows": decoded.table.rows,
        "intake": asdict(decoded.intake),
        "dead_letters": None if decoded.dead_letters is None else _relative(decoded.dead_letters, folder),
    }
    # Nothing is flushed: what a power cut leaves empty or short does not fit its account, and is decoded anew.
    (folder / ACCOUNT).write_text(json.dumps(account), encoding="utf-8")


def _relative(path: Path, folder: Path) -> str:
    """Files of the cache by their name; Parquet datasets stay where they are, by their whole path."""
    return path.name if path.parent == folder else str(path.absolute())


def _sizes(decoded: Decoded) -> list[int]:
    files = (*decoded.table.paths, *(() if decoded.dead_letters is None else (decoded.dead_letters,)))
    return [file.stat().st_size for file in files]


def _known(folder: Path) -> Decoded | None:
    """What lies in the folder, marked as used just now; None where nothing whole does: it can be decoded anew."""
    try:
        os.utime(folder / ACCOUNT)
        known = _load(folder)
        for other in {path.parent for path in known.table.paths} - {folder}:
            with suppress(FileNotFoundError):
                os.utime(other / ACCOUNT)  # an hour of this result
        return known
    except (FileNotFoundError, Corrupt):
        return None


def _load(folder: Path) -> Decoded:
    try:
        account = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
        letters = account["dead_letters"]
        table = Table(tuple(folder / name for name in account["paths"]), tuple(account["columns"]), account["rows"])
        found = Decoded(table, Intake(**account["intake"]), None if letters is None else folder / letters)
        if account["sizes"] != _sizes(found):
            raise ValueError("its files have other sizes")
        return found
    except (ValueError, KeyError, TypeError) as why:
        raise Corrupt(f"{str(folder / ACCOUNT)!r} is not the account of a decoded source; remove its folder") from why


def pruned(cache: Path, keep: timedelta) -> int:
    """Remove what nobody has used for so long, looking at most once an hour; says how many results went.

    Any number of processes may share the cache: what is used is marked as used, and what was removed a moment too
    early is decoded again. The file system's own clock counts, for that is what the marks are made with.
    """
    mark = cache / ".pruned"
    try:
        before = mark.stat().st_mtime if mark.exists() else 0.0
        mark.touch()
        now = mark.stat().st_mtime
    except OSError:  # there is no cache yet, or it cannot be written
        return 0
    if now - before < _EVERY.total_seconds():
        return 0
    gone = [folder for folder in cache.iterdir() if _old(folder / ACCOUNT, now, keep)]
    for day in (cache / LABEL_DAYS).glob("*"):
        states = sorted(day.iterdir(), key=_used)
        gone += [s for s in states[:-1] if _old(s / ACCOUNT, now, min(keep, _SUPERSEDED))]
        gone += [s for s in states[-1:] if _old(s / ACCOUNT, now, keep)]
    for folder in gone:
        removed(folder)
        if folder.parent != cache:
            with suppress(OSError):
                folder.parent.rmdir()  # a day without any state left
    for broken in (*cache.glob(".*-*"), *(cache / LABEL_DAYS).glob("*/.*-*")):
        if _old(broken, now, _BROKEN_OFF):
            shutil.rmtree(broken, ignore_errors=True)
    prune_mirror(cache / MIRROR, now, keep)
    for note in (cache / NOTES).glob("*/*"):
        if _old(note, now, keep):
            note.unlink(missing_ok=True)
    return len(gone)


def removed(folder: Path) -> None:
    """Take the folder of a result away whole: nobody finds an account whose rows are half gone."""
    away = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        folder.rename(away)
    except OSError:  # another process was faster
        return
    shutil.rmtree(away, ignore_errors=True)


def _used(folder: Path) -> float:
    try:
        return (folder / ACCOUNT).stat().st_mtime
    except OSError:
        return 0.0


def _old(path: Path, now: float, keep: timedelta) -> bool:
    try:
        return now - path.stat().st_mtime > keep.total_seconds()
    except OSError:
        return False
