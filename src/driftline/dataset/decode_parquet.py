"""Parquet files stand as they are; they are rewritten only where prediction, score or label are asked for by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftline.dataset.dataset import Decoded, File, Files, Intake, Progress, Table
from driftline.dataset.lines import ENDINGS, files_below
from driftline.dataset.stamps import stamp_of, unchanged
from driftline.dataset.tables import ROWS, derived, unreserved
from driftline.errors import Corrupt, InputError, Unavailable
from driftline.schema import PROBABILITY

_SLICE = 1 << 16
_BUFFER = 1 << 20  # bytes; without it a column of a row group is held whole, however large it is


def decode_parquet(source: Files, into: Path, wanted: Mapping[str, str | None], progress: Progress | None) -> Decoded:
    """The files as a table.

    Raises:
        InputError: there is no file, one is not Parquet, their columns differ, or one cannot be what is asked for.
        Corrupt: a file is damaged.
        Unavailable: a file vanished or changed.
    """
    paths = files_below(source.paths, *ENDINGS["parquet"])
    files: tuple[File, ...] = source.objects or paths
    if not files:
        raise InputError(f"there is no .parquet file below {', '.join(map(str, source.paths))}")
    asked = {reserved for reserved, name in wanted.items() if name is not None}
    schema, rows = _schema(files, exact=bool(asked))
    columns = tuple(name for name in schema.names if name != PROBABILITY)
    extra = derived(wanted, {name: name for name in schema.names}, "the columns of the data")
    intake = Intake(files=len(files), records=rows, rows=rows)
    for new, old in extra.items():
        _usable(files[0], schema.field(old), new)
    if not extra:
        return Decoded(Table(paths, columns, rows, source.objects), intake)
    path = into / ROWS
    _rewrite(files, schema, extra, path, rows, progress)
    return Decoded(Table((path,), columns, rows), intake)


def _schema(files: tuple[File, ...], *, exact: bool) -> tuple[pa.Schema, int]:
    """The columns of all files, and their rows; unless `exact`, values of one kind may be stored in several types."""
    fields: dict[str, pa.Field] = {}
    rows = 0
    for path in files:
        with opened(path) as file:
            own = file.schema_arrow.remove_metadata()
            rows += file.metadata.num_rows
        _unique(path, own)
        unreserved((name for name in own.names if name != PROBABILITY), f"file {str(path)!r}")
        fields = fields or {field.name: field for field in own}
        different = _difference(own, fields, exact=exact)
        if different:
            raise InputError(
                f"the columns of file {str(path)!r} differ from those of {str(files[0])!r}: {different}; write all "
                f"files with one schema"
            )
        fields |= {f.name: f for f in own if f.name not in fields or pa.types.is_null(fields[f.name].type)}
    return pa.schema(list(fields.values())), rows


def _unique(path: File, schema: pa.Schema) -> None:
    if len(set(schema.names)) < len(schema.names):
        twice = next(n for n in schema.names if schema.names.count(n) > 1)
        raise InputError(f"file {str(path)!r} has column {twice!r} twice; rename one of them")


def _difference(own: pa.Schema, known: Mapping[str, pa.Field], *, exact: bool) -> str | None:
    for name, field in known.items():
        if name not in own.names:
            if name == PROBABILITY:
                continue
            return f"column {name!r} is missing"
        kinds = {kind_of(kind, exact=False) for kind in (own.field(name).type, field.type)} - {"null"}
        if own.field(name).type != field.type and (exact or len(kinds) > 1):
            return f"column {name!r} is {own.field(name).type} instead of {field.type}"
    new = [name for name in own.names if name not in known and name != PROBABILITY]
    return f"column {new[0]!r} is new" if new else None


def _usable(path: File, field: pa.Field, role: str) -> None:
    kind = plain_type(field.type)
    if pa.types.is_nested(kind) or kind_of(kind, exact=False) == "binary":
        raise InputError(
            f"file {str(path)!r}: column {field.name!r} is {field.type}, which cannot be the "
            f"{role.removeprefix('driftline.')}; numbers, texts and booleans can"
        )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without the wrappings that only say how it is stored."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    return kind


def kind_of(kind: pa.DataType, *, exact: bool) -> str:
    """Types of one kind may stand together: what is kept of a value does not depend on which of them it has."""
    kind = plain_type(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if exact or pa.types.is_null(kind):
        return str(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "binary"
    return "nested" if pa.types.is_nested(kind) else str(kind)


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
            for batch in _batches(source):
                if PROBABILITY in whole.names and PROBABILITY not in batch.schema.names:
                    ones = pa.array(np.ones(batch.num_rows)).cast(whole.field(PROBABILITY).type)
                    batch = batch.append_column(PROBABILITY, ones)
                arrays = [batch.column(extra.get(name, name)) for name in whole.names]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=whole))
                done += batch.num_rows
                if progress is not None:
                    progress(done, rows, "rows")


def _batches(path: File) -> Iterator[pa.RecordBatch]:
    """All of a file. Raises Corrupt and Unavailable."""
    stamp = stamp_of(path)
    with opened(path) as file:
        try:
            yield from file.iter_batches(_SLICE)
        except (pa.ArrowException, OSError) as why:
            unchanged(path, stamp)
            raise damage(path, file, range(file.num_row_groups), file.schema_arrow.names, why) from why
    unchanged(path, stamp)


def damage(path: File, file: pq.ParquetFile, groups: Iterable[int], columns: Sequence[str], why: Exception) -> Corrupt:
    """The error of a file that could not be read there: it names the row group and the column."""
    for group in groups:
        for column in columns:
            try:
                for _ in file.iter_batches(_SLICE, row_groups=[group], columns=[column], use_threads=False):
                    pass
            except (pa.ArrowException, OSError):
                return Corrupt(
                    f"file {str(path)!r}, row group {group}: column {column!r} cannot be read ({why}); write it again"
                )
    return Corrupt(f"file {str(path)!r} cannot be read ({why}); write it again")
