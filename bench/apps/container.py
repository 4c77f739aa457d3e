"""A container as SageMaker runs them, on Flask: GET /ping, POST /invocations; `gunicorn container:app`.

It is asked by the name of an endpoint too, as SageMaker's own door is.
"""

from __future__ import annotations

import json

from churn import scores
from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/ping")
def ping() -> Response:
    return Response(status=200)


@app.post("/invocations")
@app.post("/endpoints/churn/invocations")
def invocations() -> Response:
    if request.mimetype == "text/csv":
        found = scores([line.split(",") for line in request.get_data(as_text=True).splitlines()])
        return Response(",".join(map(str, found)), mimetype="text/csv")
    if request.mimetype == "application/jsonlines":
        rows = [json.loads(line)["features"] for line in request.get_data(as_text=True).splitlines()]
        return Response("\n".join(json.dumps({"score": s}) for s in scores(rows)), mimetype="application/jsonlines")
    if request.mimetype == "application/json":
        asked = request.get_json()
        return Response(
            json.dumps({"predictions": [{"score": s} for s in scores(asked["instances"])]}), mimetype="application/json"
        )
    return Response(
        json.dumps({"error": f"{request.mimetype} is not supported"}), status=415, mimetype="application/json"
    )
