"""What `driftline sink` bears: requests a second, each two events on connections of their own, on one core.

python bench/sink.py [--rate 1000] [--seconds 20] [--sampling 1.0]

The sink has the first core to itself, the load the second. Needs the extra `gateway`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time

from gateway import Server, counted

HEAD = (
    "POST / HTTP/1.1\r\nHost: sink\r\nCe-Specversion: 1.0\r\nCe-Type: org.kubeflow.serving.inference.{kind}\r\n"
    "Ce-Id: {number}\r\nCe-Source: http://localhost:9081/\r\nCe-Time: {time}\r\nCe-Inferenceservicename: bench\r\n"
    "Ce-Namespace: prod\r\nCe-Component: predictor\r\nCe-Metadata: {{}}\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n\r\n"
)
BODIES = {
    "request": b'{"instances": [[34, 0.5, 1.25, 2.5, 3.75, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]]}',
    "response": b'{"predictions": [0.8125]}',
}


async def logger(port: int, numbers: range, rate: float, took: list[float]) -> None:
    """One agent: an event for each side, the next once the sink has answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    for at, number in enumerate(numbers):
        if (wait := began + at / rate - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        for kind, body in BODIES.items():
            asked = time.perf_counter()
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            head = HEAD.format(kind=kind, number=number, time=moment, length=len(body))
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            took.append(time.perf_counter() - asked)
    writer.close()


async def load(port: int, rate: float, seconds: float, loggers: int) -> list[float]:
    took: list[float] = []
    each = int(rate * seconds / loggers)
    ranges = [range(at * each, (at + 1) * each) for at in range(loggers)]
    await asyncio.gather(*(logger(port, numbers, rate / loggers, took) for numbers in ranges))
    return sorted(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--sampling", type=float, default=1.0)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "driftline", "sink", "--json", "--store", store, "--port", "0"]
        sink = Server([*command, "--admin-port", "0", "--sampling", str(given.sampling)], cores[0])
        os.sched_setaffinity(0, {cores[-1]})
        try:
            before, began = sink.cpu_s(), time.perf_counter()
            took = asyncio.run(load(sink.port(), given.rate, given.seconds, 16))
            lasted = time.perf_counter() - began
            print(
                f"{len(took) / 2 / lasted:.0f} requests/s for {lasted:.1f} s: {len(took)} events, p50 "
                f"{took[len(took) // 2] * 1e3:.2f} ms, p99 {took[int(len(took) * 0.99)] * 1e3:.2f} ms; the sink's core "
                f"was busy {100 * (sink.cpu_s() - before) / lasted:.0f} % of the time, {sink.memory_mb():.0f} MB"
            )
        finally:
            sink.stop()
        print("captured:", ", ".join(f"{name} {count}" for name, count in counted(store).items()))


if __name__ == "__main__":
    main()
