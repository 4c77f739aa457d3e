"""pandas, SciPy and scikit-learn: what one writes by hand."""

import pandas as pd
from scipy.stats import ks_2samp
from sklearn import metrics as m

PACKAGES = ("pandas", "scikit-learn", "scipy", "numpy", "pyarrow")
DIFFERS = {
    "profile": "all 20 columns: describe, distinct and frequent values; exact, in one thread",
    "drift": "19 columns: exact KS of 16 numbers, L-infinity of 3 categories; one distance each",
    "join": "merged on the id alone; exact curves",
}


def profile(work):
    frame = pd.read_parquet(work.current)
    table = frame[list(work.numeric)].describe()
    frame.isna().sum()
    frame.nunique()
    for name in (*work.categorical, work.identifier):
        frame[name].value_counts().head(100)
    return {"columns": len(frame.columns), "mean": float(table.loc["mean", "f01"])}


def drift(work):
    current, reference = (pd.read_parquet(path, columns=work.columns) for path in work.paths)
    distances = {
        n: ks_2samp(current[n].dropna(), reference[n].dropna(), method="asymp").statistic for n in work.numeric
    }
    for name in work.categorical:
        shares = (frame[name].value_counts(normalize=True) for frame in (current, reference))
        distances[name] = next(shares).sub(next(shares), fill_value=0).abs().max()
    return {"columns": len(distances), "ks": float(distances["f00"]), "mean": float(current["f01"].mean())}


def join(work):
    left = pd.read_parquet(work.paths[0], columns=["driftline.id", "driftline.score"])
    right = pd.read_parquet(work.paths[1], columns=["driftline.id", "driftline.label"])
    joined = left.merge(right, on="driftline.id")
    assert len(joined) == len(left)
    score = joined["driftline.score"].to_numpy()
    truth = (joined["driftline.label"] == "1").to_numpy().astype("int8")
    guess = (score > 0.5).astype("int8")
    m.confusion_matrix(truth, guess)
    m.roc_curve(truth, score)
    m.precision_recall_curve(truth, score)
    found = {
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
    return {name: float(value) for name, value in found.items()}
