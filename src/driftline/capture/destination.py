"""Where records go, and on which terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from driftline.capture.buffer import complain
from driftline.capture.folder import is_held, writer_folders
from driftline.capture.record import ContentTypes
from driftline.capture.spool import Spool, located, spool_folder

if TYPE_CHECKING:
    from pathlib import Path

    from driftline.capture.in_force import InForce
    from driftline.capture.watch import Watch
    from driftline.objects.store import ObjectStore


class Destination(Struct, frozen=True):
    """Where the records go, how they are encoded, and when a segment is closed."""

    store: ObjectStore
    endpoint: str
    """The capture's own endpoint: the spool has its name."""
    in_force: InForce
    content_types: ContentTypes
    roll_after_s: float
    max_file_bytes: int
    """A segment is closed when it has grown to this; twice as much may wait in memory where there is no spool."""
    spool: Spool | None = None
    """None: what waits for the store, waits in memory."""
    format: str = "jsonl"
    """Name of the format of the objects."""
    watch: Watch | None = None
    """Of the file that declares the capture."""

    def spool_folder(self) -> Path | None:
        """Where the writers of this endpoint and store spool; None where there is no such place."""
        if self.spool is None:
            return None
        try:
            return spool_folder(self.spool, self.endpoint, located(self.store))
        except RuntimeError as why:
            complain("there is no folder for the spool: %s", why)
            return None

    def left(self) -> bool:
        """Whether a dead process has left something in the spool."""
        folder = self.spool_folder()
        return folder is not None and not all(map(is_held, writer_folders(folder)))
