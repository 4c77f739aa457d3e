"""What to read, as values: sources as people name them, and the typed tables they are decoded to.

A *source* (CSV, JSON lines, captured records, labels) is decoded once to Parquet: typed columns, one row per
prediction. From there on everything reads *tables*, so every engine and every monitor sees the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from driftline.objects.remote import Remote
from driftline.schema import Shape
from driftline.windows import Window

Progress: TypeAlias = Callable[[int, int | None, Literal["rows", "bytes"]], None]
"""Called with the work done and, where known, all there is; and of what."""

File: TypeAlias = Path | Remote
"""A file, or an object in a bucket as it was when somebody looked."""

Side: TypeAlias = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Files:
    """Dataset files of one format; a directory stands for all files of that format below it."""

    paths: tuple[Path, ...]
    format: Literal["csv", "jsonl", "parquet"]
    header: bool = True
    objects: tuple[Remote, ...] = ()
    """Parquet in a bucket, which is read there; then there are no paths."""


@dataclass(frozen=True, slots=True)
class Captured:
    """Captured records: `*.jsonl` files, filtered by the inference time to the window."""

    paths: tuple[Path, ...]
    window: Window | None = None
    names: tuple[str, ...] | None = None
    """Names of the columns by position where the payload is CSV (the baseline's); None: `_c0`, `_c1`, …"""
    sides: tuple[Side, ...] | None = None
    """Which payloads become columns, outputs first as in Model Monitor. None: both, unless the input alone has just as
    many columns as `names`."""
    output_last: bool = False
    preprocess: Path | None = None
    """A script with Model Monitor's `preprocess_handler`; it runs out of process."""
    shapes: Mapping[Side, Shape] = field(default_factory=dict)
    """How rows lie in the payloads of a side, where the payloads are not to be asked themselves."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Where prediction and score stand: an index into the CSV output, a JMESPath-like path into JSON, or a column."""

    prediction: str | None = None
    score: str | None = None
    threshold: float = 0.5
    """With a score and no prediction, the predicted class is `1` where the score is above this, else `0`."""


@dataclass(frozen=True, slots=True)
class Table:
    """Decoded rows: Parquet files with the same columns, in the order of the data."""

    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    """The data's own columns; reserved ones (`driftline.*`) are not among them."""
    rows: int
    objects: tuple[Remote, ...] = ()
    """The same in a bucket, where the rows are read there; then there are no paths."""

    @property
    def files(self) -> tuple[File, ...]:
        """Where the rows are, in the order of the data."""
        return self.objects or self.paths


@dataclass(frozen=True, slots=True)
class Join:
    """Predictions (a table with `driftline.id`, `driftline.ordinal`) joined to their labels, inner, on both."""

    predictions: Table
    labels: Table
    """Columns `driftline.id`, `driftline.ordinal`, `driftline.label`; in the order of writing: the last one wins."""


Dataset: TypeAlias = Table | Join


@dataclass(frozen=True, slots=True)
class Intake:
    """What came in and what became of it: every record is in one of these counts."""

    files: int = 0
    records: int = 0
    """Captured records, label records or file lines that were read."""
    rows: int = 0
    """Rows that went into the table."""
    dead: int = 0
    """Records that could not be decoded: they are in the dead-letter file with file, line and reason."""
    outside: int = 0
    """Records whose inference time lies outside the window."""
    duplicates: int = 0
    """Records with the same event id (or labels with the same id and the same value) as another."""
    contradictions: int = 0
    """Labels for an id that another label contradicts; the last written wins."""
    skipped: int = 0
    """Records that the preprocess script dropped on purpose."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Dead records by reason."""
    errors: int = 0
    """Records of answers with a status of 400 and above: they hold no prediction and make no rows."""
    statuses: Mapping[str, int] = field(default_factory=dict)
    """These records by their status."""
    error_weight: int = 0
    """Requests that they stand for, by their inclusion probabilities, in fixed point …"""
    answer_weight: int = 0
    """… and those that the records with rows stand for."""

    @property
    def error_share(self) -> float | None:
        """The share of the requests that were answered with an error, estimated; None where no record can tell."""
        requests = self.error_weight + self.answer_weight
        return self.error_weight / requests if requests else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A source as a table, and the account of what was read."""

    table: Table
    intake: Intake
    dead_letters: Path | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How predictions and labels met in a join."""

    predictions: int
    labelled: int
    labels: int
    """Rows (id and ordinal) with a label, each counted once."""
    unmatched_labels: int
    """Labels whose prediction is not in the window (or was not captured)."""
