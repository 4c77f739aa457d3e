"""Batch transform: a job's manifests say where its data lies, and each line of the data becomes a captured record.

`input/yyyy/mm/dd/hh/*.json` and `output/…` each hold one array: `[{"prefix": …}, key, key, …]`. The output of `X` is
`X.out`. Where both are there, line n of the one is the answer to line n of the other, and the record has both.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa

from driftline.dataset.dataset import Side
from driftline.dataset.deadletters import DeadLetters
from driftline.dataset.duck import ask, parts
from driftline.dataset.lines import LONGEST, Lines, read_lines, size_of
from driftline.dataset.tables import Work
from driftline.errors import InputError, Unavailable

_PLACE: Final = re.compile(r"/(input|output)/(\d{4})/(\d{2})/(\d{2})/(\d{2})/[^/]+\.json$")
_START: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\[\s*\{\s*"prefix"\s*:')
_SIDES: Final[tuple[Side, Side]] = ("input", "output")


@dataclass(frozen=True, slots=True)
class _Named:
    """A data file as a manifest names it."""

    manifest: Path
    element: int
    """Its place in the manifest's array, from 1; the prefix is 1."""
    uri: str
    name: str
    """What an input and its output have in common."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A data file and its answers; one of them only where the source has manifests of one side only."""

    input: Path | None
    output: Path | None
    hour: str
    """The start of the job, as far as the path of the manifest tells it."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The data files."""
        return tuple(path for path in (self.input, self.output) if path is not None)


def is_manifest(path: Path) -> bool:
    """Whether the file lies where a manifest lies, and begins as one does."""
    if _PLACE.search(path.absolute().as_posix()) is None:
        return False
    try:
        with path.open("rb") as file:
            return _START.match(file.read(4096)) is not None
    except OSError as why:
        raise Unavailable(f"file {str(path)!r} cannot be read: {why.strerror or why}") from why


