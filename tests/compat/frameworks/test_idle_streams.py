"""Streams that wait for their next event end when their clients leave, in every framework; nothing is left behind."""

from __future__ import annotations

import signal
import socket

import pytest
from support.harness import Server, get, send_request
from test_smoke import APPS, COMPILED

CLIENTS = 200


def open_stream(port: int, stack: list[socket.socket]) -> None:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    stack.append(connection)
    send_request(connection, "/")
    seen = b""
    while b"data: " not in seen:
        piece = connection.recv(4096)
        assert piece, seen
        seen += piece


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "framework", ["starlette", "fastapi", "middleware", "sse_starlette", "litestar", "quart", "django", "mcp"]
)
def test_all_streams_end_whose_clients_left(framework: str, loop: str) -> None:
    with Server(f"{APPS}.idle_streams:{framework}", "--factory", "--loop", loop, env=COMPILED) as server:
        clients: list[socket.socket] = []
        for _ in range(CLIENTS):
            open_stream(server.port, clients)
        assert get(server.port, "/open").body.split()[0] == str(CLIENTS).encode()
        for client in clients:
            client.close()
        server.wait_until(lambda: get(server.port, "/open").body == b"0 0", what="streams are left behind")
        assert server.stop() == 0
        assert "Traceback" not in server.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["stop", "reload"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_sse_starlette_holds_up_nobody(loop: str, number: int) -> None:
    """It looks for ``should_exit`` on the object whose method handles SIGTERM."""
    arguments = ("--factory", "--loop", loop, "--timeout-graceful-shutdown=600")
    with Server(f"{APPS}.idle_streams:sse_starlette", *arguments, env=COMPILED) as server:
        worker = server.wait_until(server.workers)
        clients: list[socket.socket] = []
        open_stream(server.port, clients)
        server.send(number)
        while clients[0].recv(4096):
            pass
        server.wait_until(lambda: worker[0] not in server.workers())
