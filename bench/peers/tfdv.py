"""TensorFlow Data Validation: statistics of data frames, and its drift comparators."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pandas as pd
import tensorflow_data_validation as tfdv

PACKAGES = ("tensorflow-data-validation", "tensorflow", "pandas", "pyarrow")
DIFFERS = {
    "profile": "all 20 columns, in one process: with two (n_jobs=2) a fresh process takes longer",
    "drift": "L-infinity of 3 categories, Jensen-Shannon of 16 numbers; statistics of all 20 columns twice",
}


def _statistics(path):
    return tfdv.generate_statistics_from_dataframe(pd.read_parquet(path), n_jobs=1)


def profile(work):
    features = _statistics(work.current).datasets[0].features
    mean = next(f.num_stats.mean for f in features if f.path.step[0] == "f01")
    return {"columns": len(features), "mean": mean}


def drift(work):
    current, reference = map(_statistics, work.paths)
    schema = tfdv.infer_schema(reference)
    for name in work.categorical:
        tfdv.get_feature(schema, name).drift_comparator.infinity_norm.threshold = 0.01
    for name in work.numeric:
        tfdv.get_feature(schema, name).drift_comparator.jensen_shannon_divergence.threshold = 0.01
    anomalies = tfdv.validate_statistics(current, schema, previous_statistics=reference)
    return {"columns": len(work.columns), "drifted": len(anomalies.anomaly_info)}
