"""Files of scored lines: CSV, JSON lines and Parquet, with the answers beside the inputs or in files of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Raw, Struct

from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.lines import ENDINGS, Lines, csv_ends, files_below, plain_ends, read_lines, size_of
from driftline.dataset.manifests import Pair, read_pairs
from driftline.dataset.scored import Body, Columns, Cut, Scored, Taken, csv_cut, csv_header, json_cut, json_names
from driftline.dataset.tables import Work
from driftline.errors import InputError

ANSWER: Final = ".out"
"""What batch transform appends to the name of a file for the file of its answers."""
_BATCH: Final = 8192


@dataclass(frozen=True, slots=True)
class Layout:
    """How the files are written, and what their columns mean."""

    format: str | None = None
    """`csv`, `jsonl` or `parquet`; None: told by the names."""
    header: bool | None = None
    """Whether CSV has a header line. None: it has one, but not where the answers are in files of their own."""
    columns: Columns = Columns()  # noqa: RUF009  it is frozen


def format_of(path: Path, said: str | None) -> str:
    """`csv`, `jsonl` or `parquet`. Raises InputError where neither the caller nor the name says which."""
    name = path.name.lower().removesuffix(ANSWER)
    found = said or next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), None)
    if found is None:
        raise InputError(f"file {str(path)!r} is neither .csv, .jsonl nor .parquet by its name; say its --format")
    return found


def read_scored(files: Sequence[tuple[str, Path]], layout: Layout, dead: DeadLetters) -> Iterator[Scored]:
    """The lines of files that hold inputs and answers side by side; bad ones go to `dead`.

    Args:
        files: with their names in the source.
    """
    before = 0
    for name, path in files:
        reader = _READERS[format_of(path, layout.format)]
        for scored in reader(name, path, layout, dead):
            yield scored._replace(done=before + scored.done)
        before += size_of([path])


def paired(inputs: Path, answers: Path, dead: DeadLetters) -> Iterator[tuple[str, Pair]]:
    """Each input file below `inputs` with its file of answers: of the same name, or with `.out` after it.

    Raises:
        InputError: there is no file, or only one of the two is a folder.
    """
    if inputs.is_dir() != answers.is_dir():
        raise InputError(f"{str(inputs)!r} and {str(answers)!r} must both be files, or both folders")
    if inputs.is_file():
        yield inputs.name, Pair(inputs, answers, "")
        return
    left, right = (
        {path.relative_to(root).as_posix(): path for path in files_below((root,), "") if path.is_file()}
        for root in (inputs, answers)
    )
    if inputs == answers:
        left = {name: path for name, path in left.items() if not name.endswith(ANSWER)}
        right = {name: path for name, path in right.items() if name.endswith(ANSWER)}
    for name, path in left.items():
        other = right.pop(name + ANSWER, None) or right.pop(name, None)
        if other is None:
            dead.unread(path, 1, f"there is no file of its answers: {name + ANSWER} or {name}", name)
        else:
            yield name, Pair(path, other, "")
    for name, path in right.items():
        dead.unread(path, 1, "there is no input file for these answers", name)


def read_paired(pairs: Sequence[tuple[str, Pair]], layout: Layout, at: str, work: Work) -> Iterator[Scored]:
    """Line n of a file of inputs with line n of its answers, as batch transform writes them; bad ones go to the dead.

    The id and the time that batch transform appends to an answer, and an input that it joined to it, leave the answer.

    Args:
        at: when the batch was scored, where no line says so.
    """
    before = 0
    for name, pair in pairs:
        scale = size_of(pair.files) / max(1, size_of(pair.files[-1:]))
        sides: _Sides | None = None
        for lines in read_pairs((Pair(pair.input, pair.output, pair.hour or at),), pair.files, work):
            for line, offset, text in zip(lines.line.tolist(), lines.offset.tolist(), lines.text, strict=True):
                found = _decoder.decode(text.as_py())
                if sides is None:
                    sides = _Sides(pair, found, layout)
                    if sides.header:
                        continue
                try:
                    scored = sides.scored(found)
                except InputError as why:
                    work.dead.unread(pair.files[-1], line, str(why), text.as_py(), offset)
                    continue
                yield scored._replace(name=name, line=line, offset=offset, done=before + int(offset * scale))
        before += size_of(pair.files)


class _Side(Struct):
    data: str
    encoding: str


class _Data(Struct, rename="camel"):
    endpoint_input: _Side | None = None
    batch_transform_output: _Side | None = None


class _Event(Struct, rename="camel"):
    event_id: str | None = None
    inference_time: str | None = None


class _Pair(Struct, rename="camel"):
    """What `read_pairs` makes of two lines."""

    capture_data: _Data
    event_metadata: _Event


_decoder: Final = msgspec.json.Decoder(_Pair)


class _Sides:
    """Takes apart the two lines of a pair of files, whose first lines may be headers."""

    def __init__(self, pair: Pair, first: _Pair, layout: Layout) -> None:
        self.pair = pair
        self.header = False
        self._cuts: list[Cut | None] = []
        data, columns = first.capture_data, layout.columns
        for side, path in ((data.endpoint_input, pair.input), (data.batch_transform_output, pair.output)):
            if side is None or path is None:
                self._cuts.append(None)
                continue
            csv = side.encoding == "CSV"
            names = csv_header(side.data) if csv and layout.header else None
            self.header = self.header or names is not None
            if path == pair.input:
                side_columns = columns.asked()
            else:
                keys = names if csv or not columns else json_names(side.data)
                side_columns = columns.answered(keys)
            self._cuts.append(csv_cut(path, names, side_columns) if csv else json_cut(side_columns))

    def scored(self, found: _Pair) -> Scored:
        data, event = found.capture_data, found.event_metadata
        asked = _cut(self._cuts[0], data.endpoint_input)
        answered = _cut(self._cuts[1], data.batch_transform_output)
        ids = [event.event_id, asked and asked.id, answered and answered.id]
        if asked and answered and asked.id and answered.id and asked.id != answered.id:
            raise InputError(f"the id of the input is {asked.id!r}, that of the answer {answered.id!r}")
        times = [asked and asked.at, answered and answered.at, event.inference_time]
        return Scored(
            self.pair.files[-1],
            "",
            0,
            _body(data.endpoint_input, asked),
            _body(data.batch_transform_output, answered),
            next((each for each in ids if each is not None), None),
            next((each for each in times if each is not None), None),
        )


def _cut(cut: Cut | None, side: _Side | None) -> Taken | None:
    return None if cut is None or side is None else cut(side.data)


def _body(side: _Side | None, taken: Taken | None) -> Body | None:
    return None if side is None or taken is None else Body(taken.input, "CSV" if side.encoding == "CSV" else "JSON")


def _read_csv(name: str, path: Path, layout: Layout, dead: DeadLetters) -> Iterator[Scored]:
    cut: Cut | None = None
    for lines in read_lines((path,), dead, cut=csv_ends):
        if cut is None:
            header = csv_header(lines.text[0].as_py()) if layout.header is not False else None
            cut = csv_cut(path, header, layout.columns)
            if header is not None:
                lines = lines.where(lines.line > lines.line[0])
        yield from _taken(name, path, lines, cut, "CSV", layout.columns, dead)


def _read_jsonl(name: str, path: Path, layout: Layout, dead: DeadLetters) -> Iterator[Scored]:
    cut = json_cut(layout.columns)
    for lines in read_lines((path,), dead, cut=plain_ends):
        yield from _taken(name, path, lines, cut, "JSON", layout.columns, dead)


def _taken(
    name: str, path: Path, lines: Lines, cut: Cut, encoding: Any, columns: Columns, dead: DeadLetters
) -> Iterator[Scored]:
    for line, offset, text in zip(lines.line.tolist(), lines.offset.tolist(), lines.text.to_pylist(), strict=True):
        try:
            taken = cut(text)
        except InputError as why:
            dead.unread(path, line, str(why), text, offset)
            continue
        output = Body(taken.output, encoding) if columns.outputs else None
        yield Scored(
            path, name, line, Body(taken.input, encoding), output, taken.id, taken.at, offset=offset, done=offset
        )


def _read_parquet(name: str, path: Path, layout: Layout, dead: DeadLetters) -> Iterator[Scored]:
    try:
        with pq.ParquetFile(path) as file:
            cut = json_cut(layout.columns)
            there = file.schema_arrow.names
            missing = next((each for each in layout.columns.named if each not in there), None)
            if missing is not None:
                raise InputError(f"file {str(path)!r} has no column {missing!r}; it has {', '.join(map(repr, there))}")
            number, scale = 0, size_of([path]) / max(1, file.metadata.num_rows)
            for batch in file.iter_batches(_BATCH):
                for row in _rows(batch):
                    number += 1
                    try:
                        text = _encoder.encode(row).decode()
                        taken = cut(text)
                    except (InputError, TypeError, UnicodeError) as why:
                        dead.unread(path, number, str(why), str(row))
                        continue
                    output = Body(taken.output, "JSON") if layout.columns.outputs else None
                    done = int(number * scale)
                    yield Scored(path, name, number, Body(taken.input, "JSON"), output, taken.id, taken.at, done=done)
    except (pa.ArrowException, OSError) as why:
        raise InputError(f"file {str(path)!r} cannot be read as Parquet: {why}") from why


_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object]]:
    columns: list[Sequence[object]] = []
    for column in batch.columns:
        if column.type in (pa.float16(), pa.float32()):
            # The shortest spelling that means the same: 0.1 and not 0.10000000149011612.
            columns.append([_number(text) for text in column.cast(pa.string()).to_pylist()])
        elif pa.types.is_timestamp(column.type):
            columns.append(column.cast(pa.timestamp("us", column.type.tz), safe=False).to_pylist())
        else:
            columns.append(column.to_pylist())
    names = batch.schema.names
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _number(text: str | None) -> Raw | None:
    if text is None or not math.isfinite(float(text)):
        return None
    return Raw(text.encode())


_READERS: Final[Mapping[str, Callable[[str, Path, Layout, DeadLetters], Iterator[Scored]]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}
