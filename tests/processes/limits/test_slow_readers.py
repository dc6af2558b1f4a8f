"""Clients that read slowly get all, however they ask; those that read nothing are cut off. All kinds at once."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.certificates import Authority
from support.harness import PATIENCE, Server
from support.websocket_wire import request

LARGE = "tests.apps.large:app"
SIZE = 6_000_000
"""Bytes of the application's responses: more than the kernel takes in a client's place."""
SEND_TIME = 3
SLOWNESS = 7.0
"""Seconds that a slow reader takes for a response: more than twice the time after which one is cut off that reads nothing."""
SHORT = ("--timeout-send", str(SEND_TIME), "--timeout-keep-alive", "1", "--pathsend")

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


class Place:
    """Where a server listens, and how clients get there."""

    def __init__(self, kind: str, authority: Authority, folder: Path) -> None:
        self.path = str(folder / "s") if kind == "unix" else ""
        self.context = authority.client() if kind == "tls" else None
        certificate, key = authority.issue()
        self.options = ("--ssl-certfile", certificate, "--ssl-keyfile", key) if kind == "tls" else ()
        self.listener = socket.socket()
        # Connections inherit it. By itself the kernel would take a whole response in the client's place, on a fast machine.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 500_000)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()

    def serve(self, *options: str) -> Server:
        listen = ("--uds", self.path) if self.path else ("--fd", str(self.listener.fileno()), *self.options)
        server = Server(LARGE, "--no-access-log", *options, listen=listen)
        server.pass_fds = (self.listener.fileno(),)
        return server

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        connection.settimeout(PATIENCE)
        connection.connect(self.path or self.listener.getsockname())
        return connection if self.context is None else self.context.wrap_socket(connection, server_hostname="localhost")

    def ask(self, data: bytes) -> socket.socket:
        connection = self.connect()
        connection.sendall(data)
        return connection


@pytest.fixture(params=["tcp", "tls", "unix"])
def place(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Iterator[Place]:
    made = Place(request.param, authority, tmp_path)
    yield made
    made.listener.close()


@pytest.fixture
def tcp(authority: Authority, tmp_path: Path) -> Iterator[Place]:
    made = Place("tcp", authority, tmp_path)
    yield made
    made.listener.close()


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
def test_slow_readers_get_all_and_those_that_do_not_read_are_cut_off(loop: str, place: Place) -> None:
    with place.serve("--loop", loop, *SHORT) as server, ThreadPoolExecutor(2 * len(KINDS)) as pool:
        server.wait_for_ready(1)
        slow = {kind: pool.submit(read_slowly, place.ask(data)) for kind, data in KINDS.items()}
        silent = {kind: pool.submit(wait_until_cut_off, place.ask(data)) for kind, data in KINDS.items()}
        assert {kind: future.result() for kind, future in slow.items()} == dict.fromkeys(KINDS, SIZE)
        ends = {kind: future.result() for kind, future in silent.items()}
        assert all(seconds > SEND_TIME - 0.5 for seconds in ends.values()), ends


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("kind", ["keep-alive", "close"])
def test_a_stop_waits_for_a_slow_reader_as_long_as_the_grace(kind: str, loop: str, tcp: Place) -> None:
    with tcp.serve("--loop", loop, *SHORT) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for_ready(1)
        connection = tcp.ask(KINDS[kind])
        assert connection.recv(20) == b"HTTP/1.1 200 OK\r\ncon"
        reading = pool.submit(read_slowly, connection)
        assert server.stop() == 0
        assert reading.result() == SIZE


def test_the_grace_bounds_a_stop(tcp: Place) -> None:
    with tcp.serve(*SHORT, "--timeout-graceful-shutdown", "1") as server, ThreadPoolExecutor(1) as pool:
        server.wait_for_ready(1)
        connection = tcp.ask(KINDS["keep-alive"])
        assert connection.recv(20) == b"HTTP/1.1 200 OK\r\ncon"
        reading = pool.submit(read_slowly, connection)
        assert server.stop() == 0
        assert "killed" not in server.log
        try:
            assert reading.result() < SIZE
        except ConnectionResetError:
            pass


def test_a_slow_reader_that_has_not_come_to_the_ping_is_not_given_up(tcp: Place) -> None:
    with tcp.serve(*SHORT, "--ws-ping-interval", "1", "--ws-ping-timeout", "1") as server:
        server.wait_for_ready(1)
        assert read_slowly(tcp.ask(KINDS["websocket"])) == SIZE


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_trickling_body_has_a_least_rate(loop: str, tcp: Place) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    with tcp.serve("--loop", loop, "--timeout-request-body", "2") as server, ThreadPoolExecutor(2) as pool:
        server.wait_for_ready(1)

        def trickle(size: int) -> bytes:
            """Send so much every tenth of a second; returns the answer."""
            with tcp.ask(head % (100 * size)) as connection:
                for _ in range(100):
                    connection.sendall(b"x" * size)
                    # Looked for before each piece: one that came later than the end would be answered by a reset.
                    if select.select([connection], [], [], 0.1)[0]:
                        break
                return connection.recv(1000)

        # 10 bytes a second, and 1 kB a second.
        least, enough = pool.submit(trickle, 1), pool.submit(trickle, 100)
        assert least.result().startswith(b"HTTP/1.1 408 ")
        assert enough.result().startswith(b"HTTP/1.1 200 ")
