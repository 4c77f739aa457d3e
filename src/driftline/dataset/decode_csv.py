"""CSV files to rows: header or none, quoted fields, ragged lines as dead letters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from driftline.dataset.csvtext import CsvRows, csv_rows
from driftline.dataset.dataset import Files
from driftline.dataset.lines import ENDINGS, Lines, csv_ends, files_below, read_lines
from driftline.dataset.spelled import Cells
from driftline.dataset.tables import Work
from driftline.errors import InputError


def read_csv(source: Files, work: Work) -> tuple[tuple[str, ...], int, int]:
    """Bring the rows of the files into scratch; gives the columns' names, the number of files and of records.

    Without a header the width is the most common one of the first lines, and the names are `_c0`, `_c1`, ….

    Raises:
        InputError: there is no file, all are empty, or a header is not usable or differs from that of the first file.
    """
    files = files_below(source.paths, *ENDINGS["csv"])
    if not files:
        raise InputError(f"there is no .csv file below {', '.join(map(str, source.paths))}")
    header = _Header(files, work) if source.header else None
    names: tuple[str, ...] = ()
    records = 0
    for lines in read_lines(files, work.dead, cut=csv_ends, progress=work.progress):
        if header is not None:
            lines = header.taken_from(lines)
            names = header.names
        records += len(lines)
        if len(lines):
            names = _add(lines, names, files, work)
    if not names and not work.dead.count:
        which = f"file {str(files[0])!r} is" if len(files) == 1 else f"all {len(files)} files are"
        raise InputError(f"{which} empty: there is neither a header nor a row")
    return names, len(files), records


def _add(lines: Lines, names: tuple[str, ...], files: tuple[Path, ...], work: Work) -> tuple[str, ...]:
    rows, broken = csv_rows(lines.text, single=True)
    for at, reason in broken.items():
        _bury(lines, at, reason, files, work)
    if not names and len(rows):
        width = Counter(rows.width.tolist()).most_common(1)[0][0]
        names = tuple(f"_c{i}" for i in range(width))
    ragged = rows.width != len(names)
    for row in np.flatnonzero(ragged):
        reason = f"{rows.width[row]} fields where {len(names)} are expected"
        _bury(lines, int(rows.parent[row]), reason, files, work)
    rows = rows.where(~ragged)
    columns = {name: Cells(rows.column(i)) for i, name in enumerate(names)}
    work.scratch.add(columns, {}, len(rows))
    return names


def _bury(lines: Lines, at: int, reason: str, files: tuple[Path, ...], work: Work) -> None:
    work.dead.add(files[lines.file[at]], int(lines.line[at]), reason, lines.text[at].as_py(), int(lines.offset[at]))


class _Header:
    """Takes the first line of every file; all must be the same."""

    def __init__(self, files: tuple[Path, ...], work: Work) -> None:
        self.files, self.work = files, work
        self.names: tuple[str, ...] = ()
        self._seen = -1

    def taken_from(self, lines: Lines) -> Lines:
        first = self._firsts(lines.file)
        for at in first:
            file = self.files[lines.file[at]]
            lost, why = self.work.dead.first(file)
            if lost < lines.line[at]:
                raise InputError(f"the header of file {str(file)!r} (line {lost:.0f}) cannot be read: {why}")
            rows, broken = csv_rows(lines.text.slice(int(at), 1), single=True)
            self._take(rows, broken.get(0), file)
        keep = np.ones(len(lines), np.bool_)
        keep[first] = False
        return lines.where(keep)

    def _firsts(self, file: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        before = np.concatenate([[self._seen], file[:-1]])
        self._seen = int(file[-1]) if len(file) else self._seen
        return np.flatnonzero(file != before)

    def _take(self, rows: CsvRows, broken: str | None, file: Path) -> None:
        if broken is not None:
            raise InputError(f"the header of file {str(file)!r} is {broken}")
        names = [name or "" for name in rows.fields.to_pylist()]
        if "" in names:
            raise InputError(
                f"column {names.index('') + 1} of file {str(file)!r} has no name in the header; give it one"
            )
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise InputError(f"the header of file {str(file)!r} has column {twice[0]!r} twice; rename one of them")
        if self.names and tuple(names) != self.names:
            differs = next((f"{a!r} instead of {b!r}" for a, b in zip(names, self.names, strict=False) if a != b), "")
            raise InputError(
                f"the header of file {str(file)!r} differs from that of {str(self.files[0])!r}: "
                f"{len(names)} columns after {len(self.names)}{': ' + differs if differs else ''}"
            )
        self.names = tuple(names)
