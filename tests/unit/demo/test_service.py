from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from driftline.demo.flights import Flight
from driftline.demo.model import Model, save
from driftline.demo.service import MODEL_FILE
from driftline.demo.traffic import serving
from driftline.errors import Unavailable

FLIGHT = Flight(17, 1905, 1400, "UA", "EWR", "IAH")
CSV = {"Content-Type": "text/csv"}


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    save(model, folder / MODEL_FILE)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[httpx.Client]:
    """A client of the real service in its own process."""
    at = datetime(2013, 6, 1, 9, tzinfo=UTC)
    with serving(folder, folder / "objects", at) as endpoint, httpx.Client(base_url=endpoint.url) as client:
        yield client


def test_each_line_gets_its_probability(client: httpx.Client, model: Model) -> None:
    other = FLIGHT._replace(hour=6)
    answer = client.post("/invocations", content=f"{FLIGHT.line()}\n{other.line()}\n", headers=CSV)
    assert answer.headers["content-type"].startswith("text/csv")
    assert [float(line) for line in answer.text.splitlines()] == [
        pytest.approx(model.probability(flight), abs=1e-6) for flight in (FLIGHT, other)
    ]


@pytest.mark.parametrize("body", [b"1,2,3", b"a,b,c,d,e,f", b"\xff\xfe"])
def test_what_is_no_flight_is_refused_with_a_reason(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/invocations", content=body, headers=CSV)
    assert answer.status_code == 422
    assert answer.text.strip()


def test_requests_are_captured_at_the_time_of_the_set_clock(client: httpx.Client, folder: Path) -> None:
    assert client.post("/clock", content="2013-06-02T21:30:00+00:00").status_code == 204
    client.post("/invocations", content=FLIGHT.line(), headers=CSV | {"X-Amzn-SageMaker-Inference-Id": "flight-1"})
    assert client.post("/flush").json()["dropped"] == {}
    (file,) = (folder / "objects/captured/flights/AllTraffic/2013/06/02/21").glob("*.jsonl")
    record = json.loads(file.read_text())
    assert record["eventMetadata"]["inferenceId"] == "flight-1"
    assert record["eventMetadata"]["inferenceTime"] == "2013-06-02T21:30:00Z"
    assert record["captureData"]["endpointInput"]["data"] == FLIGHT.line()


@pytest.mark.parametrize("text", ["yesterday", "", "2013-06-02T21:30:00"])
def test_a_clock_needs_a_time_with_a_zone(client: httpx.Client, text: str) -> None:
    assert client.post("/clock", content=text).status_code == 422


def test_a_new_model_file_is_served_from_the_next_request_on(client: httpx.Client, model: Model, folder: Path) -> None:
    save(replace(model, version="second", intercept=5.0), folder / MODEL_FILE)
    answer = client.post("/invocations", content=FLIGHT.line(), headers=CSV)
    assert answer.headers["x-model-version"] == "second"
    assert float(answer.text) > 0.9
    assert client.get("/ping").json()["model"] == "second"


def test_the_service_ends_with_its_block_even_in_trouble(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path / MODEL_FILE)
    seen: list[str] = []

    def interrupted() -> None:
        with serving(tmp_path, tmp_path, datetime(2013, 6, 1, tzinfo=UTC)) as endpoint:
            assert httpx.get(f"{endpoint.url}/ping").status_code == 200
            seen.append(endpoint.url)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{seen[0]}/ping")


def test_a_service_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    with (
        pytest.raises(Unavailable, match=r"service\.log"),
        serving(tmp_path, tmp_path, datetime(2013, 6, 1, tzinfo=UTC)),
    ):
        pass
    assert "model.json" in (tmp_path / "service.log").read_text()
