"""A BentoML service that also keeps its own monitoring log: `bentoml serve bento_service:Churn`."""

from __future__ import annotations

import bentoml
import numpy as np
import pandas as pd
from churn import FEATURES, scores
from pydantic import BaseModel


class Customer(BaseModel):
    age: float
    months: float
    spend: float


@bentoml.service(workers=1)
class Churn:
    @bentoml.api
    def predict(self, input_data: np.ndarray) -> np.ndarray:
        found = scores(input_data)
        with bentoml.monitor("churn") as log:
            for row, score in zip(input_data, found, strict=True):
                for name, value in zip(FEATURES, row, strict=True):
                    log.log(float(value), name=name, role="feature", data_type="numerical")
                log.log(score, name="score", role="prediction", data_type="numerical")
        return np.asarray(found)

    @bentoml.api
    def score(self, customers: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"score": scores(customers[FEATURES].to_numpy())})

    @bentoml.api
    def ask(self, customer: Customer) -> dict[str, float]:
        return {"score": scores([[customer.age, customer.months, customer.spend]])[0]}

    @bentoml.api
    def many(self, customers: list[Customer]) -> list[float]:
        return scores([[each.age, each.months, each.spend] for each in customers])
