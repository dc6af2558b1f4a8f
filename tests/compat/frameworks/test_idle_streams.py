"""Streams that wait for their next event end when their clients leave, in every framework; nothing is left behind."""

from __future__ import annotations

import signal

import pytest
from support.harness import Server, get, open_event_stream
from test_smoke import APPS, COMPILED

CLIENTS = 200


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "framework", ["starlette", "fastapi", "middleware", "sse_starlette", "litestar", "quart", "django", "mcp"]
)
def test_all_streams_end_whose_clients_left(framework: str, loop: str) -> None:
    with Server(f"{APPS}.idle_streams:{framework}", "--factory", "--loop", loop, env=COMPILED) as server:
        clients = [open_event_stream(server.port) for _ in range(CLIENTS)]
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
        with open_event_stream(server.port) as client:
            server.send(number)
            while client.recv(4096):
                pass
        server.wait_until(lambda: worker[0] not in server.workers())
