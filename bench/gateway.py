"""What the gateway adds to a request, how many a second it holds on one core, and whether its memory stays flat.

    python bench/gateway.py goals [--quick]                                    both of the next, kept as results
    python bench/gateway.py added [--rate 500] [--seconds 30]
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
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Self

from measure import Record, keep, values

ROUNDS = 6

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


class Load:
    """Requests to one address, at a rate or as fast as they are answered.

    It sleeps until the next request is due or an answer has come (`select` sleeps by the microsecond, an event loop by
    the millisecond). A loop that spins instead takes the core that it shares with the upstream, and is measured itself.
    """

    def __init__(self, port: int, connections: int) -> None:
        self.request = (
            f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: text/csv\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n"
        ).encode() + BODY
        self.free: deque[socket.socket] = deque()
        for _ in range(connections):
            self.free.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            self.free[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.busy: dict[socket.socket, tuple[float, bytes]] = {}
        self.took: list[float] = []
        self.asked = self.done = self.bad = self.broken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (*self.free, *self.busy):
            connection.close()

    def ask(self, due: float) -> None:
        connection = self.free.popleft()
        connection.sendall(self.request)
        self.busy[connection] = due, b""
        self.asked += 1

    def hear(self, wait: float) -> None:
        """What has been answered within so many seconds."""
        if not self.busy:
            time.sleep(wait)
            return
        for connection in select.select(list(self.busy), (), (), wait)[0]:
            due, got = self.busy.pop(connection)
            data = connection.recv(65536)
            got += data
            if not data:
                self.broken += 1
            elif not got.endswith(b"0.8125\n"):
                self.busy[connection] = due, got
            else:
                self.done += 1
                self.bad += not got.startswith(b"HTTP/1.1 200")
                self.took.append(time.perf_counter() - due)
                self.free.append(connection)

    def at(self, rate: float, seconds: float) -> None:
        """`rate` requests a second, evenly, each timed from when it is due."""
        began, total = time.perf_counter() + 0.05, int(rate * seconds)
        sent = 0
        while (now := time.perf_counter()) < began + seconds + 10 and (sent < total or self.busy):
            while self.free and sent < total and began + sent / rate <= now:
                self.ask(began + sent / rate)
                sent += 1
            self.hear(max(0.0, began + sent / rate - now) if sent < total and self.free else 0.01)

    def fully(self, requests: int) -> None:
        """So many requests, each connection's as soon as the one before it is answered."""
        requests += self.asked
        while self.busy or self.asked < requests:
            while self.free and self.asked < requests:
                self.ask(time.perf_counter())
            self.hear(1.0)

    def percentile(self, share: float) -> float:
        """Milliseconds."""
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


def added(direct: int, through: int, rate: float, seconds: float) -> list[Record]:
    """Both ways in turns, each round in the other order."""
    records: list[Record] = []
    for repeat in range(ROUNDS):
        ways = [("direct", direct), ("gateway", through)]
        for name, port in ways if repeat % 2 == 0 else reversed(ways):
            with Load(port, 32) as load:
                load.at(rate, seconds / ROUNDS)
            record = {"task": "added", "contender": name, "repeat": repeat, "rate": rate, **told(load)}
            records.append(record)
            print(f"{name:8} {record}", flush=True)
    apart = [
        values(records, "added", "gateway", "ms_p50")[n] - values(records, "added", "direct", "ms_p50")[n]
        for n in range(ROUNDS)
    ]
    print(f"added to the p50 at {rate:g}/s: {statistics.median(apart):.3f} ms (rounds: {sorted(apart)})")
    return records


def told(load: Load) -> Record:
    return {
        "asked": load.asked,
        "answered": load.done,
        "bad": load.bad,
        "broken": load.broken,
        "ms_p50": round(load.percentile(0.5), 3),
        "ms_p99": round(load.percentile(0.99), 3),
    }


def holds(through: int, rate: float, seconds: float, gateway: Server) -> Record:
    with Load(through, 64) as load:
        before, began = gateway.cpu_s(), time.perf_counter()
        load.at(rate, seconds)
        took = time.perf_counter() - began
        busy = (gateway.cpu_s() - before) / took
    record = {"task": "holds", "contender": "gateway", "repeat": 0, "rate": rate, "seconds": seconds}
    record |= {"took": round(took, 2), "busy": round(busy, 3), **told(load)}
    print(record, flush=True)
    return record


def flat(through: int, requests: int, gateway: Server) -> None:
    with Load(through, 32) as load:
        began = time.perf_counter()
        while load.done < requests and not load.broken:
            load.took.clear()
            load.fully(max(requests // 20, 1))
            rate = load.done / (time.perf_counter() - began)
            print(f"{load.done:>10} requests, {gateway.memory_mb():7.1f} MB, {rate:.0f}/s", flush=True)
        print(f"{load.done:>10} requests, {load.bad} bad, {load.broken} broken")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["goals", "added", "holds", "flat", "upstream"])
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--sampling", type=float, default=0.2)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time")
    given = parser.parse_args()
    if given.what == "upstream":
        asyncio.run(upstream())
        return
    cores = sorted(os.sched_getaffinity(0))
    model = Server([sys.executable, __file__, "upstream"], cores[-1])
    records: list[Record] = []
    shorter = 0.2 if given.quick else 1.0
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "driftline", "gateway", "--upstream", model.said["listening"], "--json"]
        command += ["--endpoint", "bench", "--store", store, "--sampling", str(given.sampling)]
        gateway = Server([*command, "--port", "0", "--admin-port", "0"], cores[0])
        os.sched_setaffinity(0, {cores[-1]})
        try:
            if given.what in ("goals", "added"):
                records += added(model.port(), gateway.port(), given.rate or 500, (given.seconds or 30) * shorter)
            if given.what in ("goals", "holds"):
                records.append(holds(gateway.port(), given.rate or 2000, (given.seconds or 20) * shorter, gateway))
            if given.what == "flat":
                flat(gateway.port(), given.requests, gateway)
        finally:
            gateway.stop()
            model.stop()
        captured = counted(store)
    print("captured:", ", ".join(f"{name} {count}" for name, count in captured.items()))
    if given.what == "goals":
        records.append({"task": "captured", "contender": "gateway", "repeat": 0, **captured})
        keep("gateway", records, given.quick)


if __name__ == "__main__":
    main()
