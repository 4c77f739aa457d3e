"""An object store keeps bytes by key: an object is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in a listing."""

    key: str
    size: int
    version: str
    """Changes whenever the object does."""


class ObjectStore(Protocol):
    """Bytes by key. Keys are relative, slash-separated, and never leave the root."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        """Write the object.

        Args:
            durable: whether it must outlive a power cut from the moment that this returns. If not, a power cut soon
                after may leave it empty, or as it was before: for what is soon written again, or can be made anew.

        Raises:
            Conflict: `if_absent`, and it is there.
            Unavailable: the store cannot take it now.
        """
        ...

    def put_file(self, key: str, path: Path, *, if_absent: bool = False, durable: bool = True) -> None:
        """`put` of what is in the file, which need not fit into memory and does not change meanwhile."""
        ...

    def enforces_conditions(self) -> bool:
        """Whether it refuses to replace an object where `if_absent`, as two write it at once too.

        A bucket is asked once, by writing a tiny object. Raises Unavailable.
        """
        ...

    def get(self, key: str) -> bytes:
        """The object. Raises NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """The objects whose key starts with `prefix`, in byte order of their keys."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below `prefix`, which is empty or ends with a slash, in byte order.

        In a file system there may be nothing in them.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        ...

    def location(self, key: str) -> str:
        """Where a reader of files (pyarrow, DuckDB) finds the object: a path, or a URL."""
        ...

    def endpoint(self) -> str:
        """Whose bucket it is where that does not follow from its URL; empty: nobody else can have one of this name."""
        ...

    def fetch(self, entries: Sequence[Entry], mirror: Path) -> tuple[Path, ...]:
        """The listed objects as local files: the store's own, or copies below `mirror`, whose paths end as the keys do.

        Raises:
            Unavailable: one has changed since it was listed, or vanished.
        """
        ...
