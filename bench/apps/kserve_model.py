"""The model in KServe's own Python server, asked by protocol V1 and V2: python kserve_model.py PORT."""

from __future__ import annotations

import sys
from typing import Any

from churn import FEATURES, scores
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput


class Churn(Model):
    def __init__(self) -> None:
        super().__init__("churn")
        self.ready = True

    def predict(self, payload: Any, *_: Any, **__: Any) -> Any:
        if isinstance(payload, InferRequest):
            found = scores(payload.inputs[0].as_numpy())
            output = InferOutput(name="score", shape=[len(found)], datatype="FP64", data=found)
            return InferResponse(payload.id, "churn", [output])
        try:
            rows = [[row[name] for name in FEATURES] if isinstance(row, dict) else row for row in payload["instances"]]
        except KeyError as why:
            raise InvalidInput(f"there is no {why}") from why
        return {"predictions": scores(rows)}


ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([Churn()])
