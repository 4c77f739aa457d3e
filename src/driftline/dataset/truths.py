"""Ground truth as Model Monitor writes it: what the label data of a record says, one label per row of the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from driftline.dataset.csvtext import csv_rows, empty_is_null
from driftline.dataset.duck import ask, parts
from driftline.dataset.jsontext import ROW_LISTS, column_at
from driftline.dataset.spelled import Cells

_ELEMENTS: Final = ", ".join(
    ["CASE WHEN json_type(doc) = 'ARRAY' THEN json_extract(doc, '$[*]') END"]
    + [f"CASE WHEN json_type(doc, '$.{key}') = 'ARRAY' THEN json_extract(doc, '$.{key}[*]') END" for key in ROW_LISTS]
    + ["CASE WHEN json_type(doc, $path) = 'ARRAY' THEN json_extract(doc, $path || '[*]') END", "[doc]"]
)
_LABELS: Final = f"""
SELECT CASE WHEN doc IS NOT NULL THEN list_transform(coalesce({_ELEMENTS}), lambda e:
    CASE WHEN json_type(e) = 'OBJECT' THEN json_extract_string(e, $path)
         WHEN json_type(e) = 'ARRAY' THEN NULL
         ELSE json_extract_string(e, '$') END) END AS labels
FROM (SELECT CASE WHEN json_valid(text) THEN text END AS doc FROM texts)"""  # noqa: S608  the keys are constants


@dataclass(frozen=True, slots=True)
class Truths:
    """The labels of a batch of records."""

    parent: npt.NDArray[np.int64]
    labels: pa.Array
    """string, as spelled."""
    broken: dict[int, str]

    def check(self, rows: npt.NDArray[np.int64], dead: dict[int, str]) -> None:
        """Add the records whose labels are broken, or not as many as their rows, to `dead`."""
        for at, reason in self.broken.items():
            dead.setdefault(at, reason)
        counts = np.bincount(self.parent, minlength=len(rows))
        for wrong in np.flatnonzero((counts != rows) & (counts > 0)):
            dead.setdefault(int(wrong), "groundTruthData has another number of labels than the request has rows")

    def spread(self, times: npt.NDArray[np.int64]) -> Cells:
        """The labels of the rows, for records that keep so many rows each."""
        counts = np.bincount(self.parent, minlength=len(times))
        starts = np.cumsum(counts) - counts
        within = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
        index = pa.array(np.repeat(starts, times) + within, mask=np.repeat(counts == 0, times))
        return Cells(self.labels.take(index))


def truths(connection: duckdb.DuckDBPyConnection, batch: pa.RecordBatch, path: str | None) -> Truths:
    """The labels in the columns `label` and `label_encoding` of the batch; records without have none.

    CSV: one label a line. JSON: a scalar, an object, a list of either, or such a list under `instances` and the like;
    in an object the label stands at `path` (`label` unless told otherwise).
    """
    data, encoding = batch.column("label"), batch.column("label_encoding")
    there = data.is_valid().to_numpy(zero_copy_only=False)
    json = there & pc.fill_null(pc.equal(encoding, "JSON"), False).to_numpy(zero_copy_only=False)
    csv = there & pc.fill_null(pc.equal(encoding, "CSV"), True).to_numpy(zero_copy_only=False)
    broken = {int(at): "groundTruthData is neither CSV nor JSON" for at in np.flatnonzero(there & ~csv & ~json)}
    parents, labels = [], []
    for found in (_csv(data, np.flatnonzero(csv), broken), _json(connection, data, np.flatnonzero(json), path, broken)):
        parents.append(found[0])
        labels.append(found[1])
    parent, label = np.concatenate(parents), empty_is_null(pc.utf8_trim_whitespace(pa.concat_arrays(labels)))
    order = np.argsort(parent, kind="stable")
    parent, label = parent[order], label.take(pa.array(order))
    for at in np.unique(parent[label.is_null().to_numpy(zero_copy_only=False)]):
        broken.setdefault(int(at), "groundTruthData holds no label where one is expected")
    for at in np.setdiff1d(np.flatnonzero(csv | json), parent):
        broken.setdefault(int(at), "groundTruthData holds no label where one is expected")
    return Truths(parent, label, broken)


def _csv(data: pa.Array, at: npt.NDArray[np.int64], broken: dict[int, str]) -> tuple[npt.NDArray[np.int64], pa.Array]:
    rows, bad = csv_rows(data.take(pa.array(at)))
    broken.update({int(at[i]): reason for i, reason in bad.items()})
    for row in np.flatnonzero(rows.width != 1):
        broken.setdefault(int(at[rows.parent[row]]), "groundTruthData has several values in a line")
    rows = rows.where(rows.width == 1)
    return at[rows.parent], rows.fields.cast(pa.string())


def _json(
    connection: duckdb.DuckDBPyConnection,
    data: pa.Array,
    at: npt.NDArray[np.int64],
    path: str | None,
    broken: dict[int, str],
) -> tuple[npt.NDArray[np.int64], pa.Array]:
    if not len(at):
        return at, pa.array([], pa.string())
    params = {"path": json_path(path or "label")}
    table = parts(pa.table({"text": data.take(pa.array(at))}))
    found = ask(connection, _LABELS, params, texts=table)["labels"].combine_chunks()
    for i in np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False)):
        broken[int(at[i])] = "groundTruthData is not valid JSON"
    return at[pc.list_parent_indices(found).to_numpy()], found.flatten().cast(pa.string())


def json_path(place: str) -> str:
    """The JSON path within one row of what a JMESPath or JSONPath names.

    >>> json_path("instances[*].label"), json_path("truth.class")
    ('$."label"', '$."truth"."class"')
    """
    steps = column_at(place).split(".")
    return "$" + "".join(f"[{step}]" if step.isdecimal() else f'."{step}"' for step in steps)
