"""What the gateway adds to a request, how many a second it holds on one core, and whether its memory stays flat.

    python bench/gateway.py added [--rate 500] [--seconds 10]
    python bench/gateway.py holds [--rate 2000] [--seconds 20] [--sampling 0.2]
    python bench/gateway.py flat [--requests 10000000] [--sampling 0.2]

`added` asks directly and through the gateway in turns, at a constant rate (open loop: a late answer does not delay
the next request, and is timed from when it should have been sent). `holds` does so through the gateway alone, and
counts what was captured. `flat` asks as fast as 32 connections can, and follows the gateway's memory. The gateway has
the first core to itself, the upstream and the load share the second. Needs the extra `gateway`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

BODY = b"34,0.5,yes,1.25,2.5,3.75,4,5,6,7,8,9,10,11,12,13,14,15"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: 7\r\n\r\n0.8125\n"


class Upstream(asyncio.Protocol):
    """A model server that takes no time: one answer per request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.waits = transport, b""

    def data_received(self, data: bytes) -> None:
        self.waits += data
        while (end := self.waits.find(b"\r\n\r\n")) >= 0 and len(self.waits) >= end + 4 + len(BODY):
            self.waits = self.waits[end + 4 + len(BODY) :]
            self.transport.write(ANSWER)


class Caller(asyncio.Protocol):
    """One connection that sends requests one after the other, and times them."""

    def __init__(self, load: Load) -> None:
        self.load, self.begun, self.got = load, 0.0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.load.free.append(self)

    def ask(self, due: float) -> None:
        self.begun = due
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.got.endswith(b"0.8125\n"):
            good, self.got = self.got.startswith(b"HTTP/1.1 200"), b""
            self.load.answered(self, time.perf_counter() - self.begun, good)

    def connection_lost(self, why: Exception | None) -> None:
        self.load.broken += not self.load.over


class Load:
    """Requests to one address, at a rate or as fast as they are answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.request = (
            f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: text/csv\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n"
        ).encode() + BODY
        self.free: deque[Caller] = deque()
        self.late: deque[float] = deque()
        self.took: list[float] = []
        self.asked = self.done = self.bad = self.broken = 0
        self.over = False
        self.most: int | None = None

    async def open(self, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: Caller(self), "127.0.0.1", self.port)

    def answered(self, caller: Caller, took: float, good: bool) -> None:
        self.done += 1
        self.bad += not good
        if self.most is not None:
            if self.asked < self.most:
                self.asked += 1
                caller.ask(0.0)
            return
        self.took.append(took)
        if self.late:
            caller.ask(self.late.popleft())
        else:
            self.free.append(caller)

    async def at(self, rate: float, seconds: float) -> None:
        """`rate` requests a second, evenly."""
        began, total = time.perf_counter() + 0.05, int(rate * seconds)
        for number in range(total):
            due = began + number / rate
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait if wait > 0.0005 else 0)
            self.asked += 1
            if self.free:
                self.free.popleft().ask(due)
            else:
                self.late.append(due)
        until = time.perf_counter() + 10
        while self.done < self.asked and time.perf_counter() < until:
            await asyncio.sleep(0.01)

    def percentile(self, share: float) -> float:
        return sorted(self.took)[int(share * (len(self.took) - 1))] * 1e3


class Server:
    """A process on a core of its own, that says on its first line where it listens."""

    def __init__(self, command: list[str], core: int) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
        )
        self.said = json.loads(self.process.stdout.readline())

    def port(self, name: str = "listening") -> int:
        return int(self.said[name].rpartition(":")[2])

    def memory_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


async def upstream() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"listening": f"http://127.0.0.1:{port}"}), flush=True)
    await asyncio.Event().wait()


def counted(store: str) -> dict[str, int]:
    total = {"seen": 0, "sampled": 0, "written": 0, "lost": 0, "lines": 0}
    for path in Path(store).rglob("*.json"):
        found = json.loads(path.read_text())
        for name in ("seen", "sampled", "written"):
            total[name] += found[name]
        total["lost"] += sum(found["dropped"].values())
    for path in Path(store).rglob("*.jsonl"):
        total["lines"] += path.read_bytes().count(b"\n")
    return total


async def added(direct: int, through: int, rate: float, seconds: float) -> None:
    took: dict[str, list[float]] = {"direct": [], "gateway": []}
    for round_ in range(3):
        for name, port in (("direct", direct), ("gateway", through)):
            load = Load(port)
            await load.open(32)
            await load.at(rate, seconds / 3)
            load.over = True
            took[name].append(load.percentile(0.5))
            print(
                f"round {round_ + 1}, {name:7}: p50 {load.percentile(0.5):.3f} ms, p99 {load.percentile(0.99):.3f} ms, "
                f"{load.done}/{load.asked} answered, {load.bad} bad, {load.broken} broken"
            )
    print(f"added to the p50: {statistics.median(took['gateway']) - statistics.median(took['direct']):.3f} ms")


async def holds(through: int, rate: float, seconds: float, gateway: Server) -> None:
    load = Load(through)
    await load.open(64)
    before = gateway.cpu_s()
    await load.at(rate, seconds)
    load.over = True
    print(
        f"{rate:g}/s for {seconds:g} s: {load.done}/{load.asked} answered, {load.bad} bad, {load.broken} broken; "
        f"p50 {load.percentile(0.5):.3f} ms, p99 {load.percentile(0.99):.3f} ms; "
        f"the gateway's core was busy {100 * (gateway.cpu_s() - before) / seconds:.0f} % of the time"
    )


async def flat(through: int, requests: int, gateway: Server) -> None:
    load = Load(through)
    load.most = requests
    await load.open(32)
    began = time.perf_counter()
    for caller in list(load.free):
        load.asked += 1
        caller.ask(0.0)
    told = 0
    while load.done < requests and not load.broken:
        await asyncio.sleep(0.2)
        if load.done >= told:
            rate = load.done / (time.perf_counter() - began)
            print(f"{load.done:>10} requests, {gateway.memory_mb():7.1f} MB, {rate:.0f}/s", flush=True)
            told += max(requests // 20, 1)
    load.over = True
    print(f"{load.done:>10} requests, {gateway.memory_mb():7.1f} MB, {load.bad} bad, {load.broken} broken")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["added", "holds", "flat", "upstream"])
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--sampling", type=float, default=0.2)
    given = parser.parse_args()
    if given.what == "upstream":
        asyncio.run(upstream())
        return
    cores = sorted(os.sched_getaffinity(0))
    model = Server([sys.executable, __file__, "upstream"], cores[-1])
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "driftline", "gateway", "--upstream", model.said["listening"], "--json"]
        command += ["--endpoint", "bench", "--store", store, "--sampling", str(given.sampling)]
        gateway = Server([*command, "--port", "0", "--admin-port", "0"], cores[0])
        os.sched_setaffinity(0, {cores[-1]})
        try:
            if given.what == "added":
                asyncio.run(added(model.port(), gateway.port(), given.rate or 500, given.seconds or 10))
            elif given.what == "holds":
                asyncio.run(holds(gateway.port(), given.rate or 2000, given.seconds or 20, gateway))
            else:
                asyncio.run(flat(gateway.port(), given.requests, gateway))
        finally:
            gateway.stop()
            model.stop()
        print("captured:", ", ".join(f"{name} {count}" for name, count in counted(store).items()))


if __name__ == "__main__":
    main()
