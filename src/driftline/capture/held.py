"""What writers on this machine hold: read beside them while they live, and what they left when they died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from driftline.capture import cells, state
from driftline.capture.folder import IN_FORCE, JOURNAL, Note, is_held, writer_folders
from driftline.capture.frames import unframe
from driftline.capture.in_force import InForce
from driftline.capture.layout import captured_at
from driftline.capture.segments import found
from driftline.capture.spool import SEGMENT, spool_folders
from driftline.capture.tallies import Counted, Tallies
from driftline.errors import DriftlineError


class Waiting(NamedTuple):
    """One file of records that are not in the store."""

    endpoint: str
    variant: str
    size: int
    since: datetime
    """The time of its first record."""


class Held(NamedTuple):
    """One writer's folder."""

    writer: str
    spool: str
    """The name of the spool's folder: the capture's own endpoint and a mark of the store."""
    alive: bool
    state: state.State | None
    waiting: tuple[Waiting, ...]
    counted: tuple[Counted, ...]
    in_force: InForce


def held(root: Path, location: str) -> Iterator[Held]:
    """What all writers into the store at this location hold, in the spools below `root`. Nothing is changed."""
    for spool in spool_folders(root, location):
        for folder in writer_folders(spool):
            with suppress(OSError):  # it is uploaded, and goes as it is read
                yield _read(folder)


def _read(folder: Path) -> Held:
    alive = is_held(folder)
    tallies, done = Tallies(), set[str | None]()
    with suppress(msgspec.MsgspecError):
        for line in unframe(_bytes(folder / JOURNAL)).lines:
            note = msgspec.json.decode(line, type=Note)
            tallies.restore(note.counted)
            done.add(note.done)
    with suppress(ValueError):  # a cell that is being written just now
        for counted in cells.left(folder.name):
            tallies.rose(counted)
    return Held(
        folder.name,
        folder.parent.name,
        alive,
        state.noted(folder),
        tuple(each for file in sorted(folder.glob(f"*{SEGMENT}")) if file.name not in done for each in _waiting(file)),
        tuple(tallies.open_counts()),
        _in_force(folder),
    )


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # nothing was counted yet
        return b""


def _waiting(file: Path) -> Iterator[Waiting]:
    with suppress(
        OSError, DriftlineError, msgspec.MsgspecError
    ):  # sent meanwhile; or damaged, which its finisher tells
        segment = found(file, 0.0)
        if segment is not None:
            endpoint, variant, _ = segment.place
            yield Waiting(endpoint, variant, segment.size, captured_at(segment.head.key))


def _in_force(folder: Path) -> InForce:
    try:
        return InForce.of(msgspec.json.decode((folder / IN_FORCE).read_bytes(), type=dict[str, Any]))
    except (OSError, KeyError, TypeError, ValueError, DriftlineError):  # not noted yet, or damaged
        return InForce()
