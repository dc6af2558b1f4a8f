"""A client that leaves ends what was done for it, and nothing is left behind."""

from __future__ import annotations

import socket
import struct

import pytest
from support.harness import Server, get, open_event_stream, raw_connection, send_request

APP = "tests.apps.idle_stream:app"
LOOPS = ("asyncio", "uvloop")
CLIENTS = 20


def leave(connection: socket.socket, how: str) -> None:
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


CASES = [
    *[("auto", loop, path, how) for loop in LOOPS for path in ("/stream", "/endless") for how in ("closed", "reset")],
    *[(http, "asyncio", "/stream", "closed") for http in ("h11", "httptools")],
]


@pytest.mark.parametrize(("http", "loop", "path", "how"), CASES, ids=[" ".join(case) for case in CASES])
def test_streams_end_whose_clients_left(http: str, loop: str, path: str, how: str) -> None:
    with Server(APP, "--loop", loop, "--http", http) as server:
        clients = [open_event_stream(server.port, path) for _ in range(CLIENTS)]
        assert get(server.port, "/unfinished").body == str(CLIENTS).encode()
        for client in clients:
            leave(client, how)
        server.wait_until(lambda: get(server.port, "/unfinished").body == b"0")
        assert server.stop() == 0
        assert "Traceback" not in server.log
        assert "ERROR" not in server.log


def test_what_stands_behind_a_response_is_done_though_its_client_left() -> None:
    with Server(APP) as server:
        with raw_connection(server.port) as client:
            send_request(client, "/slow?seconds=0.3")
            server.wait_for_log("slow begins")
            leave(client, "reset")
        server.wait_for_log("background task done")
        assert "Traceback" not in server.log
