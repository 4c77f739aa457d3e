"""A real server, stopped as an orchestrator stops it: nothing is half written, and every request is accounted for."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from driftline.capture.counters import stored_counters
from driftline.capture.record import decode
from driftline.capture.sampler import chosen
from driftline.objects.directory import Directory
from driftline.windows import Window

SERVER = textwrap.dedent(
    """
    import sys
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route
    from driftline.capture import Capture, CaptureMiddleware

    async def predict(request: Request) -> Response:
        body = await request.body()
        if body == b"broken":
            raise ValueError("the application's own error")
        return Response(str(sum(map(float, body.split(b",")))), media_type="text/csv")

    async def stream(request: Request) -> Response:
        body = await request.body()
        return StreamingResponse(iter([body, b"!"]), media_type="application/json")

    app = Starlette(routes=[
        Route("/invocations", predict, methods=["POST"]), Route("/stream", stream, methods=["POST"]),
    ])
    capture = Capture("sums", sys.argv[1], sampling=0.5, roll_after_s=0.3, max_file_bytes=20_000)
    uvicorn.run(CaptureMiddleware(app, capture, paths=("/invocations", "/stream")), port=0, log_level="info")
    """
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "objects")], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"running on (http://[\d.:]+)", line)
            if found:
                break
        else:
            raise AssertionError("the server did not start")
        yield process, found[1]
        process.kill()


def test_a_terminated_server_leaves_whole_files_and_accounts_for_every_request(
    server: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, url = server
    began = datetime.now(UTC)  # noqa: TID251  the server in its own process lives in real time
    with httpx.Client(base_url=url, headers={"content-type": "text/csv"}) as client:

        def ask(number: int) -> tuple[str, str]:
            named = {"X-Amzn-SageMaker-Inference-Id": f"order-{number}"} if number % 3 else {}
            path, body = ("/stream", "[1]") if number % 5 == 0 else ("/invocations", f"{number},1")
            answer = client.post(path, content=body, headers=named)
            assert answer.status_code == 200
            assert answer.text == ("[1]!" if number % 5 == 0 else f"{number + 1.0}")
            told = answer.headers.get("X-Driftline-Event-Id")
            assert (told is None) == bool(named)
            return told or f"order-{number}", body

        with ThreadPoolExecutor(4) as pool:
            asked = dict(pool.map(ask, range(300)))
        failed = client.post("/invocations", content="broken")
        assert failed.status_code == 500
        asked[failed.headers["X-Driftline-Event-Id"]] = "broken"
    process.send_signal(signal.SIGTERM)
    process.wait(20)

    store = Directory(tmp_path / "objects")
    entries = [entry.key for entry in store.list("captured/sums/AllTraffic/") if entry.key.endswith(".jsonl")]
    files = [store.get(key) for key in entries]
    assert all(data.endswith(b"\n") for data in files)
    records = [decode(line) for data in files for line in data.splitlines()]
    kept = {key for key in asked if chosen(key, 0.5)}
    assert {record.join_id for record in records} == kept
    assert len(records) == len(kept)
    for record in records:
        assert record.input is not None
        assert record.input.body.decode() == asked[record.join_id]
        assert record.probability == 0.5
        assert record.status == (500 if asked[record.join_id] == "broken" else None)
    assert not list((tmp_path / "objects").rglob("*.tmp"))
    hour = began.replace(minute=0, second=0, microsecond=0)
    counted = stored_counters(store, "sums", "AllTraffic", Window(hour, hour + timedelta(hours=2)))
    assert counted.seen == len(asked) == 301
    assert counted.written + counted.lost == counted.sampled == len(kept)
    assert counted.lost == 0
    assert json.loads(store.get(next(store.list("captured/sums/AllTraffic/_counters/")).key))["sampling"] == 0.5


def test_a_killed_server_leaves_only_whole_files(server: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    process, url = server
    with httpx.Client(base_url=url) as client:
        for number in range(200):
            client.post("/invocations", content=f"{number},1", headers={"content-type": "text/csv"})
    process.kill()
    process.wait(20)
    store = Directory(tmp_path / "objects")
    for entry in store.list("captured/"):
        data = store.get(entry.key)
        assert data.endswith(b"\n")
        if entry.key.endswith(".jsonl"):
            assert all(decode(line).probability == 0.5 for line in data.splitlines())
