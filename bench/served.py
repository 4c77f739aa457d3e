"""The servers of bench/servers.py: how each is installed and started, and in which ways it is asked."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from driftline.schema import Shape

ROWS = [[34.0, 5.0, 70.0], [61.0, 40.0, 35.5]]
NAMES = ("age", "months", "spend")
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
BY_PLACE = ("in.0", "in.1", "in.2")
CSV, JSON = "text/csv", "application/json"


class Ask(NamedTuple):
    """One request, and what it must become."""

    what: str
    path: str
    content_type: str
    body: bytes
    rows: int
    columns: tuple[str, ...] = ()
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    shapes: tuple[tuple[Literal["input", "output"], Shape], ...] = ()
    """What must be declared of the endpoint's payloads."""


class Server(NamedTuple):
    """One server: the packages (the first one's version is told), its commands, its requests."""

    name: str
    venv: str
    packages: tuple[str, ...]
    start: tuple[str, ...]
    ready: str
    asks: tuple[Ask, ...]
    prepare: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """… of the gateway, or of the sink."""
    middleware: bool = False
    """Whether the middleware is in the server itself."""
    client: str = ""
    """A program that asks, in place of plain HTTP."""
    events: bool = False
    """Whether a sink gets events, rather than that requests go through a gateway."""
    imported: tuple[str, ...] = ()
    """What `driftline capture import` is told of the server's own log …"""
    log_rows: int = 0
    """… and how many rows there are in it."""


def json_of(value: Any) -> bytes:
    return json.dumps(value).encode()


TWO_LINES = b"34.0,5.0,70.0\n61.0,40.0,35.5\n"

FASTAPI = Server(
    "FastAPI",
    "fastapi",
    ("fastapi", "uvicorn", "scikit-learn", "msgspec"),
    ("{bin}/uvicorn", "fastapi_app:app", "--port", "{port}"),
    "/health",
    (
        Ask("a JSON object", "/predict", JSON, json_of(RECORDS[0]), 1, (*NAMES, "score")),
        Ask("instances of objects", "/v1/models/churn:predict", JSON, json_of({"instances": RECORDS}), 2, NAMES),
        Ask("CSV", "/invocations", CSV, TWO_LINES, 2),
        Ask("a JSON object that fails validation", "/predict", JSON, b'{"age": "old"}', 0, status=422),
    ),
    middleware=True,
)

_CONTAINER = (
    Ask("CSV; the answers on one line", "/invocations", CSV, TWO_LINES, 2),
    Ask("JSON lines", "/invocations", "application/jsonlines",
        b"\n".join(json_of({"features": row}) for row in ROWS), 2, ("features.0", "score")),
    Ask("instances of lists", "/invocations", JSON, json_of({"instances": ROWS}), 2, ("score",)),
    Ask("a type that it does not know", "/invocations", "image/png", b"\x89PNG", 0, status=415),
)  # fmt: skip

FLASK = Server(
    "Flask",
    "flask",
    ("flask", "gunicorn", "scikit-learn", "msgspec"),
    ("{bin}/gunicorn", "--workers", "2", "--preload", "--bind", "127.0.0.1:{port}", "flask_app:app"),
    "/ping",
    _CONTAINER,
    middleware=True,
)

