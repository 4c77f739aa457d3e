"""The sink as a process: what KServe's payload logger sends it side by side becomes records of whole requests."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from driftline.capture.counters import Counters, stored_counters
from driftline.capture.record import Record, decode
from driftline.capture.sampler import chosen
from driftline.objects.directory import Directory
from driftline.windows import Window

pytest.importorskip("aiohttp")
ASKED, ANSWERED = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"


class Sink:
    """`driftline sink`, running."""

    def __init__(self, folder: Path, *more: str) -> None:
        command = [sys.executable, "-m", "driftline", "sink", "--store", str(folder / "objects")]
        command += ["--port", "0", "--admin-port", "0", "--json", *more]
        self.store = Directory(folder / "objects")
        environment = {"PATH": "", "DRIFTLINE_SPOOL": str(folder / "spool")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.told: dict[str, Any] = json.loads(self.process.stdout.readline())

    def send(
        self, body: bytes, headers: dict[str, str], method: str = "POST", port: str = "listening"
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.told[port].removeprefix("http://"), timeout=20)
        try:
            connection.request(method, "/" if port == "listening" else "/-/metrics", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def event(self, kind: str, event_id: str, body: bytes, content_type: str = "application/json", **more: str) -> int:
        return self.send(body, as_the_logger(kind, event_id, content_type, **more))[0]

    def metrics(self) -> str:
        return self.send(b"", {}, "GET", "admin")[1].decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def records(self, endpoint: str = "flights.prod", variant: str = "AllTraffic") -> list[Record]:
        entries = self.store.list(f"captured/{endpoint}/{variant}/2")
        return [decode(line) for entry in entries for line in self.store.get(entry.key).splitlines()]

    def counted(self, endpoint: str = "flights.prod") -> Counters:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251  the process lives in real time
        around = Window(hour - timedelta(hours=1), hour + timedelta(hours=1))
        return stored_counters(self.store, endpoint, "AllTraffic", around)


def as_the_logger(kind: str, event_id: str, content_type: str = "application/json", **more: str) -> dict[str, str]:
    """The headers that KServe's logger sends."""
    return {
        "Ce-Specversion": "1.0",
        "Ce-Type": kind,
        "Ce-Id": event_id,
        "Ce-Source": "http://localhost:9081/",
        "Ce-Time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}789Z",  # noqa: TID251  the process lives in real time
        "Ce-Inferenceservicename": "flights",
        "Ce-Namespace": "prod",
        "Ce-Component": "predictor",
        "Ce-Endpoint": "",
        "Ce-Metadata": "{}",
        "Content-Type": content_type,
        **{f"Ce-{name}": value for name, value in more.items()},
    }


@contextmanager
def running(folder: Path, *more: str) -> Iterator[Sink]:
    sink = Sink(folder, *more)
    try:
        yield sink
    finally:
        sink.process.kill()
        sink.process.communicate(timeout=20)


def body_of(record: Record) -> tuple[str, str]:
    assert record.input is not None
    assert record.output is not None
    return record.input.data, record.output.data


def test_both_sides_of_a_request_become_one_record_however_they_come(tmp_path: Path) -> None:
    asked, answered = b'{"instances": [[1.0, 2.50]]}', b'{"predictions": [1]}'
    with running(tmp_path) as sink:
        for kind, body in ((ASKED, asked), (ANSWERED, answered)):
            assert sink.send(body, as_the_logger(kind, "in-order")) == (200, b"")
        for kind, body in ((ANSWERED, answered), (ASKED, asked), (ASKED, asked), (ANSWERED, answered)):
            sink.send(body, as_the_logger(kind, "answer first, and all of it twice", Time=""))
        document = {"specversion": "1.0", "id": "batch", "source": "/", "namespace": "prod", "datacontenttype": None}
        document |= {"inferenceservicename": "flights", "component": "predictor", "endpoint": ""}
        batch = [
            {**document, "type": ASKED, "data": json.loads(asked)},
            {"id": "not an event"},
            {**document, "type": ANSWERED, "data": json.loads(answered)},
        ]
        batched = {"Content-Type": "application/cloudevents-batch+json"}
        assert sink.send(json.dumps(batch).encode(), batched) == (200, b"")
        metrics = sink.metrics()
        assert sink.stop() == 0
        records = {record.join_id: record for record in sink.records()}
        assert sorted(records) == ["answer first, and all of it twice", "batch", "in-order"]
        assert len(sink.records()) == 3
        assert {body_of(record)[1] for record in records.values()} == {answered.decode()}
        assert body_of(records["in-order"])[0] == asked.decode()
        assert (sink.counted().seen, sink.counted().written) == (3, 3)
    assert "driftline_sink_repeated_total 2" in metrics
    assert 'driftline_sink_refused_total{reason="bad_event"} 1' in metrics
    assert "driftline_sink_waiting 0" in metrics


