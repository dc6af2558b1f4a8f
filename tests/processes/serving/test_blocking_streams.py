"""Handlers that compute between their events, in the event loop's thread: each event reaches the client when it is sent."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.certificates import Authority
from support.harness import PATIENCE, Server
from support.websocket_wire import request

EVENTS = 5
KINDS = {
    "chunked": "GET /chunked?%s HTTP/1.1\r\nHost: a\r\n\r\n",
    "length": "GET /length?%s HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0": "GET /close?%s HTTP/1.0\r\n\r\n",
    "websocket": request("/?%s").decode(),
}


@pytest.mark.parametrize(
    ("loop", "codec", "reader", "encrypted"),
    [
        ("asyncio", "auto", "auto", False),
        ("asyncio", "h11", "wsproto", True),
        ("uvloop", "httptools", "websockets", False),
        ("uvloop", "auto", "auto", True),
    ],
)
def test_an_event_does_not_wait_for_the_next(loop: str, codec: str, reader: str, encrypted: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    tls = ("--ssl-certfile", certificate, "--ssl-keyfile", key) if encrypted else ()
    with Server("tests.apps.blocking:app", "--loop", loop, "--http", codec, "--ws", reader, *tls) as server:
        server.wait_for_ready(1)
        for number, (kind, head) in enumerate(KINDS.items()):
            folder = tmp_path / str(number)
            folder.mkdir()
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as plain:
                connection = authority.client().wrap_socket(plain, server_hostname="localhost") if encrypted else plain
                connection.sendall((head % folder).encode())
                got = b""
                for event in range(EVENTS):
                    while b"event %d\n" % event not in got:
                        data = connection.recv(4096)
                        assert data, f"{kind}: ended after {got!r}"
                        got += data
                    assert got.count(b"event") == event + 1, f"{kind}: {got!r}"
                    (folder / str(event)).touch()
        assert "has not reached the client" not in server.log
