"""FastAPI with the middleware in the application: `uvicorn fastapi_app:app`."""

from __future__ import annotations

import os

from churn import FEATURES, scores
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from driftline.capture import Capture, CaptureMiddleware


class Customer(BaseModel):
    age: float
    months: float
    spend: float


class Customers(BaseModel):
    instances: list[Customer]


inner = FastAPI()


@inner.post("/predict")
def predict(customer: Customer) -> dict[str, float]:
    return {"score": scores([[getattr(customer, name) for name in FEATURES]])[0]}


@inner.post("/v1/models/churn:predict")
def predict_many(asked: Customers) -> dict[str, list[float]]:
    return {"predictions": scores([[getattr(each, name) for name in FEATURES] for each in asked.instances])}


@inner.post("/invocations")
async def invocations(request: Request) -> Response:
    lines = (await request.body()).decode().splitlines()
    found = scores([line.split(",") for line in lines])
    return Response("".join(f"{score}\n" for score in found), media_type="text/csv")


@inner.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


app = CaptureMiddleware(inner, Capture("churn", os.environ["STORE"]))
