"""Clients that read slowly get all, however they ask; those that read nothing are cut off. All kinds at once."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from certificates import Authority
from harness import PATIENCE, Server
from websocket_wire import request

LARGE = "tests.apps.large:app"
SIZE = 6_000_000
"""Bytes of the application's responses: more than the kernel takes in a client's place."""
SEND_TIME = 3
SLOWNESS = 7.0
"""Seconds that a slow reader takes for a response: more than twice the time after which one is cut off that reads nothing."""
SHORT = ("--timeout-send", str(SEND_TIME), "--timeout-keep-alive", "1", "--no-access-log")

KINDS = {
    "keep-alive": b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n",
    "close": b"GET /whole HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "1.0": b"GET /pieces HTTP/1.0\r\n\r\n",
    "1.0 keep-alive": b"GET /whole HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "chunked": b"GET /pieces HTTP/1.1\r\nHost: a\r\n\r\n",
    "file": b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n",
    "file, close": b"GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    # Its body is read and thrown away, the connection closes behind the response.
    "unread body": b"POST /whole HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\nsome",
    "pipelined": b"GET /little HTTP/1.1\r\nHost: a\r\n\r\nGET /whole HTTP/1.1\r\nHost: a\r\n\r\n",
    "websocket": request("/"),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["tcp", "tls", "unix"])
def place(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Iterator[tuple[tuple[str, ...], object]]:
    """The options to listen with, and what a client needs: nothing, a context of TLS, or a path."""
    if request.param == "tcp":
        yield (), None
    elif request.param == "tls":
        certificate, key = authority.issue()
        yield ("--ssl-certfile", certificate, "--ssl-keyfile", key), authority.client()
    else:
        yield ("--uds", str(tmp_path / "s")), str(tmp_path / "s")


def connect(server: Server, means: object) -> socket.socket:
    if isinstance(means, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(means)
        return connection
    connection = socket.socket()
    # Little, so that the kernel does not take the whole response in the client's place.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", server.port))
    if isinstance(means, ssl.SSLContext):
        return means.wrap_socket(connection, server_hostname="localhost")
    return connection


def read_slowly(connection: socket.socket) -> int:
    """Read at an even pace until the response is there; returns how many bytes of its body came."""
    began, got, body = time.monotonic(), 0, 0
    with connection:
        while body < SIZE:
            data = connection.recv(20_000)
            if not data:
                break
            got += len(data)
            body += data.count(b"\xff")  # A byte that stands in no head.
            ahead = began + SLOWNESS * body / SIZE - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    return body


def wait_until_cut_off(connection: socket.socket) -> float:
    """Read nothing until the server has ended the connection; returns the seconds until then."""
    began = time.monotonic()
    # Without events to wait for, poll tells of the end alone.
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    with connection:
        assert poll.poll(PATIENCE * 1000), "the connection is still there"
    return time.monotonic() - began


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_slow_readers_get_all_and_those_that_do_not_read_are_cut_off(loop: str, place: tuple[tuple[str, ...], object]) -> None:
    options, means = place
    listen = options if isinstance(means, str) else ("--port", "0", *options)
    with Server(LARGE, "--loop", loop, *SHORT, listen=listen) as server, ThreadPoolExecutor(2 * len(KINDS)) as pool:
        server.wait_for_ready(1)

        def asked(data: bytes) -> socket.socket:
            connection = connect(server, means)
            connection.sendall(data)
            return connection

        slow = {kind: pool.submit(read_slowly, asked(data)) for kind, data in KINDS.items()}
        silent = {kind: pool.submit(wait_until_cut_off, asked(data)) for kind, data in KINDS.items()}
        assert {kind: future.result() for kind, future in slow.items()} == dict.fromkeys(KINDS, SIZE)
        ends = {kind: future.result() for kind, future in silent.items()}
        assert all(seconds > SEND_TIME - 0.5 for seconds in ends.values()), ends
