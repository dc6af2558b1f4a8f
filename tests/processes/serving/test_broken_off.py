"""A response that breaks off where only a reset can say so (HTTP/1.0, no length) leaves those before it whole."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
from support.certificates import Authority
from support.harness import PATIENCE, Server, wait_until

SIZE = 300_000
"""Bytes of the whole answer: more than the client's system takes unread, less than the server's kernel does."""
REQUESTS = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\nGET /broken HTTP/1.0\r\n\r\n" % SIZE


def connect(port: int) -> socket.socket:
    """A client whose system takes little that is not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", port))
    return client


def read_to_reset(client: socket.socket) -> bytes:
    """All that comes before the reset. Asserts that nothing else ends it."""
    received = bytearray()
    while True:
        try:
            data = client.recv(4096)
        except (ConnectionResetError, ssl.SSLError):
            return bytes(received)
        assert data, "the connection ends as if the response were whole"
        received += data


def check(received: bytes) -> None:
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert rest[:SIZE] == b"x" * SIZE
    assert rest.endswith(b"begun")


@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_answers_that_were_complete_arrive_before_the_reset(loop: str, half_closed: bool) -> None:
    with Server("tests.apps.breaks_off:app", "--loop", loop) as server, connect(server.port) as client:
        client.sendall(REQUESTS)
        server.wait_for_log("broken on purpose")
        if half_closed:
            client.shutdown(socket.SHUT_WR)
        check(read_to_reset(client))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_same_over_tls(loop: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    arguments = ("--ssl-certfile", cert, "--ssl-keyfile", key, "--loop", loop)
    with (
        Server("tests.apps.breaks_off:app", *arguments) as server,
        authority.client().wrap_socket(connect(server.port), server_hostname="localhost", suppress_ragged_eofs=False) as client,
    ):
        client.sendall(REQUESTS)
        server.wait_for_log("broken on purpose")
        check(read_to_reset(client))


def test_a_client_that_takes_nothing_is_reset_in_the_end() -> None:
    with Server("tests.apps.breaks_off:app", "--timeout-send", "1") as server, connect(server.port) as client:
        client.sendall(REQUESTS)
        server.wait_for_log("broken on purpose")
        begin = time.monotonic()
        wait_until(lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0, what="no reset comes")
        assert time.monotonic() - begin < PATIENCE