CONTAINER = Server(
    "SageMaker container (gunicorn, Flask)",
    "flask",
    ("flask", "gunicorn", "scikit-learn", "msgspec"),
    ("{bin}/gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "container:app"),
    "/ping",
    _CONTAINER,
)

INVOKED = CONTAINER._replace(
    name="SageMaker, asked by boto3", packages=("boto3", *CONTAINER.packages), client="{apps}/invoke.py"
)

MLFLOW = Server(
    "MLflow",
    "mlflow",
    ("mlflow", "scikit-learn"),
    ("{bin}/mlflow", "models", "serve", "-m", "{work}/model", "--env-manager", "local", "-p", "{port}"),
    "/ping",
    (
        Ask("dataframe_split", "/invocations", JSON,
            json_of({"dataframe_split": {"columns": NAMES, "data": ROWS}}), 2, NAMES),
        Ask("dataframe_records", "/invocations", JSON, json_of({"dataframe_records": RECORDS}), 2, NAMES),
        Ask("instances of objects", "/invocations", JSON, json_of({"instances": RECORDS}), 2, NAMES),
        Ask("inputs: lists by column", "/invocations", JSON,
            json_of({"inputs": {name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}}), 2, NAMES),
        Ask("CSV with a header", "/invocations", CSV, ",".join(NAMES).encode() + b"\n" + TWO_LINES, 2, NAMES,
            shapes=(("input", "headed"),)),
        Ask("no known key", "/invocations", JSON, b'{"rows": []}', 0, status=400),
    ),
    prepare=("{bin}/python", "{apps}/mlflow_model.py", "{work}/model"),
)  # fmt: skip

BENTOML = Server(
    "BentoML",
    "bentoml",
    ("bentoml", "scikit-learn", "pandas"),
    ("{bin}/bentoml", "serve", "bento_service:Churn", "--port", "{port}"),
    "/readyz",
    (
        Ask("an array by the name of the parameter", "/predict", JSON, json_of({"input_data": ROWS}), 2),
        Ask("a data frame as records", "/score", JSON, json_of({"customers": RECORDS}), 2, (*NAMES, "score")),
        Ask("a data frame as columns", "/score", JSON,
            json_of({"customers": {name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}}), 2,
            (*NAMES, "score"), shapes=(("input", "columns"),)),
        Ask("one object", "/ask", JSON, json_of({"customer": RECORDS[0]}), 1, ("score",)),
        Ask("a list of objects", "/many", JSON, json_of({"customers": RECORDS}), 2, NAMES),
        Ask("an object without the parameter", "/predict", JSON, b"{}", 0, status=400),
    ),
    options=("--paths", "*"),
    imported=("{work}/monitoring/churn", "--endpoint", "churn-log"),
    log_rows=4,
)  # fmt: skip

_PD = {"content_type": "pd"}


def _tensor(name: str, data: list[Any], *shape: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": "FP64", "data": data, **more}


_FLAT = [value for row in ROWS for value in row]
_V2 = {"id": "17", "inputs": [_tensor("in", _FLAT, 2, 3)]}
_BY_COLUMN = [_tensor(name, [row[at] for row in ROWS], 2, 1) for at, name in enumerate(NAMES)]

MLSERVER = Server(
    "MLServer",
    "mlserver",
    ("mlserver", "mlserver-sklearn"),
    ("{bin}/mlserver", "start", "{work}"),
    "/v2/health/ready",
    (
        Ask("V2: one tensor", "/v2/models/churn/infer", JSON, json_of(_V2), 2, (*BY_PLACE, "predict")),
        Ask("V2: nested data", "/v2/models/churn/infer", JSON,
            json_of({"id": "17", "inputs": [_tensor("in", ROWS, 2, 3)]}), 2, BY_PLACE),
        Ask("V2: a tensor for each column (`pd`)", "/v2/models/churn/infer", JSON,
            json_of({"id": "17", "parameters": _PD, "inputs": _BY_COLUMN}), 2, NAMES),
        Ask("V2: the output that is asked for", "/v2/models/churn/infer", JSON,
            json_of(_V2 | {"outputs": [{"name": "predict_proba"}]}), 2, ("predict_proba.1",)),
        Ask("V2: a version in the path", "/v2/models/churn/versions/v1/infer", JSON, json_of(_V2), 2, BY_PLACE),
        Ask("V2: tensors that do not fit", "/v2/models/churn/infer", JSON, b'{"inputs": []}', 0, status=400),
        Ask("V2: a model that there is not", "/v2/models/other/infer", JSON, json_of(_V2), 0, status=404),
    ),
    prepare=("{bin}/python", "{apps}/mlserver_model.py", "{work}", "{port}"),
)  # fmt: skip

KSERVE = Server(
    "KServe (Python server)",
    "kserve",
    ("kserve", "scikit-learn"),
    ("{bin}/python", "{apps}/kserve_model.py", "{port}"),
    "/v2/health/ready",
    (
        Ask("V1: instances of lists", "/v1/models/churn:predict", JSON, json_of({"instances": ROWS}), 2),
        Ask("V1: instances of objects", "/v1/models/churn:predict", JSON, json_of({"instances": RECORDS}), 2, NAMES),
        Ask("V2: one tensor", "/v2/models/churn/infer", JSON, json_of(_V2), 2, (*BY_PLACE, "score")),
        Ask("V1: no instances", "/v1/models/churn:predict", JSON, b"{}", 0, status=400),
    ),
)

LOGGER = KSERVE._replace(
    name="KServe, by events of its logger",
    options=("--names", "{service}"),
    events=True,
)

SERVERS = (FASTAPI, FLASK, CONTAINER, INVOKED, MLFLOW, BENTOML, MLSERVER, KSERVE, LOGGER)
