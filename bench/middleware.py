"""What the taps cost the endpoint: their share of the request thread, and the slowest requests of a FastAPI service.

    python bench/middleware.py [--quick] [--repeats N]

First each tap is called as a server would call it, 5,000 times a second, one by one, and beside each call the same
application without the tap: what is told is the difference. Then FastAPI under uvicorn is asked by wrk, a second long
with and a second long without capture in turns; the service has one core, wrk the other. Both are the same process,
asked for another path: processes with the same program are further apart than what is measured. That needs wrk
(`apt-get install wrk`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

from measure import ROOT, Record, keep
from options import options
from peers.run import environment

from driftline.capture import Capture, CaptureMiddleware, CaptureWSGIMiddleware, captured

RATE = 5_000
REQUEST = (
    b"-5.16974,3.51732,10.2858,0.536409,7.26806,-8.46826,-1.49811,-3.38039,3.95009,6.56546,"
    b"20.2633,-14.7036,-2.44412,-4.9807,295,482,911,208,cat16,cat44"
)
RESPONSE = b"0.49080954862320386"
SCENES = {
    "16 small networks, one caller": ("predict", 1, 0, 4),
    "a small network, one caller": ("score", 1, 0, 1),
    "a sum, 2,000/s": ("invocations", 16, 8, 1),
    "a sum, 8 callers, its core full": ("invocations", 8, 0, 1),
}
"""What the service does, how many callers there are, for how many milliseconds each of them waits on average before it
asks again, and for how many seconds it is asked."""
SERVICE = """
from fastapi import FastAPI, Request, Response
from driftline.capture import Capture, CaptureMiddleware
from math import tanh
from operator import mul
from random import Random
import os

app = FastAPI()
chance = Random(1)
network = [[[chance.gauss(0, 0.3) for _ in range(n)] for _ in range(m)] for n, m in ((14, 100), (100, 100), (100, 1))]

@app.post("/free/invocations")
@app.post("/invocations")
async def add(request: Request) -> Response:
    values = (await request.body()).split(b",")
    return Response(str(sum(map(float, values[:14]))), media_type="text/csv")

@app.post("/free/score")
@app.post("/score")
async def think(request: Request) -> Response:
    values = [float(value) for value in (await request.body()).split(b",")[:14]]
    return Response(str(thought(values)), media_type="text/csv")

@app.post("/free/predict")
@app.post("/predict")
async def think_again(request: Request) -> Response:
    values = [float(value) for value in (await request.body()).split(b",")[:14]]
    return Response(str(sum(thought(values) for _ in range(16)) / 16), media_type="text/csv")

def thought(values: list[float]) -> float:
    for layer in network:
        values = [tanh(sum(map(mul, weights, values))) for weights in layer]
    return values[0]

app.add_middleware(CaptureMiddleware, Capture("bench", os.environ["STORE"], sampling=float(os.environ["SAMPLING"])))
"""
WRK = """
wrk.method = "POST"
wrk.body = "{body}"
wrk.headers["Content-Type"] = "text/csv"
math.randomseed(os.time())
if {waits} > 0 then
  function delay() return math.floor(0.5 - {waits} * math.log(1 - math.random())) end
end
"""
Call = Callable[[int], object]


def asgi(capture: Capture) -> tuple[Call, Call]:
    """An application that reads its body and answers, without and with the middleware."""
    body = {"type": "http.request", "body": REQUEST, "more_body": False}
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-length", b"19"), (b"content-type", b"text/csv")],
    }
    answer = {"type": "http.response.body", "body": RESPONSE}
    headers = [
        (b"host", b"127.0.0.1:8000"),
        (b"user-agent", b"python-httpx/0.28.1"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"connection", b"keep-alive"),
        (b"content-type", b"text/csv"),
        (b"content-length", b"146"),
    ]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send(start)
        await send(answer)

    async def receive() -> Any:
        return body

    async def send(message: Any) -> None:
        pass

    def calling(app: Any) -> Call:
        def call(number: int) -> None:
            scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
            try:
                app(scope, receive, send).send(None)
            except StopIteration:
                return

        return call

    return calling(application), calling(CaptureMiddleware(application, capture))


def wsgi(capture: Capture) -> tuple[Call, Call]:
    """The same for WSGI."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [("Content-Type", "text/csv"), ("Content-Length", "19")])
        return [RESPONSE]

    def start_response(status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], object]:
        return lambda data: None

    def calling(app: Any) -> Call:
        def call(number: int) -> None:
            environ = {
                "REQUEST_METHOD": "POST",
                "SCRIPT_NAME": "",
                "PATH_INFO": "/invocations",
                "CONTENT_TYPE": "text/csv",
                "CONTENT_LENGTH": str(len(REQUEST)),
                "wsgi.input": BytesIO(REQUEST),
            }
            for _ in app(environ, start_response):
                pass

        return call

    return calling(application), calling(CaptureWSGIMiddleware(application, capture))


def decorator(capture: Capture) -> tuple[Call, Call]:
    """A function that takes and returns bytes."""

    def predict(data: bytes) -> bytes:
        return RESPONSE

    tapped = captured(capture)(predict)
    return lambda number: predict(REQUEST), lambda number: tapped(REQUEST)


def log(capture: Capture) -> tuple[Call, Call]:
    """A call by hand, with an id."""
    ids = [f"order-{number}" for number in range(RATE)]
    return lambda number: None, lambda number: capture.log(REQUEST, RESPONSE, inference_id=ids[number % RATE])


