from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TypeAlias

import pytest

from driftline.capture.record import Record, decode
from driftline.objects.directory import Directory

ReadBack: TypeAlias = Callable[[], list[Record]]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 9, 59, 58, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


class Gated(Directory):
    """A folder that answers only while its gate is open, as a network store that hangs."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = Event()
        self.puts: list[str] = []

    def put(self, key: str, data: bytes, *, if_absent: bool = False, durable: bool = True) -> None:
        assert self.gate.wait(20)
        self.puts.append(key)
        super().put(key, data, if_absent=if_absent, durable=durable)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "objects")


@pytest.fixture
def gated(tmp_path: Path) -> Gated:
    return Gated(tmp_path / "objects")


@pytest.fixture
def read_back(tmp_path: Path) -> ReadBack:
    """All records in the store, by key, then by line."""
    store = Directory(tmp_path / "objects")

    def read() -> list[Record]:
        keys = [entry.key for entry in store.list("captured/") if entry.key.endswith(".jsonl")]
        return [decode(line) for key in keys for line in store.get(key).splitlines()]

    return read
