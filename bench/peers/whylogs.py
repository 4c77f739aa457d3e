"""whylogs: sketches of all columns, and the drift scores of two profiles."""

import pandas as pd
import whylogs as why
from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

PACKAGES = ("whylogs", "pandas", "numpy")
DIFFERS = {
    "profile": "all 20 columns: KLL, HyperLogLog and frequent-item sketches",
    "drift": "all 20 columns: Kolmogorov-Smirnov or chi-square from the sketches",
}


def profile(work):
    view = why.log(pandas=pd.read_parquet(work.current)).view()
    table = view.to_pandas()
    return {"columns": len(table), "mean": float(table.loc["f01", "distribution/mean"])}


def drift(work):
    current, reference = (why.log(pandas=pd.read_parquet(path)).view() for path in work.paths)
    return {"columns": len(calculate_drift_scores(target_view=current, reference_view=reference, with_thresholds=True))}
