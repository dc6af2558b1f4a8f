"""The admin listener's ASGI application: read-only, small answers, and nothing that can wait for a worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..metrics.exposition import OPENMETRICS, PROMETHEUS, expose, is_openmetrics
from ..metrics.gather import gather
from ..protocols.asgi import Field, Receive, Scope, Send
from . import hosts
from .history import EVERY, History
from .measures import Measures
from .page import Page
from .source import Source

if TYPE_CHECKING:
    from .app_metrics import AppMetrics

MAX_STREAMS = 16
"""Event streams at once. Each costs a status a second."""
STREAM_EVERY = 1.0
"""Seconds between two events."""

Answer = tuple[int, list[Field], bytes]
"""Status, headers, body."""

TEXT = b"text/plain; charset=utf-8"
_HEADERS: list[Field] = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Admin:
    """Answers from ``source``. ``names``: what a Host header may say beside addresses and ``localhost``.

    ``app_metrics``: the application's own, if they are to be shown, too.
    """

    def __init__(self, source: Source, measures: Measures, names: Iterable[str], app_metrics: AppMetrics | None) -> None:
        self._source = source
        self._measures = measures
        self._app_metrics = app_metrics
        self._names = frozenset(name.lower().rstrip(".") for name in names)
        self._page = Page()
        self._history = History()
        self._streams = 0
        self._routes: dict[str, Callable[[Scope], Answer]] = {
            "/": self._show_page,
            "/livez": lambda scope: self._probe(self._source.trouble(time.monotonic()), "alive"),
            "/readyz": lambda scope: self._probe(self._source.unready(time.monotonic()), "ready"),
            "/status": lambda scope: _json(self._source.status(time.monotonic())),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path = scope["path"]
        refusal = self._refuse(scope, path)
        if refusal is None and path == "/events":
            if self._streams < MAX_STREAMS:
                await self._stream(scope, receive, send)
                return
            refusal = 503, [(b"retry-after", b"5")], b"too many event streams\n"
        if refusal is None and path == "/metrics":
            refusal = await self._metrics(scope)
        await _send(send, refusal or self._routes[path](scope))

    def _refuse(self, scope: Scope, path: str) -> Answer | None:
        if path not in self._routes and path not in ("/events", "/metrics"):
            return 404, [], b"not found\n"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, [(b"allow", b"GET, HEAD")], b"read-only\n"
        if path in ("/", "/status", "/events") and not hosts.is_known(_header(scope, b"host"), self._names):
            return 421, [], b"this name is not served here; --admin-host adds one\n"
        return None

    # ------------------------------------------------------------------------------------------------------------ answers

    def _show_page(self, scope: Scope) -> Answer:
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", self._page.policy)]
        return 200, headers, self._page.body

    @staticmethod
    def _probe(problem: str, good: str) -> Answer:
        return (503, [], f"{problem}\n".encode()) if problem else (200, [], f"{good}\n".encode())

    async def _metrics(self, scope: Scope) -> Answer:
        openmetrics = is_openmetrics(_header(scope, b"accept"))
        text = expose(gather(self._measures.facts()), openmetrics)
        if self._app_metrics is not None:
            loop, workers = asyncio.get_running_loop(), self._source.pids()
            theirs = await loop.run_in_executor(None, self._app_metrics.text, workers, openmetrics)
            # In OpenMetrics the end is marked, once.
            text = text.removesuffix("# EOF\n") + theirs + ("# EOF\n" if openmetrics else "")
        return 200, [(b"content-type", (OPENMETRICS if openmetrics else PROMETHEUS).encode())], text.encode()

    # ------------------------------------------------------------------------------------------------------------- events

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The status, once a second; for the dashboard also the plots' points and the last lines of the log."""
        is_dashboard = scope["query_string"] == b"dashboard"
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), *_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        self._streams += 1
        left = asyncio.ensure_future(_left(receive))
        try:
            seen, shown = 0.0, deque[dict[str, Any]](maxlen=1)
            while not left.done():
                text = f"data: {json.dumps(self._source.status(time.monotonic()))}\n\n"
                if is_dashboard:
                    points = [point for point in self._history.points if point.time > seen]
                    seen = points[-1].time if points else seen
                    text += _event("points", [point.row() for point in points]) if points else ""
                    events = self._source.events()
                    if events and (not shown or events[-1] != shown[0]):
                        shown.append(events[-1])
                        text += _event("log", events)
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
                await asyncio.wait((left,), timeout=STREAM_EVERY)
        finally:
            left.cancel()
            self._streams -= 1

    async def keep_history(self) -> None:
        """Add to the history for ever."""
        while True:
            self._history.add(self._measures.facts(), time.monotonic(), time.time())
            await asyncio.sleep(EVERY)


def _header(scope: Scope, name: bytes) -> str:
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values)


def _json(value: Any) -> Answer:
    return 200, [(b"content-type", b"application/json")], json.dumps(value).encode() + b"\n"


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


async def _send(send: Send, answer: Answer) -> None:
    status, headers, body = answer
    if not any(name == b"content-type" for name, _ in headers):
        headers = [(b"content-type", TEXT), *headers]
    headers = [*headers, *_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _left(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
