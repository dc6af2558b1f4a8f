"""The application that the rows of http_cases*.py are asked of, and the event loops to run it on."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

from support.wire import Receive, Send, echo

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
for name in ("uvloop",):
    try:
        LOOPS[name] = importlib.import_module(name).new_event_loop
    except ImportError:  # pragma: no cover - an option of the installation
        continue


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Echoes; ``/status/N`` answers with that status, ``/stream`` in three pieces."""
    kind, _, number = scope["path"][1:].partition("/")
    if kind not in ("status", "stream"):
        await echo(scope, receive, send)
        return
    await receive()
    await send({"type": "http.response.start", "status": int(number or 200), "headers": [(b"x-answer", b"1")]})
    pieces = [b"a", b"", b"b"] if kind == "stream" else [b"body"]
    for index, piece in enumerate(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": index < len(pieces) - 1})