def test_each_is_kept_under_the_service_that_it_names(tmp_path: Path) -> None:
    with running(tmp_path, "--id-header", "X-Request-Id") as sink:
        kept = {"Metadata": '{"X-Request-Id":["order-17"],"X-Amzn-Sagemaker-Custom-Attributes":["tier=gold"]}'}
        for kind in (ASKED, ANSWERED):
            sink.event(kind, "1", b"1,2", "text/csv", Endpoint="canary")
            sink.event(kind, "1", b"1,2", "text/csv", Component="transformer")
            sink.event(kind, "1", b"1,2", "text/csv", Namespace="dev", **kept)
            sink.event(kind, "1", b"1,2", "text/csv", Inferenceservicename="../x")
        assert sink.stop() == 0
        assert len(sink.records(variant="canary")) == 1
        assert len(sink.records("flights-transformer.prod")) == 1
        (named,) = sink.records("flights.dev")
        assert (named.inference_id, named.custom_attributes) == ("order-17", ("tier=gold",))
        assert sink.counted("kserve").dropped == {"endpoint or variant is not a name": 1}


def test_what_never_becomes_whole_is_counted_by_reason(tmp_path: Path) -> None:
    with running(tmp_path, "--wait", "0.2") as sink:
        sink.event(ASKED, "never answered", b"1")
        sink.event(ANSWERED, "never asked", b"1")
        for each in ("first", "second"):
            sink.event(ASKED, "the same id", each.encode())
        _until(sink, "driftline_sink_waiting 0")
        assert sink.stop() == 0
        lost = {"no answer came": 1, "no request came": 1, "one id for several requests": 2}
        assert (sink.counted().seen, sink.counted().written, sink.counted().dropped) == (4, 0, lost)


def test_no_more_wait_than_there_is_room_for_and_none_after_the_end(tmp_path: Path) -> None:
    with running(tmp_path, "--most-waiting", "5") as sink:
        for number in range(7):
            sink.event(ASKED, str(number), b"1")
        assert "driftline_sink_waiting 5" in sink.metrics()
        assert sink.stop() == 0
        lost = {"too many requests without an answer": 2, "sink stopped before the other side came": 5}
        assert sink.counted().dropped == lost


def test_what_waited_when_the_sink_was_killed_is_counted_by_the_next(tmp_path: Path) -> None:
    with running(tmp_path) as sink:
        for number in range(5):
            assert sink.event(ASKED, f"id-{number}", b"[1]") == 200
        for number in range(2):
            assert sink.event(ANSWERED, f"id-{number}", b"[0]") == 200
        sink.process.kill()
        sink.process.wait(30)
    with running(tmp_path) as heir:
        deadline = time.monotonic() + 20
        while heir.counted().seen < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        counted = heir.counted()
    assert (counted.seen, counted.sampled, counted.lost, counted.pending) == (5, 5, 5 - counted.written, 0)
    assert counted.dropped.keys() == {"process killed"}
    assert counted.written == len(heir.records()) <= 2


def test_of_a_sample_neither_side_of_the_others_is_kept(tmp_path: Path) -> None:
    ids = [f"order-{number}" for number in range(60)]
    with running(tmp_path, "--sampling", "0.3") as sink:
        for each in ids[:50]:
            for kind in (ASKED, ANSWERED):
                sink.event(kind, each, b"1")
        for each in ids[50:]:
            sink.event(ASKED, each, b"1")
        assert sink.stop() == 0
        wanted = [each for each in ids if chosen(each, 0.3)]
        assert [record.inference_id for record in sink.records()] == [each for each in wanted if each in ids[:50]]
        counted = sink.counted()
        assert (counted.seen, counted.sampled) == (60, len(wanted))
        assert counted.lost == len([each for each in wanted if each in ids[50:]])


def test_an_error_that_the_logger_tells_is_captured_with_its_status(tmp_path: Path) -> None:
    with running(tmp_path) as sink:
        sink.event(ASKED, "1", b"{}")
        sink.event(ANSWERED, "1", b'{"error": "no instances"}', Statuscode="422")
        assert sink.stop() == 0
        (record,) = sink.records()
        assert record.status == 422


@pytest.mark.parametrize("mode", ["request", "response"])
def test_a_logger_of_one_side_needs_no_other(mode: str, tmp_path: Path) -> None:
    with running(tmp_path, "--mode", mode) as sink:
        for kind in (ASKED, ANSWERED):
            sink.event(kind, "1", b"{}")
        assert sink.stop() == 0
        (record,) = sink.records()
        assert (record.input is None, record.output is None) == (mode == "response", mode == "request")
        assert (sink.counted().seen, sink.counted().lost) == (1, 0)


