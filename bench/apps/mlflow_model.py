"""Saves the model for `mlflow models serve`, with a signature: python mlflow_model.py FOLDER."""

from __future__ import annotations

import sys

import mlflow
import pandas as pd
from churn import FEATURES, trained

rows = pd.DataFrame([[34.0, 5.0, 70.0]], columns=FEATURES)
model = trained()
signature = mlflow.models.infer_signature(rows, model.predict(rows.to_numpy()))
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature)