def told_apart(files: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The manifests among captured files, and the others; an empty file beside manifests is meant to be one."""
    manifests = {file for file in files if is_manifest(file)}
    if manifests:
        manifests |= {f for f in files if _PLACE.search(f.absolute().as_posix()) and not size_of([f])}
    return tuple(f for f in files if f in manifests), tuple(f for f in files if f not in manifests)


def names_in(manifests: Iterable[Path]) -> tuple[str, ...]:
    """What the manifests name, as far as they can be read."""
    found: dict[str, None] = {}
    for manifest in manifests:
        with suppress(InputError):
            found.update(dict.fromkeys(each.uri for each in _names(manifest)))
    return tuple(found)


def data_of(manifests: Iterable[Path]) -> tuple[Path, ...]:
    """The data files that the manifests name, as far as they can be found."""
    found: dict[Path, None] = {}
    for manifest in manifests:
        try:
            located = [_located(each) for each in _names(manifest)]
        except InputError:
            continue
        found.update(dict.fromkeys(path for path in located if path is not None))
    return tuple(found)


def pairs_of(manifests: tuple[Path, ...], dead: DeadLetters) -> tuple[Pair, ...]:
    """The data files of the manifests, inputs beside their outputs; what cannot be found or paired goes to `dead`.

    Raises:
        InputError: not one of the files that the manifests name is there.
    """
    pairs: list[Pair] = []
    missing: list[_Named] = []
    for hour, found, both in _jobs(manifests, dead):
        paths = {side: _located(found[side][0]) for side in _SIDES if found[side]}
        wrong = _unpaired(found) if both else None
        if wrong is not None:
            for each in (*found["input"], *found["output"]):
                dead.unread(each.manifest, each.element, wrong, each.uri)
        elif None in paths.values():
            for each in (found[side][0] for side, path in paths.items() if path is None):
                missing.append(each)
                dead.unread(each.manifest, each.element, "the manifest names a file that is not there", each.uri)
        else:
            pairs.append(Pair(paths.get("input"), paths.get("output"), hour))
    if missing and not pairs:
        raise InputError(_not_there(missing[0]))
    return tuple(pairs)


def _jobs(manifests: tuple[Path, ...], dead: DeadLetters) -> Iterator[tuple[str, dict[Side, list[_Named]], bool]]:
    """The files of one name in one job, its hour, and whether there should be an input and an output."""
    places = {manifest: _place(manifest) for manifest in manifests}
    stems = [{m.stem for m, (side, _) in places.items() if side == which} for which in _SIDES]
    both = all(stems)
    jobs: defaultdict[tuple[object, ...], dict[Side, list[_Named]]] = defaultdict(lambda: {"input": [], "output": []})
    for manifest, (side, hour) in places.items():
        # The manifests of a job may have one name; else the hour in which it began tells that they are of one job.
        job = manifest.stem if manifest.stem in stems[0] & stems[1] else ""
        try:
            for each in _names(manifest):
                jobs[(hour, job, each.name) if both else (hour, manifest, each.element)][side].append(each)
        except InputError as why:
            dead.unread(manifest, 1, str(why), manifest.read_bytes()[:4096])
    yield from ((str(key[0]), found, both) for key, found in jobs.items())


def _unpaired(found: dict[Side, list[_Named]]) -> str | None:
    for side in _SIDES:
        if not found[side]:
            return f"no manifest of this hour names its {side}"
        if len(found[side]) > 1:
            return "several jobs of this hour name such a file; give the folder `input` or `output` alone"
    return None


def _place(manifest: Path) -> tuple[Side, str]:
    place = _PLACE.search(manifest.absolute().as_posix())
    assert place is not None  # noqa: S101  only files at such a place are manifests
    side, year, month, day, hour = place.groups()
    return "input" if side == "input" else "output", f"{year}-{month}-{day}T{hour}:00:00Z"


def _names(manifest: Path) -> list[_Named]:
    if size_of([manifest]) > LONGEST:
        raise InputError(f"the manifest is longer than {LONGEST >> 20} MB")
    try:
        found = json.loads(manifest.read_bytes())
    except (ValueError, RecursionError) as why:
        raise InputError(f"the manifest is not valid JSON: {why}") from why
    prefix = found[0].get("prefix") if isinstance(found, list) and found and isinstance(found[0], dict) else None
    if not isinstance(prefix, str):
        raise InputError('the manifest is not an array that begins with {"prefix": "…"}')
    if len(found) == 1:
        raise InputError("the manifest names no file")
    odd = next((each for each in found[1:] if not isinstance(each, str)), None)
    if odd is not None or None in found:
        raise InputError(f"the manifest names {odd!r}, which is not a key")
    return [
        _Named(manifest, place, prefix + key, (key or prefix.rpartition("/")[2]).removesuffix(".out"))
        for place, key in enumerate(found[1:], 2)
    ]


def _located(named: _Named) -> Path | None:
    """The file behind a path or `file://`, or below a folder that holds a copy of the bucket."""
    scheme, remote, key = named.uri.partition("://")
    if not remote or scheme == "file":
        places = [named.manifest.parent / (unquote(urlsplit(named.uri).path) if remote else named.uri)]
    elif ".." in key.split("/"):
        return None  # no store has such a key, and none may lead out of the copy
    else:
        places = [folder / key.lstrip("/") for folder in named.manifest.absolute().parents]
    return next((place for place in places if place.is_file()), None)


def _not_there(named: _Named) -> str:
    start = f"manifest {str(named.manifest)!r} names {named.uri!r}, which is not there"
    scheme, remote, key = named.uri.partition("://")
    if not remote or scheme == "file":
        return f"{start}; put the data of the job back, or correct the manifest"
    return f"{start}: nor is {key!r} in a folder above the manifest; copy the bucket to {key.partition('/')[0]!r} there"


def read_pairs(pairs: tuple[Pair, ...], files: tuple[Path, ...], work: Work) -> Iterator[Lines]:
    """The data as captured records, each at its line of the answers, or of the input alone.

    The id and the time that batch transform appends (CSV) or adds (JSON) leave the data for the event's metadata, and
    where an input was joined to its output, it stands in the input only. Without a time, the hour of the job counts.

    Args:
        files: what the index of a file in the lines refers to.
    """
    index = {path: at for at, path in enumerate(files)}
    total, done = size_of(path for pair in pairs for path in pair.files), 0
    for pair in pairs:
        yield from _records(pair, index[pair.files[-1]], work)
        done += size_of(pair.files)
        if work.progress is not None:
            work.progress(done, total, "bytes")


def _records(pair: Pair, index: int, work: Work) -> Iterator[Lines]:
    opened = [_lines(path, work.dead) for path in pair.files]
    batches = [lines for _, lines in opened]
    read: Iterator[dict[Side, Lines]]
    if len(batches) == 2:
        read = _side_by_side(pair.files, batches, work.dead)
    else:
        alone: Side = "output" if pair.input is None else "input"
        read = ({alone: lines} for lines in batches[0])
    given, answered = opened[0][0], opened[-1][0]
    joined: bool | None = None
    for sides in read:
        lines = sides["output" if "output" in sides else "input"]
        texts = {side: sides[side].text if side in sides else pa.nulls(len(lines), pa.string()) for side in _SIDES}
        table = ask(work.connection, _TAKEN[answered], sides=parts(pa.table(texts)))
        if len(sides) == 2:
            if joined is None:
                joined = bool(ask(work.connection, _JOINED[answered], sides=parts(table))["joined"][0].as_py())
            if joined:
                table = ask(work.connection, _APART[answered], sides=parts(table))
        params = {"hour": pair.hour, "input": given, "output": answered}
        text = ask(work.connection, _RECORD, params, sides=parts(table))["text"].combine_chunks()
        yield Lines(np.full(len(lines), index, np.int32), lines.line, lines.offset, text)


def _lines(path: Path, dead: DeadLetters) -> tuple[str, Iterator[Lines]]:
    """The lines of a data file, and their encoding, told by how the first one begins."""
    document = _document(path)
    whole = Lines(np.zeros(1, np.int32), np.ones(1, np.int64), np.zeros(1, np.int64), pa.array([document or ""]))
    lines = iter([whole]) if document else read_lines((path,), dead)
    first = next(lines, None)
    if first is None:
        return "CSV", iter(())
    return "JSON" if first.text[0].as_py().lstrip().startswith(("{", "[")) else "CSV", chain([first], lines)


def _document(path: Path) -> str | None:
    """The JSON document that the file is as a whole, where its first line is none by itself."""
    if path.suffix.lower() == ".gz" or not 0 < size_of([path]) <= LONGEST:
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if not text.lstrip().startswith(("{", "[")) or _is_json(text.lstrip().partition("\n")[0]):
            return None
    except UnicodeDecodeError:
        return None
    return text if _is_json(text) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _side_by_side(
    paths: tuple[Path, ...], batches: Sequence[Iterator[Lines]], dead: DeadLetters
) -> Iterator[dict[Side, Lines]]:
    """Lines of input and output that have the same number; one without the other goes to `dead`."""
    ahead = [next(each, None) for each in batches]
    while (left := ahead[0]) is not None and (right := ahead[1]) is not None:
        last = min(left.line[-1], right.line[-1])
        now = [each.where(each.line <= last) for each in (left, right)]
        met = [np.isin(one.line, other.line, assume_unique=True) for one, other in (now, now[::-1])]
        for at in (0, 1):
            _bury(now[at].where(~met[at]), paths, at, dead)
        if met[0].any():
            yield {side: each.where(mask) for side, each, mask in zip(_SIDES, now, met, strict=True)}
        rest = [each.where(each.line > last) for each in (left, right)]
        ahead = [each if len(each) else next(more, None) for each, more in zip(rest, batches, strict=True)]
    for at, lines in enumerate(ahead):
        while lines is not None:
            _bury(lines, paths, at, dead)
            lines = next(batches[at], None)


def _bury(lines: Lines, paths: tuple[Path, ...], at: int, dead: DeadLetters) -> None:
    reason = f"there is no line of this number in the {_SIDES[1 - at]} file"
    for line, offset, text in zip(lines.line.tolist(), lines.offset.tolist(), lines.text, strict=True):
        dead.unread(paths[at], line, reason, text.as_py(), offset)


_TAKEN: Final = {
    "CSV": """
SELECT input, CASE WHEN m.id <> '' THEN m.data ELSE output END AS output, nullif(m.id, '') AS id,
    nullif(m.time, '') AS time
FROM (SELECT input, output, regexp_extract(output,
    '^(.*),([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}),(\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ)$',
    ['data', 'id', 'time']) AS m FROM sides)""",
    "JSON": """
SELECT input, CASE WHEN x[1] IS NULL AND x[2] IS NULL THEN output ELSE
    json_merge_patch(output, '{"SageMakerInferenceId": null, "SageMakerInferenceTime": null}')::VARCHAR END AS output,
    x[1] AS id, x[2] AS time
FROM (SELECT input, output, CASE WHEN json_valid(output) THEN
    json_extract_string(output, ['$.SageMakerInferenceId', '$.SageMakerInferenceTime']) END AS x FROM sides)""",
}
_JOINED: Final = {
    "CSV": "SELECT bool_and(starts_with(output, input || ',')) AS joined FROM sides",
    "JSON": "SELECT bool_and(json_valid(output) AND json_exists(output, '$.SageMakerOutput')) AS joined FROM sides",
}
_APART: Final = {
    "CSV": """
SELECT * REPLACE (CASE WHEN starts_with(output, input || ',') THEN output[length(input) + 2:] ELSE output END AS output)
FROM sides""",
    "JSON": """
SELECT * REPLACE (CASE WHEN json_valid(output) THEN
    coalesce(json_extract(output, '$.SageMakerOutput')::VARCHAR, output) ELSE output END AS output)
FROM sides""",
}
_RECORD: Final = """
SELECT json_object(
    'captureData', json_object(
        'endpointInput', CASE WHEN input IS NOT NULL THEN
            json_object('data', input, 'encoding', $input, 'mode', 'INPUT') END,
        'batchTransformOutput', CASE WHEN output IS NOT NULL THEN json_object('data', output, 'encoding', $output) END),
    'eventMetadata', json_object('eventId', id, 'inferenceTime', coalesce(time, $hour)),
    'eventVersion', '0')::VARCHAR AS text
FROM sides"""
