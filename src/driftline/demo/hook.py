"""Who is told in the demo: a small web server that checks the signature of each notice and keeps what it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from driftline.channels.webhook import KEY, verify
from driftline.errors import InputError


@dataclass
class Inbox:
    """What came in, each notice once."""

    url: str
    notices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By idempotency key."""
    refused: int = 0
    """Requests without a valid signature."""


@contextmanager
def listening(secret: str, clock: Callable[[], datetime], kept: Path) -> Iterator[Inbox]:
    """An inbox on a free port of this machine; notices are also appended to the file `kept`, one JSON a line."""

    class Handler(BaseHTTPRequestHandler):
        """Takes one notice."""

        def do_POST(self) -> None:
            """Keep the notice if it is signed; a notice that comes again is kept once."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                notice = verify(secret, dict(self.headers.items()), body, now=clock())
            except InputError:
                inbox.refused += 1
                self._answer(401)
                return
            key = self.headers.get(KEY, notice["key"])
            if key not in inbox.notices:
                inbox.notices[key] = notice
                with kept.open("ab") as file:
                    file.write(body + b"\n")
            self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name of the standard library
            """Say nothing: the terminal belongs to the demo."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    inbox = Inbox(f"http://127.0.0.1:{server.server_port}/hook")
    thread = Thread(target=server.serve_forever, name="demo-hook", daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
