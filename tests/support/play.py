"""Small pieces that tests of exchanges are put together from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from support.wire import App, Receive, Send, Wire


class Clock:
    """In place of ``monotonic`` in the writing half of connections, so that tests say where a pause is."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"


def start(*headers: Any, status: Any = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: Any = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sends(*messages: dict[str, Any]) -> App:
    """An application that only sends these."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


async def answer(app: App, *data: bytes, codec: str = "auto", **options: Any) -> Wire:
    """A connection on which ``data`` was sent and all has come to rest."""
    wire = Wire(app, codec, **options)
    await wire.feed(*(data or (GET,)))
    await wire.settle()
    return wire


def run(play: Callable[[], Awaitable[Any]]) -> None:
    """Run a test's coroutine now."""
    asyncio.run(play())  # type: ignore[arg-type]
