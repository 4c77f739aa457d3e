"""Saves the model and the settings of MLServer: python mlserver_model.py FOLDER PORT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
from churn import trained

folder, port = Path(sys.argv[1]), int(sys.argv[2])
joblib.dump(trained(), folder / "model.joblib")
settings = {
    "host": "127.0.0.1",
    "http_port": port,
    "grpc_port": port + 1,
    "metrics_port": port + 2,
    "parallel_workers": 0,
}
(folder / "settings.json").write_text(json.dumps(settings))
model = {
    "name": "churn",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "parameters": {"uri": "./model.joblib", "version": "v1"},
}
(folder / "model-settings.json").write_text(json.dumps(model))
