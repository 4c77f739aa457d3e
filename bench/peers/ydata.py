"""ydata-profiling: its minimal report, not rendered."""

import pandas as pd
from ydata_profiling import ProfileReport

PACKAGES = ("ydata-profiling", "pandas", "numpy")
DIFFERS = {"profile": "all 20 columns, minimal mode (no correlations), nothing rendered"}


def profile(work):
    found = ProfileReport(pd.read_parquet(work.current), minimal=True, progress_bar=False).get_description()
    return {"columns": len(found.variables), "mean": float(found.variables["f01"]["mean"])}
