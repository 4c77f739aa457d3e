"""Evidently: its two presets on data frames."""

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset, DataSummaryPreset

PACKAGES = ("evidently", "pandas", "numpy")
DIFFERS = {
    "profile": "DataSummaryPreset, 19 columns: the identifier is left out",
    "drift": "DataDriftPreset, 19 columns, one distance each (Wasserstein, Jensen-Shannon): the one it chooses",
}


def _dataset(path, work):
    frame = pd.read_parquet(path, columns=work.columns)
    definition = DataDefinition(numerical_columns=list(work.numeric), categorical_columns=list(work.categorical))
    return frame, Dataset.from_pandas(frame, data_definition=definition)


def profile(work):
    frame, current = _dataset(work.current, work)
    Report([DataSummaryPreset()]).run(current, None).dict()
    return {"columns": len(frame.columns), "mean": float(frame["f01"].mean())}


def drift(work):
    (frame, current), (_, reference) = _dataset(work.current, work), _dataset(work.reference, work)
    Report([DataDriftPreset()]).run(current, reference).dict()
    return {"columns": len(frame.columns)}
