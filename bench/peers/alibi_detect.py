"""alibi-detect: Kolmogorov-Smirnov of every number."""

import importlib.metadata

import pandas as pd
from alibi_detect.cd import KSDrift

PACKAGES = ("alibi-detect", "pandas", "numpy", "scipy")
DIFFERS = {"drift": "16 numbers only, one exact test each; nulls become 0 (it takes none); no profile, no categories"}


def drift(work):
    columns = list(work.numeric)
    current, reference = (pd.read_parquet(path, columns=columns).fillna(0).to_numpy() for path in work.paths)
    found = KSDrift(reference, p_val=0.05).predict(current)
    return {
        "columns": len(columns),
        "ks": float(found["data"]["distance"][0]),
        "version": importlib.metadata.version("scipy"),
    }
