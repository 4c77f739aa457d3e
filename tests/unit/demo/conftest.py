from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt
import pytest

from driftline.demo.flights import Flights, read_flights
from driftline.demo.model import Model, train


@pytest.fixture(scope="session")
def flights() -> Flights:
    return read_flights()


@pytest.fixture(scope="session")
def winter(flights: Flights) -> Flights:
    return flights.between(date(2013, 1, 1), date(2013, 2, 28)).share(1, 2)


@pytest.fixture(scope="session")
def trained(winter: Flights) -> tuple[Model, npt.NDArray[np.float64]]:
    return train(winter.facts, winter.late, winter.days, "winter")


@pytest.fixture(scope="session")
def model(trained: tuple[Model, npt.NDArray[np.float64]]) -> Model:
    return trained[0]
