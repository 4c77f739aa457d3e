"""What was accepted, held against what is in the store: every request is a record or a counted loss, none is both."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.capture.columnar import record_of
from driftline.capture.counters import Counters
from driftline.capture.folder import is_held, writer_folders
from driftline.capture.frames import unframe
from driftline.capture.record import Record, decode
from driftline.capture.sampler import chosen
from driftline.capture.spool import SEGMENT
from driftline.objects.places import store_at
from driftline.objects.store import ObjectStore

COUNTS = struct.Struct("=QQQ")
"""Of a thread: requests begun, requests whose capture has returned, and how long the longest took, in ns."""
_CELLS = Path("/dev/shm")


class Life(msgspec.Struct):
    """One process (and its children): what it captures into, how, and how it is hurt from within."""

    number: int
    store: str
    spool: str
    notes: str
    threads: int = 1
    lanes: int = 3
    forks: int = 0
    requests: int = 1 << 62
    """Of each thread."""
    rate: float = 500.0
    """Requests a second of each thread; 0: as fast as it can."""
    seconds: float = 0.0
    """It closes its capture after so long; 0: after the last request."""
    stays: bool = False
    """It captures nothing more in the end, and goes on until it is stopped."""
    body: int = 200
    jumps: list[float] = []
    """Seconds that the clock of one request after another is wrong by; none: they come by the clock of the capture."""
    starved_s: float = 0.0
    """After so long, and for so long, the process has no file descriptor left."""
    sampling: float = 1.0
    format: Literal["jsonl", "parquet"] = "jsonl"
    roll_after_s: float = 0.1
    max_file_bytes: int = 64 << 20
    queue_size: int = 10_000
    spool_bytes: int = 4 << 30
    free_bytes: int = 0
    close_s: float = 5.0
    trap: tuple[str, int, int] | None = None
    """A file of ours, a line of it, and how often it may be reached: then the process is killed."""

    @property
    def slots(self) -> int:
        """Threads of all its processes."""
        return self.threads * (1 + self.forks)

    def accepted(self) -> list[tuple[int, int]]:
        """By thread: requests that were handed over for certain, and at most."""
        data = Path(self.notes).read_bytes()
        counts = [COUNTS.unpack_from(data, slot * COUNTS.size) for slot in range(self.slots)]
        return [(returned, begun) for begun, returned, _ in counts]

    def longest_ms(self) -> float:
        """How long the slowest of its requests waited for capture."""
        data = Path(self.notes).read_bytes()
        return max(longest for _, _, longest in COUNTS.iter_unpack(data)) / 1e6


def request_id(life: int, slot: int, number: int) -> str:
    """The inference id of a request: it says who logged it, and as which of its requests."""
    return f"{life}-{slot}-{number}"


def bodies(named: str, most: int) -> tuple[bytes, bytes]:
    """The request and the answer with this id: whoever reads them can tell whether they are whole."""
    digest = zlib.crc32(named.encode())
    request = f"{named},".encode() + b"x" * (digest % most)
    return request, b"%d" % zlib.crc32(request)


@dataclass
class Ledger:
    """Everything that is known of one suite: its lives, and the ids that were ever seen whole in the spool."""

    store: str
    spool: Path
    lives: list[Life] = field(default_factory=list)
    spooled: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def life(self, folder: Path, number: int, **how: object) -> Life:
        """A new life, with room for its notes."""
        life = msgspec.convert(
            {"number": number, "store": self.store, "spool": str(self.spool), "notes": str(folder / f"life-{number}")}
            | how,
            Life,
        )
        Path(life.notes).write_bytes(bytes(COUNTS.size * life.slots))
        self.lives.append(life)
        return life

    def look(self) -> None:
        """Remember what is in the spool now: it must be in the store in the end."""
        for writer in self.left():
            self.writers.add(writer.name)
            with suppress(FileNotFoundError):  # uploaded meanwhile
                for name in os.listdir(writer):  # noqa: PTH208
                    with suppress(FileNotFoundError):
                        lines = unframe((writer / name).read_bytes()).lines[1:] if name.endswith(SEGMENT) else []
                        self.spooled.update(decode(line).inference_id or "" for line in lines)

    def left(self) -> list[Path]:
        """The folders of writers that are still in the spool."""
        return [writer for folder in self.spool.glob("*") for writer in writer_folders(folder)]

    def settled(self) -> bool:
        """Whether nothing is left in the spool but the folder of one that lives."""
        writers = self.left()
        return len(writers) <= 1 and all(map(is_held, writers))

    def check(self, *reasons: str) -> dict[str, object]:
        """Hold the store against what was accepted.

        Args:
            reasons: those that losses may have.
        """
        store = store_at(self.store)
        keys = [entry.key for entry in store.list("captured/")]
        ids, by_hour = self._records(store, [key for key in keys if "/_counters/" not in key])
        total = self._counts(store, [key for key in keys if "/_counters/" in key], by_hour)
        self._held_against(ids, total)
        lost = self.spooled - ids.keys()
        self._that(not lost, f"{len(lost)} requests were in the spool and are not in the store: {sorted(lost)[:5]}")
        strange = total.dropped.keys() - set(reasons)
        self._that(not strange, f"losses for reasons that there were none for: {sorted(strange)}")
        self._tidy(store)
        return {
            "accepted": total.sampled,
            "written": total.written,
            "lost": dict(total.dropped),
            "objects": len(keys),
            "longest_ms": round(max(life.longest_ms() for life in self.lives), 1),
            "faults": self.faults,
        }

    def _that(self, true: bool, otherwise: str) -> None:
        if not true:
            self.faults.append(otherwise)

    def _held_against(self, ids: Counter[str], total: Counters) -> None:
        twice = [each for each, times in ids.items() if times > 1]
        self._that(not twice, f"{len(twice)} requests are there twice: {twice[:5]}")
        surely = most = 0
        for life in self.lives:
            for slot, (returned, begun) in enumerate(life.accepted()):
                named = (request_id(life.number, slot, number) for number in range(begun))
                mine = [chosen(each, life.sampling) for each in named] if life.sampling < 1 else [True] * begun
                surely += sum(mine[:returned])
                most += sum(mine)
        self._that(
            surely <= total.sampled <= most, f"{surely} to {most} requests were accepted, but {total.sampled} counted"
        )
        self._that(total.written == sum(ids.values()), f"{total.written} counted as written, {sum(ids.values())} are")

    def _records(self, store: ObjectStore, keys: list[str]) -> tuple[Counter[str], Counter[str]]:
        ids: Counter[str] = Counter()
        by_hour: Counter[str] = Counter()
        accepted = {(life.number, slot): n for life in self.lives for slot, (_, n) in enumerate(life.accepted())}
        most = {life.number: life.body for life in self.lives}
        for key in keys:
            place = key.rpartition("/")[0]
            for record in _read(key, store.get(key)):
                named = record.inference_id or ""
                life, slot, number = map(int, named.split("-"))
                self._that(number < accepted[life, slot], f"{named} was never logged")
                whole = record.input is not None and record.output is not None
                sides = (record.input.body, record.output.body) if record.input and record.output else None
                self._that(whole and sides == bodies(named, most[life]), f"{named} in {key} has other bodies")
                self._that(
                    f"{record.inferred_at:%Y/%m/%d/%H}" == place[-13:], f"{named} of {record.inferred_at} lies in {key}"
                )
                ids[named] += 1
                by_hour[place] += 1
        return ids, by_hour

    def _counts(self, store: ObjectStore, keys: list[str], by_hour: Counter[str]) -> Counters:
        total, written = Counters(), Counter[str]()
        for key in keys:
            counted = Counters.decode(store.get(key))
            self.writers.add(key.rpartition("/")[2].removesuffix(".json")[:36])
            self._that(counted.pending == 0, f"{counted.pending} pending in {key}")
            self._that(counted.seen >= counted.sampled, f"more sampled than seen in {key}")
            written[key.rpartition("/")[0].replace("/_counters", "")] += counted.written
            total = total.merge(counted)
        uneven = {place: (written[place], by_hour[place]) for place in by_hour.keys() | written.keys()}
        uneven = {place: pair for place, pair in uneven.items() if pair[0] != pair[1]}
        self._that(not uneven, f"counted as written and found differ: {uneven}")
        return total

    def _tidy(self, store: ObjectStore) -> None:
        """Nothing is left where it would pile up."""
        left = [path for folder in self.spool.glob("*") for path in folder.iterdir()]
        self._that(not left, f"left in the spool: {left[:5]}")
        cells = [each for each in self.writers if (_CELLS / f"driftline-{each}").exists()]
        self._that(not cells, f"left in the shared memory: {cells[:5]}")
        if "://" not in self.store:
            hidden = [path for path in Path(self.store).rglob(".*") if path.is_file()]
            self._that(not hidden, f"{len(hidden)} unfinished files are left in the store: {hidden[:3]}")


def _read(key: str, data: bytes) -> Iterator[Record]:
    """The records of an object; whatever is not whole raises."""
    if key.endswith(".parquet"):
        yield from map(record_of, pq.read_table(pa.BufferReader(data)).to_pylist())
        return
    assert data.endswith(b"\n"), key
    yield from map(decode, data.splitlines())


def summary(told: dict[str, object]) -> str:
    """One line of what came out."""
    return json.dumps(told, default=str)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for one suite."""
    return tempfile.TemporaryDirectory(prefix="driftline-faults-", dir=os.environ.get("TMPDIR"))
