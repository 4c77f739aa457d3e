"""Captured records through the compiled parser: typed columns from the bytes, in one pass where the guess was right.

What cannot be known before all has been read (the width of a payload, the types, which events are there twice) is
guessed from the beginnings of some files. After a pass what was found is compared with the guess; where they differ,
there is another pass. Lines that the parser hands back go the way of all records, and their rows take their place.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset import lines as reading
from driftline.dataset.blocks import Block, BlockReader
from driftline.dataset.captured_rows import Decoder, Rows
from driftline.dataset.compiled import PREFIX, SIDES, Asked, Parsed, compiled, hash_of, parse
from driftline.dataset.dataset import Answers, Captured, Decoded, Intake, Progress, Side
from driftline.dataset.decode_json import is_array, not_blank
from driftline.dataset.failed import errors_of
from driftline.dataset.guess import Agreed, Facts, Guess, guessed, joined_spellings, planned, threads
from driftline.dataset.lines import Lines, files_below
from driftline.dataset.manifests import told_apart
from driftline.dataset.records import Records, told
from driftline.dataset.spelled import Spellings, spellings_of, type_of
from driftline.dataset.tables import ROWS, Layout, RowWriter, Work, accounted, schema_of, working
from driftline.errors import InputError
from driftline.schema import ID, ORDINAL, PROBABILITY, TIME

_PASSES: Final = 8
_EVENTS: Final = 1 << 23
"""Hashes of events that are sorted at a time."""
_TWICE: Final = 1 << 20


class _Otherwise(Exception):  # noqa: N818  it is not an error
    """The records are of a form for which this is not the way."""


def decode_compiled(
    source: Captured, into: Path, *, answers: Answers | None, progress: Progress | None, agreed: Agreed | None = None
) -> tuple[Decoded, Facts] | None:
    """Decode captured records; None where they must be decoded step by step.

    That is so without a compiler, with a preprocess script, manifests, ground truth, JSON payloads or declared shapes
    other than CSV, and where more than a quarter of the lines would be handed back.
    """
    if not compiled() or source.preprocess is not None or set(source.shapes.values()) - {"csv"}:
        return None
    manifests, files = told_apart(files_below(source.paths, *reading.ENDINGS["captured"]))
    if manifests or not files or any(map(is_array, files)):
        return None
    guess = guessed(source, files) if agreed is None else Guess(agreed.widths, agreed.spellings, agreed.sampled)
    try:
        for _ in range(_PASSES):
            with working(into, progress) as work:
                one = _Pass(source, answers, files, work, guess, agreed is not None)
                decoded, guess = one.through()
                if decoded is not None:
                    return decoded, one.facts()
                if agreed is not None:  # only which events are there twice is for this hour to say
                    guess = Guess(agreed.widths, agreed.spellings, agreed.sampled, guess.suspects)
    except _Otherwise:
        pass
    return None


@dataclass(slots=True)
class _Pass:
    """One pass over the files, with a guess."""

    source: Captured
    answers: Answers | None
    files: tuple[Path, ...]
    work: Work
    guess: Guess
    fixed: bool
    """Whether the guess is what was agreed upon, and may be more than what is found here."""
    records: Records = field(init=False)
    asked: Asked = field(init=False)
    layout: Layout = field(init=False)
    decoder: Decoder = field(init=False)
    spellings: dict[str, Spellings] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    sides: Counter[Side] = field(default_factory=Counter)
    sampled: bool = False
    total: int = 0
    done: int = 0
    """Bytes that have been read."""
    spare: list[bytearray] = field(default_factory=list)
    rows: int = 0
    back: int = 0
    events: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    first: int = 2**63 - 1
    last: int = -(2**63)
    wrong: bool = False
    """Whether a value was found that the guessed type cannot hold: nothing more is written."""

    def __post_init__(self) -> None:
        self.records = Records(self.files, self.work.folder / "records.parquet")
        self.total = reading.size_of(self.files)
        guess, scratch = self.guess, self.work.scratch
        try:
            needed, self.layout = planned(self.source, self.answers, guess, scratch)
        except InputError as why:  # the guess may be wrong; who decodes step by step knows
            raise _Otherwise from why
        wanted = {*self.layout.columns.values(), *self.layout.derived.values()}
        types = {name: type_of(own) for name, own in scratch.spellings.items() if name in wanted}
        self.asked = Asked(guess.widths, types, needed, self.source.window, guess.suspects)
        self.decoder = Decoder(self.work, self.records, None, needed, guess.widths, self.source.shapes)

    def through(self) -> tuple[Decoded | None, Guess]:
        """What was decoded where the guess was right, and what should have been guessed."""
        events = self.work.folder / "events"
        with ExitStack() as stack:
            writer = stack.enter_context(RowWriter(self.work.into / ROWS, self.work.scratch, self.layout))
            file = stack.enter_context(events.open("wb"))
            pool = stack.enter_context(ThreadPoolExecutor(threads()))
            for group, parsed in self._parsed(pool):
                batch, hashes = self._rows(group, parsed)
                hashes.tofile(file)
                for block in group:
                    block.release(self.spare)
                self.rows += batch.num_rows
                if not self.wrong:
                    writer.add(batch)
                elif self.done * 4 < self.total:  # quicker than to learn from all that follows
                    return None, replace(self.guess, spellings=joined_spellings(self.guess.spellings, self.spellings))
        found = self._found(_twice(events))
        if self._right(found):
            self.events = np.fromfile(events, np.uint64) if self.source.window is not None else self.events
            counts = Intake(
                files=len(self.files), records=self.records.records, outside=self.records.outside,
                duplicates=self.records.duplicates, answer_weight=writer.answer_weight,
                **errors_of(self.records.failed),
            )  # fmt: skip
            return accounted(self.work, self.layout, counts, self.rows), found
        return None, found

    def _parsed(self, pool: ThreadPoolExecutor) -> Iterator[tuple[list[Block], Parsed]]:
        """All groups of blocks in order, some of them parsed ahead."""
        ahead: deque[tuple[list[Block], Future[Parsed]]] = deque()
        for group in self._groups():
            ahead.append((group, pool.submit(_parse, group, self.asked)))
            if len(ahead) > threads():
                blocks, future = ahead.popleft()
                yield blocks, future.result()
        for blocks, future in ahead:
            yield blocks, future.result()

    def _groups(self) -> Iterator[list[Block]]:
        """Blocks of lines; those of small files together."""
        waiting: list[Block] = []
        before = 0
        for index, path in enumerate(self.files):
            for block in BlockReader(index, path, self.work.dead, self.spare).batches():
                self.done = before + min(
                    block.offset, reading.size_of([path])
                )  # columns become more bytes than they are
                if waiting and block.length >= reading.BLOCK // 2:  # not worth to be copied together with small ones
                    yield waiting
                    waiting = []
                waiting.append(block)
                if sum(each.length for each in waiting) >= reading.BLOCK // 2:
                    yield waiting
                    waiting = []
            self.done = before = before + reading.size_of([path])
            if self.work.progress is not None:
                self.work.progress(self.done, self.total, "bytes")
        if waiting:
            yield waiting

    def _rows(self, group: list[Block], parsed: Parsed) -> tuple[pa.RecordBatch, npt.NDArray[np.uint64]]:
        """The rows of the group, in scratch columns, and the hashes of its events."""
        if len(group) == 1:
            group[0].count = parsed.lines
        self.records.records += len(parsed.events) + parsed.outside + len(parsed.failed)
        if len(parsed.failed):
            time, status, probability = parsed.failed.T
            self.records.failed.add(status, probability.copy().view(np.float64), time)
        self.records.outside += parsed.outside
        self.sampled |= parsed.sampled
        self.sides.update(parsed.sides)
        for side, count in parsed.sides.items():
            if count:
                self.records.widths[side][self.asked.widths[side]] += count
        self._learn(parsed.spelled)
        self._spans(parsed.time)
        columns = {**parsed.columns, ID: parsed.id, ORDINAL: parsed.ordinal, TIME: parsed.time}
        columns[PROBABILITY] = parsed.probability
        batch = pa.RecordBatch.from_pydict(columns)
        if not len(parsed.back):
            return batch, parsed.events
        lines, starts = _handed_back(group, parsed.back)
        self.back += len(lines)
        if self.back > 1000 and self.back * 4 > self.records.records + self.back:
            raise _Otherwise
        others, places, hashes = self._step_by_step(lines)
        if len(places) and not self.wrong:
            own = _places(group, starts, parsed.line)
            order = np.argsort(np.concatenate([own, places]), kind="stable")
            both = pa.Table.from_batches([batch, others.select(batch.schema.names)]).combine_chunks()
            batch = both.take(pa.array(order)).combine_chunks().to_batches()[0]
        return batch, np.concatenate([parsed.events, hashes])

    def _spans(self, times: pa.Array) -> None:
        ends = pc.min_max(times.cast(pa.int64()))
        if ends["min"].is_valid:
            self.first, self.last = min(self.first, ends["min"].as_py()), max(self.last, ends["max"].as_py())

    def _learn(self, spelled: Mapping[str, Spellings]) -> None:
        self.spellings = joined_spellings(self.spellings, spelled)
        for name, kind in self.asked.types.items():
            held = self.guess.spellings.get(name, frozenset())
            if kind != pa.string() and self.spellings.get(name, frozenset()) - held:
                self.wrong = True
                self.asked = replace(self.asked, types={})
                break

    def _step_by_step(self, lines: Lines) -> tuple[pa.RecordBatch, npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """The rows of lines that were handed back, and the place of each; the hashes of their events."""
        self.records.records += len(lines)
        batch = told(lines, self.source, self.records, self.work)
        if self.records.labelled:
            raise _Otherwise
        self._spans(batch.column("time"))
        batch, hashes = self._once(batch)
        rows = self.decoder.rows(batch)
        names = {name for name, _ in self._columns()}
        if not names >= set(rows.columns):
            raise _Otherwise
        self._learn({name: spellings_of(cells.text) for name, cells in rows.columns.items()})
        self.sampled |= PROBABILITY in rows.fixed
        places = _place(batch.column("file").to_numpy(), batch.column("line").to_numpy())
        return self._typed(rows), np.repeat(places, rows.times), hashes

    def _columns(self) -> Iterator[tuple[str, Side]]:
        for side in self.asked.needed:
            for i in range(self.asked.widths[side]):
                yield f"{PREFIX[side]}{i}", side

    def _typed(self, rows: Rows) -> pa.RecordBatch:
        count = int(rows.times.sum())
        columns: dict[str, pa.Array] = {}
        for name, kind in self.asked.types.items():
            columns[name] = rows.columns[name].text.cast(kind) if name in rows.columns else pa.nulls(count, kind)
        columns |= {name: rows.fixed[name] for name in (ID, ORDINAL, TIME)}
        one = pa.array(np.ones(count))
        return pa.RecordBatch.from_pydict(columns | {PROBABILITY: rows.fixed.get(PROBABILITY, one)})

    def _once(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, npt.NDArray[np.uint64]]:
        """The records without those whose event is known to have been there before; the hashes of the other events."""
        events: list[str | None] = batch.column("event_id").to_pylist()
        hashes = np.array([hash_of(event) if event is not None else 0 for event in events], np.uint64)
        there = np.array([event is not None for event in events], np.bool_)
        if self.guess.suspects is None:
            return batch, hashes[there]
        keep = np.ones(len(events), np.bool_)
        known = there & np.isin(hashes, self.guess.suspects)
        for at in np.flatnonzero(known):
            event = events[at]
            assert event is not None  # noqa: S101  it has a hash
            keep[at] = event not in self.seen
            self.seen.add(event)
        self.records.duplicates += int(np.count_nonzero(~keep))
        return batch.filter(pa.array(keep)), hashes[there & ~known]

    def _found(self, twice: npt.NDArray[np.uint64]) -> Guess:
        widths = {side: self.records.width(side) for side in SIDES}
        known = self.guess.suspects
        suspects = twice if known is None else np.union1d(known, twice) if len(twice) else known
        if len(suspects) > _TWICE or not self.rows:
            raise _Otherwise
        if not self.fixed and any(self.asked.widths[side] and not self.sides[side] for side in self.asked.needed):
            raise _Otherwise  # whether its columns exist is not for this pass to say
        return Guess(widths, self.spellings, self.sampled, suspects if len(suspects) else None)

    def _right(self, found: Guess) -> bool:
        guess, scratch = self.guess, self.work.scratch
        if self.wrong:
            return False
        if (0 if guess.suspects is None else len(guess.suspects)) != (
            0 if found.suspects is None else len(found.suspects)
        ):
            return False
        if self.fixed:
            more = {name for name, own in found.spellings.items() if own - guess.spellings.get(name, frozenset())}
            if more or (found.sampled and not guess.sampled):
                raise _Otherwise  # the files have changed since it was agreed
            return True
        if guess.widths != found.widths or guess.sampled != found.sampled:
            return False
        written, _ = schema_of(scratch, self.layout)
        scratch.spellings = {name: found.spellings.get(name, frozenset()) for name in scratch.spellings}
        right, _ = schema_of(scratch, self.layout)
        return bool(written == right)

    def facts(self) -> Facts:
        """What was learned of the records."""
        known = self.guess.suspects
        events = np.sort(self.events if known is None else np.concatenate([self.events, known]))
        return Facts(
            {side: self.records.widths[side] for side in SIDES},
            self.spellings,
            self.sampled,
            min(self.first, self.records.failed.first),
            max(self.last, self.records.failed.last),
            events,
        )


def _parse(group: list[Block], asked: Asked) -> Parsed:
    if len(group) == 1:
        return parse(group[0].data, group[0].length, asked)
    data = b"".join(block.data[: block.length] for block in group)
    return parse(data, len(data), asked)


def _handed_back(group: list[Block], back: npt.NDArray[np.int64]) -> tuple[Lines, npt.NDArray[np.int64]]:
    """The lines that are handed back, and the number in the group of the first line of each block."""
    bytes_before = np.cumsum([0, *(block.length for block in group)])
    lines_before = np.cumsum([0, *(block.count for block in group[:-1])])
    found: list[Lines] = []
    for at, block in enumerate(group):
        first, last = np.searchsorted(back[:, 0], bytes_before[at : at + 2])
        if last > first:
            start, end, number = back[first:last].T
            found.append(block.lines(start - bytes_before[at], end - bytes_before[at], number - lines_before[at]))
    return not_blank(reading.together(found)), lines_before


def _places(
    group: list[Block], lines_before: npt.NDArray[np.int64], line: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    block = np.searchsorted(lines_before, line, side="right") - 1
    files = np.array([block.index for block in group], np.int64)
    starts = np.array([block.line for block in group], np.int64)
    return _place(files[block], starts[block] + line - lines_before[block])


def _place(file: npt.NDArray[Any], line: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A number by which lines are in order."""
    return (file.astype(np.int64) << 40) + line


def _twice(events: Path) -> npt.NDArray[np.uint64]:
    """The hashes that are there more than once; memory does not grow with their number."""
    count = events.stat().st_size // 8
    parts = max(1, -(-count // _EVENTS))
    found: list[npt.NDArray[np.uint64]] = []
    for part in range(parts):
        pieces: list[npt.NDArray[np.uint64]] = []
        with events.open("rb") as file:
            while len(piece := np.fromfile(file, np.uint64, 1 << 20)):
                pieces.append(piece if parts == 1 else piece[piece % np.uint64(parts) == part])
        hashes = np.sort(np.concatenate(pieces)) if pieces else np.empty(0, np.uint64)
        found.append(np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))
    return np.sort(np.concatenate(found))