def test_bodies_are_kept_as_what_they_are_and_long_ones_in_part(tmp_path: Path) -> None:
    with running(tmp_path, "--max-body-bytes", "1000") as sink:
        sink.event(ASKED, "csv", b"1,2", "text/csv")
        sink.event(ANSWERED, "csv", b'{"predictions": [1]}', "text/csv")  # KServe tells the type of the request
        sink.event(ASKED, "long", b"x" * 5000, "text/csv")
        sink.event(ANSWERED, "long", b"")
        sink.event(ASKED, "packed", gzip.compress(b'{"instances": [[1]]}', mtime=0))
        sink.event(ANSWERED, "packed", b"{}")
        assert sink.stop() == 0
        csv, long, packed = sink.records()
        assert csv.output is not None
        assert (csv.output.encoding, csv.output.data) == ("JSON", '{"predictions": [1]}')
        assert long.input is not None
        assert long.input.truncated
        assert b64decode(long.input.data) == b"x" * 1000
        assert body_of(packed) == ('{"instances": [[1]]}', "{}")


HEAD = as_the_logger(ASKED, "1")
REFUSED: dict[str, tuple[int, str, dict[str, str], bytes]] = {
    "another method": (405, "GET", HEAD, b""),
    "no event at all": (400, "POST", {}, b"1,2"),
    "an old version": (400, "POST", {**HEAD, "Ce-Specversion": "0.2"}, b"1,2"),
    "a time that is far off": (400, "POST", {**HEAD, "Ce-Time": "2001-01-01T00:00:00Z"}, b"1,2"),
    "a format that nobody knows": (400, "POST", {"Content-Type": "application/cloudevents+avro"}, b"\x00"),
    "a batch that is broken": (400, "POST", {"Content-Type": "application/cloudevents-batch+json"}, b"[{"),
    "a batch without an event": (200, "POST", {"Content-Type": "application/cloudevents-batch+json"}, b"[]"),
    "an event of something else": (200, "POST", {**HEAD, "Ce-Type": "com.example.deployed"}, b"{}"),
    "metadata without values": (200, "POST", {**HEAD, "Ce-Metadata": '{"X-Request-Id":[]}', "Ce-Id": "3"}, b"{}"),
    "metadata that is none": (200, "POST", {**HEAD, "Ce-Metadata": "[1]", "Ce-Id": "2"}, b"{}"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with running(tmp_path_factory.mktemp("sink"), "--id-header", "X-Request-Id") as sink:
        yield sink


@pytest.mark.parametrize(("status", "method", "headers", "body"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_event_is_refused_and_the_next_one_taken(
    shared: Sink, status: int, method: str, headers: dict[str, str], body: bytes
) -> None:
    assert shared.send(body, headers, method)[0] == status
    assert shared.event(ASKED, f"after {body!r}", b"1,2") == 200


def test_many_connections_at_once_lose_nothing(tmp_path: Path) -> None:
    def logs(sink: Sink, worker: int) -> None:
        connection = http.client.HTTPConnection(sink.told["listening"].removeprefix("http://"), timeout=20)
        for number in range(50):
            for kind in (ASKED, ANSWERED):
                connection.request("POST", "/", b'{"a": 1}', as_the_logger(kind, f"{worker}-{number}"))
                assert connection.getresponse().read() == b""
        connection.close()

    with running(tmp_path) as sink:
        workers = [Thread(target=logs, args=(sink, worker)) for worker in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sink.stop() == 0
        assert len({record.inference_id for record in sink.records()}) == 400
        assert (sink.counted().written, sink.counted().lost) == (400, 0)


def test_a_connection_too_many_is_turned_away_and_counted_for_the_operator(tmp_path: Path) -> None:
    with running(tmp_path, "--max-connections", "1") as sink:
        address = sink.told["listening"].removeprefix("http://")
        first, second = (http.client.HTTPConnection(address, timeout=20) for _ in range(2))
        first.request("POST", "/", b'{"a": 1}', as_the_logger(ASKED, "1"))
        assert first.getresponse().read() == b""
        second.connect()
        assert second.sock.recv(1000).startswith(b"HTTP/1.1 503")
        assert "driftline_connections_refused_total 1" in sink.metrics()
        first.close()
        second.close()
        assert sink.stop() == 0
        assert (sink.counted().seen, sink.counted().dropped) == (1, {"sink stopped before the other side came": 1})


def _until(sink: Sink, mark: str) -> None:
    end = time.monotonic() + 20
    while mark not in sink.metrics():
        assert time.monotonic() < end
        time.sleep(0.05)
