"""Real model servers, asked through the gateway (or with the middleware in them): do their payloads come out as rows?

python bench/servers.py            all servers
python bench/servers.py mlflow …   some of them

Each server is installed from PyPI into a virtual environment of its own below bench/data/servers (git-ignored), serves
the same little model, and is asked in the ways that its documentation shows; through the gateway and without it, whose
answers must be the same, byte for byte. What was captured is decoded as a window would be; the table says what each
request became. Exit status 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from contextlib import ExitStack, suppress
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from served import SERVERS, Ask, Server

from driftline.capture.record import decode as record_of
from driftline.dataset.dataset import Captured
from driftline.dataset.decode import decode
from driftline.objects.directory import Directory

HERE = Path(__file__).parent
ROOM = HERE / "data/servers"
ID = "X-Amzn-SageMaker-Inference-Id"


class Place:
    """The folder of one server: its virtual environment, its model, its logs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.folder = ROOM / server.venv
        self.work = self.folder / "work" / server.name.replace(" ", "-")
        self.python = self.folder / "bin/python"

    def install(self) -> None:
        """Once; a later run finds it."""
        if not self.python.exists():
            subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        pip = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = self.folder / "installed"
        there = done.read_text().split() if done.exists() else []
        if missing := [each for each in self.server.packages if each not in there]:
            subprocess.run([*pip, *missing], check=True)
            done.write_text("\n".join([*there, *missing]))

    def version(self) -> str:
        told = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
        return subprocess.check_output([self.python, "-c", told, self.server.packages[0]], text=True).strip()

    def environment(self, store: Path) -> dict[str, str]:
        own = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "STORE": str(store), "WORK": str(self.work)}
        own["PYTHONPATH"] = f"{HERE / 'apps'}:{HERE.parent / 'src'}"
        own["DRIFTLINE_SPOOL"] = str(self.work / "spool")
        return {**os.environ, **own}

    def command(self, words: tuple[str, ...], port: int) -> list[str]:
        return [word.format(bin=self.folder / "bin", apps=HERE / "apps", work=self.work, port=port) for word in words]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def ask(url: str, given: Ask, number: int) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    headers = {"Content-Type": given.content_type, ID: f"ask-{number}", **dict(given.headers)}
    try:
        connection.request("POST", given.path, given.body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def until_ready(process: subprocess.Popen[Any], port: int, path: str, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.3)
    sys.exit(f"the server is not ready; its log:\n{log.read_text()[-4000:]}")


def stop(process: subprocess.Popen[Any]) -> None:
    """End it and what it has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def started(stack: ExitStack, command: list[str], log: Path, **more: Any) -> subprocess.Popen[str]:
    with log.open("w") as out:
        process = subprocess.Popen(command, stderr=out, start_new_session=True, text=True, **{"stdout": out, **more})
    stack.callback(stop, process)
    return process


Rows = dict[str, list[dict[str, Any]]]


def rows_of(store: Path, endpoint: str, shapes: dict[Any, Any], into: Path) -> tuple[Rows, list[str]]:
    """The rows that a window over everything has, by the id of the request, and the reasons of its dead letters."""
    paths = tuple(sorted((store / "captured" / endpoint).rglob("*.jsonl")))
    decoded = decode(Captured(paths, shapes=shapes), into)
    table = pa.concat_tables([pq.read_table(path) for path in decoded.table.paths])
    dead = into / "dead_letters.jsonl"
    reasons = [json.loads(line)["reason"] for line in dead.read_text().splitlines()] if dead.exists() else []
    found: Rows = {}
    for row in table.to_pylist():
        found.setdefault(row["driftline.id"], []).append(row)
    return found, reasons


def statuses_of(store: Path) -> dict[str, int | None]:
    """Of every record the status, None where it is no error."""
    objects = Directory(store)
    keys = [entry.key for entry in objects.list("captured/") if entry.key.endswith(".jsonl")]
    records = [record_of(line) for key in keys for line in objects.get(key).splitlines()]
    return {record.join_id: record.status for record in records}


def tapped(stack: ExitStack, place: Place, direct: str, store: Path, environment: dict[str, str]) -> str:
    """The address of a gateway before the server, or of a sink for what is logged of it."""
    command = [sys.executable, "-m", "driftline", "sink" if place.server.events else "gateway", "--json"]
    command += ["--store", str(store), "--port", "0", "--admin-port", "-1", *place.server.options]
    if not place.server.events:
        command += ["--upstream", direct, "--endpoint", "churn"]
    process = started(stack, command, place.work / "driftline.log", env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    return json.loads(process.stdout.readline())["listening"]


def answered(place: Place, url: str, environment: dict[str, str]) -> list[tuple[int, bytes]]:
    """Status and body of the answer to each request."""
    asks = place.server.asks
    if not place.server.client:
        return [ask(url, each, number) for number, each in enumerate(asks)]
    given = [
        {"id": f"ask-{number}", "content_type": each.content_type, "request": b64encode(each.body).decode()}
        for number, each in enumerate(asks)
    ]
    command = [str(place.python), *place.command((place.server.client, url), 0)]
    told = subprocess.run(command, env=environment, check=True, input=json.dumps(given), text=True, capture_output=True)
    return [(status, b64decode(body)) for status, body in json.loads(told.stdout)]


def logged(place: Place, answers: list[tuple[int, bytes]], sink: str, environment: dict[str, str]) -> None:
    """Have the events sent that an agent before the server would send."""
    exchanges = [
        {
            "id": f"ask-{number}",
            "status": status,
            "content_type": each.content_type,
            "request": b64encode(each.body).decode(),
            "response": b64encode(body).decode(),
        }
        for number, (each, (status, body)) in enumerate(zip(place.server.asks, answers, strict=True))
    ]
    command = [place.python, HERE / "apps/events.py", sink]
    subprocess.run(command, env=environment, check=True, input=json.dumps(exchanges), text=True)


def tried(server: Server) -> bool:
    """Whether everything is as it should be; prints the rows of the table."""
    place = Place(server)
    place.install()
    subprocess.run(["rm", "-rf", place.work], check=True)
    place.work.mkdir(parents=True)
    store, port = place.work / "store", free_port()
    environment = place.environment(store)
    if server.prepare:
        subprocess.run(place.command(server.prepare, port), env=environment, check=True, cwd=place.work)
    with ExitStack() as stack:
        log = place.work / "server.log"
        process = started(stack, place.command(server.start, port), log, env=environment, cwd=place.work)
        until_ready(process, port, server.ready, log)
        direct = through = f"http://127.0.0.1:{port}"
        if not server.middleware:
            through = tapped(stack, place, direct, store, environment)
        answers = answered(place, direct if server.events else through, environment)
        same = True
        if server.events:
            logged(place, answers, through, environment)
        elif not server.middleware:
            same = answers == answered(place, direct, environment)
    if not same:
        print(f"{server.name}: the answers through the gateway are not the server's own")
    well = told(server, place, store, answers) and same
    return imported(server, place, environment) and well if server.imported else well


def imported(server: Server, place: Place, environment: dict[str, str]) -> bool:
    """Import what the server logged by itself; whether all of it became rows."""
    store = place.work / "imported"
    command = [sys.executable, "-m", "driftline", "capture", "import", *place.command(server.imported, 0)]
    environment |= {"DRIFTLINE_OBJECTS": str(store)}
    subprocess.run(command, env=environment, check=True, cwd=place.work)
    found, reasons = rows_of(store, "churn-log", {}, place.work / "decoded-log")
    rows = [row for rows in found.values() for row in rows]
    columns = [name for name in (rows[0] if rows else {}) if not name.startswith("driftline.")]
    right = len(rows) == server.log_rows and not reasons
    name = f"{server.name} {place.version()}"
    print(f"| {name} | its own log, imported | {len(rows)} rows: {', '.join(columns)} | {'yes' if right else 'NO'} |")
    return right


def told(server: Server, place: Place, store: Path, answers: list[tuple[int, bytes]]) -> bool:
    """Print what each request became; whether it is what it should be."""
    well = True
    statuses = statuses_of(store)
    decoded: dict[Any, tuple[Rows, list[str]]] = {}
    for shapes in {given.shapes for given in server.asks}:
        rows: Rows = {}
        reasons: list[str] = []
        for at, folder in enumerate(sorted((store / "captured").iterdir())):
            found, dead = rows_of(store, folder.name, dict(shapes), place.work / f"decoded-{len(decoded)}-{at}")
            rows |= found
            reasons += dead
        decoded[shapes] = rows, reasons
    for number, (given, (status, body)) in enumerate(zip(server.asks, answers, strict=True)):
        own = decoded[given.shapes][0].get(f"ask-{number}", [])
        names = [name for name, value in (own[0] if own else {}).items() if value is not None]
        columns = [name for name in names if not name.startswith("driftline.")]
        kept = statuses.get(f"ask-{number}", "not captured")
        right = len(own) == given.rows and set(given.columns) <= set(columns) and status == given.status
        right = right and kept == (status if status >= 400 else None)
        became = f"{len(own)} rows: {', '.join(columns)}" if own else f"error {kept}" if kept else "no rows"
        declared = "".join(f"; `{side}: {shape}` declared" for side, shape in given.shapes)
        print(f"| {server.name} {place.version()} | {given.what}{declared} | {became} | {'yes' if right else 'NO'} |")
        if not right:
            print(
                f"    {given}\n    was answered {status} {body[:300]!r}\n    {own[:3]} {set(decoded[given.shapes][1])}"
            )
        well = well and right
    return well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=" ".join(each.name for each in SERVERS))
    given = parser.parse_args()
    wanted = [each for each in SERVERS if not given.servers or each.venv in given.servers or each.name in given.servers]
    print(f"driftline {installed('driftline')}")
    well = [tried(server) for server in wanted]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
