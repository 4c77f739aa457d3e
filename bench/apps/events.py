"""Sends to a sink what KServe's agent would: python events.py URL < exchanges.json.

The events are made by the CloudEvents SDK that KServe brings. They are sent one by one (binary mode), as documents
(structured mode) and in one batch, in turn; of every second exchange the answer comes first.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request, urlopen

from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent


def event(kind: str, exchange: dict[str, Any], data: bytes) -> CloudEvent:
    attributes = {
        "id": exchange["id"],
        "source": "http://localhost:9081/",
        "type": f"org.kubeflow.serving.inference.{kind}",
        "time": datetime.now(UTC).isoformat(),  # noqa: TID251  events are of the world's time
        "datacontenttype": exchange["content_type"],
        "inferenceservicename": "churn",
        "namespace": "prod",
        "component": "predictor",
        "metadata": "{}",
    }
    if exchange["status"] >= 400:
        attributes["statuscode"] = str(exchange["status"])
    return CloudEvent(attributes, json.loads(data) if exchange["content_type"] == "application/json" else data)


def send(headers: dict[str, str], body: bytes) -> None:
    with urlopen(Request(sys.argv[1], body, headers, method="POST")) as answer:
        assert (answer.status, answer.read()) == (200, b"")


batch = []
for number, exchange in enumerate(json.load(sys.stdin)):
    sides = [event(kind, exchange, b64decode(exchange[kind])) for kind in ("request", "response")]
    for each in sides if number % 2 else reversed(sides):
        if number % 3 == 2:
            batch.append(to_structured(each)[1])
        else:
            send(*(to_structured(each) if number % 3 else to_binary(each)))
send({"Content-Type": "application/cloudevents-batch+json"}, b"[" + b",".join(batch) + b"]")
