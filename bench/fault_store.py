"""A real S3 server behind a connection that can be hurt: cut, silent, slow, answered by nobody or by errors."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from conftest import BUCKET, S3Server

How: TypeAlias = Literal["well", "down", "errors", "silent", "slow", "answer lost"]
"""What becomes of requests: they pass; connections are cut; all get 500; nobody answers; bytes crawl; the store does as
asked, but its answer is lost."""
_PATIENCE_S = 10.0
_CRAWL = 2000
"""Bytes of a piece on a slow connection, of which 20 a second pass."""


class Wire:
    """A port on loopback that passes everything on to another port, as long as all is well."""

    def __init__(self, to: int) -> None:
        self.how: How = "well"
        self.met: set[How] = set()
        """What connections really went through."""
        self.look: Callable[[bytes], None] = lambda _: None
        """Sees every piece that a client sends, before it is passed on."""
        self._to = to
        self._open: set[socket.socket] = set()
        self._clients: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def turn(self, how: How, *, cut: bool = True) -> None:
        """From now on; connections that are open are cut, or stay as they are: nobody tells the client."""
        self.how = how
        if not cut:
            return
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.turn("down")
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        how = self.how
        self._open.add(client)
        self._clients.add(client)
        with client, suppress(OSError):
            if how == "down":
                self.met.add(how)
            elif how == "silent":
                while client.recv(1 << 16):
                    self.met.add(how)
            elif how == "errors":
                while _request(client):
                    self.met.add(how)
                    client.sendall(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
            else:
                with socket.create_connection(("127.0.0.1", self._to)) as server:
                    self._open.add(server)
                    back = threading.Thread(target=self._pass, args=(server, client, how), daemon=True)
                    back.start()
                    self._pass(client, server, "slow" if how == "slow" else "well")
                    back.join()
                    self._open.discard(server)
        self._open.discard(client)
        self._clients.discard(client)

    def _pass(self, one: socket.socket, other: socket.socket, how: How) -> None:
        with suppress(OSError):
            while data := one.recv(_CRAWL if how == "slow" else 1 << 16):
                self.met.add(how)
                if how == "answer lost":
                    break
                if one in self._clients:
                    self.look(data)
                if how == "slow":
                    time.sleep(0.05)
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _request(client: socket.socket) -> bool:
    """Read one request to its end; whether there was one."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(1 << 16)
        if not more:
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0]) - len(body) if lengths else 0
    while left > 0:
        left -= len(client.recv(1 << 16)) or left
    return True


@contextmanager
def s3(folder: Path) -> Iterator[tuple[S3Server, Wire, dict[str, str]]]:
    """A server, the wire to it, and the variables by which clients find the wire."""
    server = S3Server.new(folder)
    server.start()
    wire = Wire(server.ports[0])
    try:
        yield server, wire, {**server.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{wire.port}"}
    finally:
        wire.close()
        server.stop(kill=True)  # it has nothing to tidy up


def play(wire: Wire, seconds: float, scenes: Sequence[How]) -> None:
    """So many seconds of each, longer where no request came yet; then all is well again."""
    for how in scenes:
        wire.turn(how)
        until = time.monotonic() + seconds
        while time.monotonic() < until or (how not in wire.met and time.monotonic() < until + _PATIENCE_S):
            time.sleep(0.05)
    wire.turn("well")


__all__ = ["BUCKET", "How", "S3Server", "Wire", "play", "s3"]
