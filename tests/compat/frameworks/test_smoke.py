"""Frameworks as their users run them: one command, and what each of them is there for works.

These have an environment of their own (``make frameworks``), so that the tests of every day need not install them.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import socketio
from support.harness import PATIENCE, Client, Server, get
from websockets.sync.client import connect

APPS = "tests.compat.frameworks.apps"
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""Nothing was compiled when it was installed, for most of it is never imported; what is imported is kept."""


def greets(server: Server, name: str) -> None:
    answer = get(server.port)
    assert (answer.status, answer.body) == (200, f"hello from {name}".encode())


def streams(server: Server, name: str) -> None:
    """The first line arrives while the second has yet to be asked for."""
    client = Client(server.port)
    client.request("GET", "/stream")
    answer = client.getresponse()
    assert answer.readline() == b"one\n"
    assert get(server.port, "/more").status in (200, 204)
    assert answer.read() == b"two\n"
    client.close()


def echoes(server: Server, name: str) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/echo", open_timeout=PATIENCE) as client:
        for text in ("hello", "grüße" * 20_000):
            client.send(text)
            assert client.recv(timeout=PATIENCE) == text


def serves_files(server: Server, name: str) -> None:
    answer = get(server.port, "/static/style.css")
    assert (answer.status, answer.body[:6]) == (200, b"body {")
    assert answer.headers["content-type"].startswith("text/css")


def starts_and_stops(server: Server, name: str) -> None:
    """The lifespan: its first half has run before the first request."""
    assert "the site starts" in server.log
    assert "the site stops" not in server.log
    assert server.stop() == 0
    assert "the site stops" in server.log


def calls(server: Server, name: str) -> None:
    """Socket.IO: long polling first, which then becomes a WebSocket."""
    client = socketio.SimpleClient()
    client.connect(f"http://127.0.0.1:{server.port}")
    assert client.call("shout", "quiet") == "QUIET"
    assert client.transport == "websocket"
    client.disconnect()


def asks_a_database(server: Server, name: str) -> None:
    """Datasette: a query, its stream of lines, a static file, and which server it thinks that it has."""
    answer = get(server.port, "/_memory.json?sql=select+6*7+as+answer&_shape=array")
    assert json.loads(answer.body) == [{"answer": 42}]
    rows = get(server.port, "/_memory.csv?sql=select+6*7+as+answer&_stream=on")
    assert rows.body.split() == [b"answer", b"42"]
    assert get(server.port, "/-/static/app.css").headers["content-type"].startswith("text/css")


EVERYTHING = (greets, streams, echoes, serves_files, starts_and_stops)
Checks = tuple[Callable[[Server, str], None], ...]
FRAMEWORKS: dict[str, tuple[tuple[str, ...], Checks]] = {
    "starlette": ((), EVERYTHING),
    "fastapi": ((), EVERYTHING),
    "quart": ((), EVERYTHING),
    "litestar": ((), EVERYTHING),
    "django": ((), (greets, streams, serves_files)),
    "channels": ((), (greets, echoes)),
    "flask": (("--interface", "wsgi"), (greets, streams, serves_files)),
    "socketio": ((), (calls, starts_and_stops)),
    "datasette": (("--lifespan", "on"), (asks_a_database,)),
}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_one_command_serves(name: str) -> None:
    options, checks = FRAMEWORKS[name]
    with Server(f"{APPS}.{name}_site:app", *options, env=COMPILED) as server:
        server.wait_for_ready(1)
        for check in checks:
            check(server, name)
        if server.process.poll() is None:
            assert server.stop() == 0
        assert "ERROR" not in server.log
        assert "Traceback" not in server.log
