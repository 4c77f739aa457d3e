"""Driftline, through the engine and the monitors that its users' runs go through."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import scipy.special  # noqa: F401  imports are not timed, and drift makes this one late

import driftline.monitors.data_quality as quality
from driftline.dataset.dataset import Captured, Join, Table
from driftline.dataset.decode import decode
from driftline.engines.local import LocalEngine
from driftline.metrics import classification, ranking
from driftline.monitors.monitor import Profile
from driftline.schema import LABEL, SCORE
from driftline.states.contingency import Contingency
from driftline.states.scores import Scores

with contextlib.suppress(ImportError):
    import pandas  # noqa: F401  pyarrow imports it late where it is installed, as in this environment

PACKAGES = ("driftline", "pyarrow", "numpy", "duckdb")
DIFFERS = {
    "profile": (
        "all 20 columns: counts, nulls, types, mean and deviation (exact sums), extremes, quantiles, "
        "distinct values, frequent values; every number with its interval"
    ),
    "drift": "all 20 columns: KS, PSI, Jensen-Shannon, Wasserstein or L-infinity, chi-square; with intervals",
    "join": "joined on id and ordinal; duplicates and coverage counted; score curves from a histogram",
    "ingest": "every record accounted for; the id, the time and the types of all columns found; typed Parquet written",
}


def table(*paths: str) -> Table:
    files = tuple(map(Path, paths))
    metadata = [pq.read_metadata(path) for path in files]
    return Table(files, tuple(metadata[0].schema.to_arrow_schema().names), sum(own.num_rows for own in metadata))


def profiled(data: Table) -> Profile:
    monitor = quality.DataQuality()
    return Profile(LocalEngine().fold(monitor.plan(data.columns), data).states, data.columns)


def profile(work):
    """One data-quality profile of all the files, measured."""
    found = list(quality.DataQuality().measure(profiled(table(*work.paths)), None, 0.95))
    return _told(found, mean="f01")


def profile_in_numpy(work):
    """The same without the compiled kernel."""
    with _in_numpy():
        return profile(work)


def drift(work):
    """The first file held against the second: both profiled, all distances measured."""
    current, reference = (profiled(table(path)) for path in work.paths)
    found = list(quality.DataQuality().measure(current, reference, 0.95))
    return _told(found, mean="f01", ks="f00")


def _told(measurements, **columns):
    known = {(m.metric, m.column): m.estimate.value for m in measurements if m.estimate is not None}
    told = {"columns": len({m.column for m in measurements if m.column}), "compiled": _compiled()}
    # In a wide table the names have a number behind them.
    for metric, name in columns.items():
        told[metric] = next((value for (m, c), value in known.items() if m == metric and c.startswith(name)), None)
    return told


def _compiled() -> bool:
    try:
        from driftline.kernels.numbers import compiled
    except ImportError:
        return False
    return compiled()


def _in_numpy() -> contextlib.AbstractContextManager[None]:
    try:
        from driftline.kernels.numbers import in_numpy
    except ImportError:
        return contextlib.nullcontext()
    return in_numpy()


def join(work):
    """Labels joined to predictions, all binary metrics and both curves."""
    classes, scores = Contingency(LABEL, None, SCORE), Scores(SCORE, LABEL)
    join = Join(table(work.paths[0]), table(work.paths[1]))
    states = LocalEngine().fold(frozenset({classes, scores}), join).states
    c, r = classification, ranking
    of_classes = (c.accuracy, c.recall, c.precision, c.true_negative_rate, c.f0_5, c.f1, c.f2)
    of_scores = (r.auc, r.au_prc, r.log_loss, r.brier)
    found = {m.name: m(states[classes], confidence=0.95).value for m in of_classes}
    found |= {m.name: m(states[scores], confidence=0.95).value for m in of_scores}
    r.roc_curve(states[scores])
    r.pr_curve(states[scores])
    return found


def ingest(work):
    """The captured records of a folder to typed columns in Parquet."""
    files = tuple(sorted(Path(work.current).iterdir()))
    with tempfile.TemporaryDirectory(dir=Path(work.current).parent) as folder:
        decoded = decode(Captured(files), Path(folder))
        assert decoded.intake.dead == 0
        return {"rows": decoded.table.rows, "columns": len(decoded.table.columns)}
