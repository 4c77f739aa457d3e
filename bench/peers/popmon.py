"""popmon: histograms along the time, and their stability."""

import pandas as pd
import popmon
from popmon import Settings

PACKAGES = ("popmon", "pandas", "numpy", "histogrammar")
DIFFERS = {
    "drift": "18 columns along a time axis (the epoch is the axis); histograms of one day, ten and more distances"
}


def drift(work):
    current, reference = (pd.read_parquet(path, columns=work.columns) for path in work.paths)
    for frame in (current, reference):
        frame["ts"] = pd.to_datetime(frame[work.time], unit="ms")
    features = [f"ts:{name}" for name in work.columns if name != work.time]
    axis = {"time_axis": "ts", "time_width": "1d", "time_offset": "2026-01-01"}
    before = reference.pm_make_histograms(features=features, **axis)
    now = current.pm_make_histograms(features=features, time_axis="ts", bin_specs=popmon.get_bin_specs(before))
    settings = Settings()
    settings.reference_type, settings.time_axis, settings.features = "external", "ts", features
    popmon.stability_metrics(now, settings=settings, reference=before)
    return {"columns": len(features)}
