"""Parquet files stand as they are; they are rewritten only where prediction, score or label are asked for by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Decoded, File, Files, Intake, Progress, Table
from driftline.dataset.lines import ENDINGS, files_below
from driftline.dataset.tables import ROWS, derived
from driftline.errors import InputError, Unavailable
from driftline.schema import RESERVED

_SLICE = 1 << 16
_BUFFER = 1 << 20  # bytes; without it a column of a row group is held whole, however large it is


def decode_parquet(source: Files, into: Path, wanted: Mapping[str, str | None], progress: Progress | None) -> Decoded:
    """The files as a table.

    Raises:
        InputError: there is no file, one is not Parquet, or their columns differ.
    """
    paths = files_below(source.paths, *ENDINGS["parquet"])
    files: tuple[File, ...] = source.objects or paths
    if not files:
        raise InputError(f"there is no .parquet file below {', '.join(map(str, source.paths))}")
    schema, rows = _schema(files)
    columns = tuple(name for name in schema.names if name not in RESERVED)
    extra = derived(wanted, {name: name for name in schema.names}, "the columns of the data")
    intake = Intake(files=len(files), records=rows, rows=rows)
    if not extra:
        return Decoded(Table(paths, columns, rows, source.objects), intake)
    path = into / ROWS
    _rewrite(files, schema, extra, path, rows, progress)
    return Decoded(Table((path,), columns, rows), intake)


def _schema(files: tuple[File, ...]) -> tuple[pa.Schema, int]:
    schema: pa.Schema | None = None
    rows = 0
    for path in files:
        with opened(path) as file:
            own = file.schema_arrow.remove_metadata()
            rows += file.metadata.num_rows
        if schema is None:
            schema = own
            _unique(path, own)
        elif {f.name: f.type for f in own} != {f.name: f.type for f in schema}:
            raise InputError(
                f"the columns of file {str(path)!r} differ from those of {str(files[0])!r}: "
                f"{_difference(own, schema)}; write all files with one schema"
            )
    assert schema is not None  # noqa: S101  there is at least one file
    return schema, rows


def _unique(path: File, schema: pa.Schema) -> None:
    if len(set(schema.names)) < len(schema.names):
        twice = next(n for n in schema.names if schema.names.count(n) > 1)
        raise InputError(f"file {str(path)!r} has column {twice!r} twice; rename one of them")


def _difference(own: pa.Schema, first: pa.Schema) -> str:
    for field in first:
        if field.name not in own.names:
            return f"column {field.name!r} is missing"
        if own.field(field.name).type != field.type:
            return f"column {field.name!r} is {own.field(field.name).type} instead of {field.type}"
    return f"column {next(n for n in own.names if n not in first.names)!r} is new"


def opened(path: File, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """The Parquet file, ready to be read piece by piece; what it holds is checked where its writer left checksums.

    The columns of strings in `dictionaries` are read as codes and a dictionary.

    Raises:
        InputError: it is empty, or not Parquet.
        Unavailable: it is not there (any more).
    """
    try:
        if isinstance(path, Path):
            return pq.ParquetFile(
                path, buffer_size=_BUFFER, page_checksum_verification=True, read_dictionary=list(dictionaries)
            )
        # Each request takes long: the columns of a row group are fetched together.
        return pq.ParquetFile(
            path.open(), pre_buffer=True, page_checksum_verification=True, read_dictionary=list(dictionaries)
        )
    except pa.ArrowInvalid as why:
        empty = (path.exists() and path.stat().st_size == 0) if isinstance(path, Path) else path.size == 0
        raise InputError(f"file {str(path)!r} is {'empty' if empty else f'not a whole Parquet file: {why}'}") from why
    except OSError as why:
        raise Unavailable(f"file {str(path)!r} cannot be read: {why}") from why


def _rewrite(
    files: tuple[File, ...],
    schema: pa.Schema,
    extra: Mapping[str, str],
    path: Path,
    rows: int,
    progress: Progress | None,
) -> None:
    whole = pa.schema(
        [*schema, *(pa.field(new, schema.field(old).type) for new, old in extra.items() if new not in schema.names)]
    )
    done = 0
    with pq.ParquetWriter(path, whole, compression="snappy") as writer:
        for source in files:
            with opened(source) as file:
                for batch in file.iter_batches(_SLICE):
                    arrays = [batch.column(extra.get(name, name)) for name in whole.names]
                    writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=whole))
                    done += batch.num_rows
                    if progress is not None:
                        progress(done, rows, "rows")