TAPS = {"ASGI middleware": asgi, "WSGI middleware": wsgi, "`@captured`": decorator, "`capture.log`": log}


def paced(bare: Call, tapped: Call, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds that each call took, both at 5,000 a second; the order within a pair changes."""
    taken: dict[Call, list[float]] = {bare: [], tapped: []}
    clock = time.perf_counter
    begin = clock()
    for number in range(int(RATE * seconds)):
        time.sleep(max(0.0, begin + number / RATE - clock()))
        for call in (bare, tapped) if number % 2 else (tapped, bare):
            start = clock()
            call(number)
            taken[call].append(clock() - start)
    return sorted(taken[bare]), sorted(taken[tapped])


def on_the_thread(name: str, sampling: float, seconds: float) -> Record:
    """Microseconds that a tap adds to a request."""
    with tempfile.TemporaryDirectory() as folder:
        capture = Capture("bench", f"{folder}/objects", sampling=sampling, spool=f"{folder}/spool")
        try:
            bare, tapped = paced(*TAPS[name](capture), seconds)
        finally:
            whole = capture.close()
        counters = capture.counters
    assert whole
    assert counters.seen == len(tapped)
    assert counters.written + counters.lost == counters.sampled
    at = {
        f"us_p{share:g}": (tapped[int(share / 100 * (len(tapped) - 1))] - bare[int(share / 100 * (len(bare) - 1))])
        * 1e6
        for share in (50, 90, 99)
    }
    means = (statistics.fmean(each) for each in (tapped, bare))
    return {"task": name, "sampling": sampling, "requests": len(tapped), "lost": counters.lost, **at,
            "us_mean": (next(means) - next(means)) * 1e6}  # fmt: skip


@contextmanager
def service(folder: Path, store: str, sampling: float, python: Path, core: int) -> Iterator[int]:
    """FastAPI under uvicorn, pinned to a core; its port."""
    (folder / "service.py").write_text(SERVICE)
    given = {"STORE": store, "SAMPLING": str(sampling), "PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    command = [python, "-m", "uvicorn", "service:app", "--port", "0", "--no-access-log"]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        env=given,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        for line in process.stderr:
            if found := re.search(r"running on http://[^:]+:(\d+)", line):
                yield int(found[1])
                break
        else:
            raise SystemExit("the service did not start")
    finally:
        process.terminate()
        process.wait(20)


def asked(url: str, callers: int, waits_ms: int, seconds: int, folder: Path, core: int) -> Record:
    """What wrk found in so many seconds: requests per second, and milliseconds."""
    (folder / "post.lua").write_text(WRK.format(body=REQUEST.decode(), waits=waits_ms))
    command = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--latency", "-s", str(folder / "post.lua"), url]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    ).stdout
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    shares = re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", said)
    found = {f"ms_p{share}": float(value) * units[unit] for share, value, unit in shares}
    return {"per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), **found}


def behind_fastapi(repeats: int) -> list[Record]:
    """With and without capture in turns, both services up all the time."""
    python = ROOT / environment("fastapi")
    cores = sorted(os.sched_getaffinity(0))
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (
            service(folder, f"{place}/fifth", 0.2, python, cores[0]) as fifth,
            service(folder, f"{place}/all", 1.0, python, cores[0]) as every,
        ):
            for repeat, (task, (path, *how)) in product(range(-1, repeats), SCENES.items()):
                for name, port in (("20% captured", fifth), ("100% captured", every)):
                    told = {}
                    for where in ("free/", "") if repeat % 2 == 0 else ("", "free/"):
                        told[where] = asked(f"http://127.0.0.1:{port}/{where}{path}", *how, folder, cores[-1])
                    without = {f"{what}_without": value for what, value in told["free/"].items()}
                    if repeat >= 0:  # the round before warms them up
                        records.append({"task": task, "contender": name, "repeat": repeat, **told[""], **without})
                        print(json.dumps(records[-1]), flush=True)
    for task, name in product(SCENES, ("20% captured", "100% captured")):
        own = [r for r in records if (r["task"], r["contender"]) == (task, name)]
        told = [f"{what} x {median_ratio(own, what)[0]:.3f}" for what in ("ms_p50", "ms_p99", "per_s")]
        print(f"FastAPI, {task}, {name}: {', '.join(told)}")
    return records


def median_ratio(records: list[Record], what: str) -> tuple[float, float, float]:
    """Over the rounds, of what it is with the middleware to what it is without; and where the median lies with 95 %."""
    ratios = sorted(r[what] / r[f"{what}_without"] for r in records)
    out = max(0, int(len(ratios) / 2 - 0.98 * len(ratios) ** 0.5))
    return statistics.median(ratios), ratios[out], ratios[-1 - out]


def main() -> None:
    given = options(__doc__, repeats=12)
    records: list[Record] = []
    for repeat in range(min(given.repeats, 3)):
        for name in TAPS:
            for sampling in (0.2, 1.0):
                told = on_the_thread(name, sampling, 0.5 if given.quick else 0.8)
                records.append({**told, "contender": f"{sampling:.0%} captured", "repeat": repeat})
                said = f"p50 {told['us_p50']:.1f} us, p90 {told['us_p90']:.1f} us, mean {told['us_mean']:.1f} us"
                print(f"{name}, {sampling:.0%} captured: adds {said}", flush=True)
    if shutil.which("wrk"):
        records += behind_fastapi(1 if given.quick else given.repeats)
    else:
        print("no wrk here: the FastAPI service is not asked", file=sys.stderr)
    keep("middleware", records, given.quick)


if __name__ == "__main__":
    main()
