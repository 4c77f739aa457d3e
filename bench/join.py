"""Labels joined to predictions and all binary metrics: Driftline beside pandas and scikit-learn.

    python bench/join.py [--rows N] [--repeats N] [--json]

Writes seeded Parquet files to bench/data (uuid ids as text, the labels in another order than the predictions), then
runs the contenders in turn, each in a process of its own, and prints medians of time and of peak memory. Both read the
same files; pandas merges on the id alone, Driftline on id and ordinal, and it counts duplicates and coverage besides.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

DATA = Path(__file__).parent / "data"
ID = "concat_ws('-', substr(h, 1, 8), substr(h, 9, 4), substr(h, 13, 4), substr(h, 17, 4), substr(h, 21))"


def prepare(rows: int) -> tuple[Path, Path]:
    predictions, labels = DATA / f"join_{rows}_predictions.parquet", DATA / f"join_{rows}_labels.parquet"
    if predictions.exists() and labels.exists():
        return predictions, labels
    import duckdb

    DATA.mkdir(exist_ok=True)
    step = next(s for s in (7919, 104729, 1299709) if rows % s)
    with duckdb.connect() as connection:
        # hash() of the row's number is the seeded noise; a positive has the greater score two times out of three.
        connection.execute(f"""
            COPY (SELECT {ID} AS "driftline.id", 0::BIGINT AS "driftline.ordinal",
                (hash(i) % 1000000007) / 1000000007.0 AS "driftline.score"
            FROM (SELECT i, md5(i::VARCHAR) AS h FROM range({rows}) t(i)) ORDER BY i)
            TO '{predictions}' (ROW_GROUP_SIZE 131072)""")
        connection.execute(f"""
            COPY (SELECT {ID} AS "driftline.id", 0::BIGINT AS "driftline.ordinal",
                CASE WHEN (hash(i) % 1000000007) / 1000000007.0 > (hash(i + 99991) % 997) / 997.0
                THEN '1' ELSE '0' END AS "driftline.label"
            FROM (SELECT k, (k * {step}) % {rows} AS i, md5(((k * {step}) % {rows})::VARCHAR) AS h
                FROM range({rows}) t(k)) ORDER BY k)
            TO '{labels}' (ROW_GROUP_SIZE 131072)""")
    return predictions, labels


def driftline(predictions: Path, labels: Path, rows: int) -> dict[str, float]:
    from driftline.dataset.dataset import Join, Table
    from driftline.engines.local import LocalEngine
    from driftline.metrics import classification as c
    from driftline.metrics import ranking as r
    from driftline.schema import LABEL, SCORE
    from driftline.states.contingency import Contingency
    from driftline.states.scores import Scores

    classes, scores = Contingency(LABEL, None, SCORE), Scores(SCORE, LABEL)
    join = Join(Table((predictions,), (), rows), Table((labels,), (), rows))
    states = LocalEngine().fold(frozenset({classes, scores}), join).states
    of_classes = (c.accuracy, c.recall, c.precision, c.true_negative_rate, c.f0_5, c.f1, c.f2)
    of_scores = (r.auc, r.au_prc, r.log_loss, r.brier)
    found = {m.name: m(states[classes], confidence=0.95).value for m in of_classes}
    found |= {m.name: m(states[scores], confidence=0.95).value for m in of_scores}
    r.roc_curve(states[scores])
    r.pr_curve(states[scores])
    return found


def pandas(predictions: Path, labels: Path, rows: int) -> dict[str, float]:
    import pandas as pd
    from sklearn import metrics as m

    left = pd.read_parquet(predictions, columns=["driftline.id", "driftline.score"])
    right = pd.read_parquet(labels, columns=["driftline.id", "driftline.label"])
    joined = left.merge(right, on="driftline.id")
    assert len(joined) == rows
    score = joined["driftline.score"].to_numpy()
    truth = (joined["driftline.label"] == "1").to_numpy().astype("int8")
    guess = (score > 0.5).astype("int8")
    m.confusion_matrix(truth, guess)
    m.roc_curve(truth, score)
    m.precision_recall_curve(truth, score)
    return {
        "accuracy": m.accuracy_score(truth, guess),
        "recall": m.recall_score(truth, guess),
        "precision": m.precision_score(truth, guess),
        "true_negative_rate": m.recall_score(truth, guess, pos_label=0),
        "f0_5": m.fbeta_score(truth, guess, beta=0.5),
        "f1": m.f1_score(truth, guess),
        "f2": m.fbeta_score(truth, guess, beta=2),
        "auc": m.roc_auc_score(truth, score),
        "au_prc": m.average_precision_score(truth, score),
        "log_loss": m.log_loss(truth, score),
        "brier": m.brier_score_loss(truth, score),
    }


CONTENDERS = {"driftline": driftline, "pandas + scikit-learn": pandas}


def alone(name: str, rows: int) -> dict[str, object]:
    """One contender, in this process."""
    predictions, labels = prepare(rows)
    start = time.perf_counter()
    found = CONTENDERS[name](predictions, labels, rows)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": seconds, "peak_gb": peak, "metrics": {k: float(v) for k, v in found.items()}}


def measured(rows: int, repeats: int) -> dict[str, object]:
    prepare(rows)
    runs: dict[str, list[dict[str, object]]] = {name: [] for name in CONTENDERS}
    for _ in range(repeats):
        for name, own in runs.items():
            command = [sys.executable, __file__, "--rows", str(rows), "--only", name]
            own.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    ours, theirs = (own[-1]["metrics"] for own in runs.values())
    apart = {name: abs(ours[name] - theirs[name]) for name in theirs}
    table = {
        name: {key: statistics.median(run[key] for run in own) for key in ("seconds", "peak_gb")}
        for name, own in runs.items()
    }
    seconds = [own["seconds"] for own in table.values()]
    return {
        "machine": platform.platform(),
        "rows": rows,
        "repeats": repeats,
        "median": table,
        "times_faster": seconds[1] / seconds[0],
        "metrics": ours,
        "largest_difference": max(apart.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(alone(given.only, given.rows)))
        return
    found = measured(given.rows, given.repeats)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.rows:,} labels joined to as many predictions, all binary metrics, {given.repeats} repeats (medians)")
    for name, own in found["median"].items():
        print(f"{name:24}{own['seconds']:9.2f} s{own['peak_gb']:9.2f} GB")
    print(f"{found['times_faster']:.1f} times faster (goal 5); metrics within {found['largest_difference']:.1e}")


if __name__ == "__main__":
    main()
