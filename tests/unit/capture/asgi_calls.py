"""Applications, and calls of them as a server makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from driftline.capture.asgi import App, Message, Receive, Scope, Send


def scope(path: str = "/invocations", method: str = "POST", **headers: str) -> Scope:
    named = {"content-type": "text/csv"} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw}


def answering(*chunks: bytes, status: int = 200, kind: bytes = b"text/csv; charset=utf-8", read: bool = True) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while read and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        for number, chunk in enumerate(chunks, 1):
            await send({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})

    return app


def ask(app: App, at: Scope, *chunks: bytes) -> list[Message]:
    """All that the application sends, in order."""
    waiting = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, 1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await app(at, receive, send)

    asyncio.run(run())
    return sent


def headers(messages: Iterable[Message]) -> dict[bytes, bytes]:
    return dict(next(iter(messages))["headers"])
