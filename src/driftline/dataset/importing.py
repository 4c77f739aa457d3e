"""Batches that were scored elsewhere become captured records: what a source is, and what each of its lines becomes."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

from driftline.capture.ids import storable
from driftline.capture.record import Payload, Record
from driftline.dataset.bento_logs import bento_columns, bento_files, is_bento_log, read_bento
from driftline.dataset.dataset import Progress
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.duck import borrowed
from driftline.dataset.imported import Importer, uuid_of
from driftline.dataset.lines import ENDINGS, files_below, size_of
from driftline.dataset.manifests import Pair, pairs_of, told_apart
from driftline.dataset.scored import Body, Scored, moment
from driftline.dataset.scored_files import ANSWER, Layout, paired, read_paired, read_scored
from driftline.dataset.spelled import Scratch
from driftline.dataset.tables import Work
from driftline.errors import InputError
from driftline.windows import stamp

BENTO: Final = "bentoml"
_TYPES: Final = {"CSV": "text/csv", "JSON": "application/json"}
_TOLD: Final = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """What is imported, and how it is to be read."""

    source: Path
    """A file or folder of scored lines, of batch transform's manifests, or of a BentoML monitor."""
    answers: Path | None = None
    """The answers, where they lie in files of their own: line n answers line n of the source."""
    layout: Layout = Layout()  # noqa: RUF009  it is frozen
    at: datetime | None = None
    """When it was scored, where no line says so."""
    zone: tzinfo = UTC
    """Where the clock stood of times that say no zone."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an import."""

    kind: str
    files: int
    records: int
    """Records that are in the store now and were not before."""
    already: int
    """Records that an earlier import had brought there."""
    bad: int
    """Lines that could not be read; they are in the dead-letter file."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    labels: int = 0
    objects: int = 0
    start: datetime | None = None
    """The first hour that got records."""
    end: datetime | None = None
    dead_letters: Path | None = None


def import_batch(
    batch: Batch, into: Importer, dead_letters: Path, *, ids: Path | None = None, progress: Progress | None = None
) -> Receipt:
    """Import all of the batch that is not in the store yet.

    Args:
        dead_letters: the file for lines that cannot be read; it is written only where there is one.
        ids: a CSV file to be written, with file, line and id of every record.

    Raises:
        InputError: the source cannot be read as it is described, or nothing says when it was scored.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftline-")))
        dead = stack.enter_context(DeadLetters(dead_letters))
        connection = stack.enter_context(borrowed(scratch))
        work = Work(scratch, dead, Scratch(scratch / "columns"), connection, None)
        source = _source(batch, work)
        told = _told(source.total, progress)
        noted = None if ids is None else csv.writer(stack.enter_context(ids.open("w", newline="", encoding="utf-8")))
        if noted is not None:
            noted.writerow(("file", "line", "id"))
        file: tuple[str, Path] | None = None
        for number, scored in enumerate(source.lines):
            if file != (scored.name, scored.file):
                into.end_file()
                file = (scored.name, scored.file)
            if scored.at in (None, "") and batch.at is None:
                raise InputError("nothing says when the batch was scored: name the column of the time, or say the time")
            try:
                record = _record(scored, batch)
            except InputError as why:
                text = "" if scored.input is None else scored.input.data
                dead.unread(scored.file, scored.line, str(why), text, scored.offset)
                continue
            into.add(record, scored.label)
            if noted is not None:
                noted.writerow((scored.name, scored.line, record.join_id))
            if number % _TOLD == 0:
                told(scored.done)
        into.close()
        told(source.total)
        return _receipt(source, into, dead)


@dataclass(frozen=True, slots=True)
class _Source:
    kind: str
    files: int
    total: int
    """Bytes."""
    lines: Iterator[Scored]


def _source(batch: Batch, work: Work) -> _Source:
    source, layout, dead = batch.source, batch.layout, work.dead
    if batch.answers is not None:
        return _of_pairs("pairs", list(paired(source, batch.answers, dead)), batch, work)
    if layout.format == BENTO or (layout.format is None and is_bento_log(source)):
        columns, target = bento_columns(source, dead)
        files = bento_files(source)
        return _Source(BENTO, len(files), _size(files), read_bento(files, columns, target, dead))
    manifests, _ = told_apart(files_below((source,), ".json"))
    if manifests:
        pairs = [(_relative(pair.files[-1], source), pair) for pair in pairs_of(manifests, dead)]
        return _of_pairs("manifests", pairs, batch, work)
    endings = ENDINGS[layout.format] if layout.format else tuple(e for known in ENDINGS.values() for e in known)
    if source.is_dir() and files_below((source,), ANSWER):
        return _of_pairs("pairs", list(paired(source, source, dead)), batch, work)
    files = tuple(
        (path.name if source.is_file() else path.relative_to(source).as_posix(), path)
        for path in files_below((source,), *endings)
    )
    if not files:
        raise InputError(f"there is no file in {str(source)!r} whose name ends in one of {', '.join(endings)}")
    return _Source("scored", len(files), _size(files), read_scored(files, layout, dead))


def _of_pairs(kind: str, pairs: Sequence[tuple[str, Pair]], batch: Batch, work: Work) -> _Source:
    files = [path for _, pair in pairs for path in pair.files]
    at = "" if batch.at is None else stamp(batch.at)
    return _Source(kind, len(files), size_of(files), read_paired(pairs, batch.layout, at, work))


def _size(files: Sequence[tuple[str, Path]]) -> int:
    return size_of(path for _, path in files)


def _relative(path: Path, source: Path) -> str:
    """The path as seen from the source, so that ids stay the same where both are moved."""
    return Path(os.path.relpath(path.absolute(), source.absolute())).as_posix()


def _told(total: int, progress: Progress | None) -> Callable[[int], None]:
    return (lambda done: None) if progress is None else (lambda done: progress(min(done, total), total, "bytes"))


def _record(scored: Scored, batch: Batch) -> Record:
    if scored.id == "":
        raise InputError("there is no id")
    at = moment(scored.at or batch.at or "", batch.zone)
    if at.microsecond:
        at = at.replace(microsecond=0)
    when = at.isoformat().encode()
    sides = [b"" if body is None else body.data.encode() for body in (scored.input, scored.output)]
    if scored.id is None:
        id_ = event_id = uuid_of(b"line", scored.name.encode(), b"%d" % scored.line, when, *sides)
    else:
        id_ = storable(scored.id)
        event_id = uuid_of(b"id", id_.encode(), when, *sides)
    return Record(
        event_id=event_id,
        inferred_at=at,
        input=_payload(scored.input),
        output=_payload(scored.output),
        inference_id=id_,
    )


def _payload(body: Body | None) -> Payload | None:
    return None if body is None else Payload(body.data, body.encoding, _TYPES[body.encoding])


def _receipt(source: _Source, into: Importer, dead: DeadLetters) -> Receipt:
    return Receipt(
        kind=source.kind,
        files=source.files,
        records=into.imported,
        already=into.already,
        bad=dead.count,
        reasons=dict(dead.reasons),
        labels=into.labels,
        objects=into.objects,
        start=min(into.hours, default=None),
        end=max(into.hours, default=None),
        dead_letters=dead.path if dead.count else None,
    )
