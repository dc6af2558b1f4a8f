"""A crowd of clients for tests of zero loss: each is a thread that goes on until it is told to stop, and says what failed."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from support.harness import PATIENCE, wait_until
from support.websocket_wire import TEXT, client_frame, request, server_frames

Connect = Callable[[], socket.socket]
"""Makes a connection to the server."""


class Crowd:
    """Of each kind of client one, for each way to connect: a context manager."""

    def __init__(self, ways: dict[str, Connect]) -> None:
        self.failures: list[str] = []
        self.counts: dict[str, int] = {}
        self._stop = threading.Event()
        kinds = {"keep-alive": self._keep_alive, "new connections": self._new_connections, "WebSocket": self._websocket}
        kinds["stream"] = self._stream
        self._threads = [
            threading.Thread(target=self._live, args=(f"{kind} by {way}", live, connect), daemon=True)
            for way, connect in ways.items()
            for kind, live in kinds.items()
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        self.wait_for_more(3)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for_more(self, count: int) -> None:
        """Until each client was answered so many times more, or one has failed."""
        before = dict(self.counts)
        all_ = len(self._threads)

        def enough() -> bool:
            now = dict(self.counts)
            return bool(self.failures) or (
                len(now) == all_ and all(value >= before.get(name, 0) + count for name, value in now.items())
            )

        wait_until(enough, what=lambda: f"not all clients are answered: {self.counts}")

    def _live(self, name: str, live: Callable[[str, Connect], None], connect: Connect) -> None:
        try:
            live(name, connect)
        except (OSError, AssertionError, ValueError) as error:
            self.failures.append(f"{name}, after {self.counts.get(name, 0)}: {error!r}")

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _keep_alive(self, name: str, connect: Connect) -> None:
        with connect() as connection:
            while not self._stop.wait(0.01):
                _ask(connection)
                self._count(name)

    def _new_connections(self, name: str, connect: Connect) -> None:
        while not self._stop.wait(0.01):
            with connect() as connection:
                _ask(connection)
            self._count(name)

    def _websocket(self, name: str, connect: Connect) -> None:
        with connect() as connection:
            connection.sendall(request())
            head = b""
            while b"\r\n\r\n" not in head:
                head += _receive(connection)
            assert head.startswith(b"HTTP/1.1 101"), head
            while not self._stop.wait(0.01):
                connection.sendall(client_frame(TEXT, b"echo"))
                got = b""
                while len(got) < 6:
                    got += _receive(connection)
                assert [*server_frames(got)] == [(TEXT, b"echo")], got
                self._count(name)

    def _stream(self, name: str, connect: Connect) -> None:
        with connect() as connection:
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n")
            while not self._stop.is_set():
                _receive(connection)
                self._count(name)


def _ask(connection: socket.socket) -> None:
    connection.sendall(b"GET /pid HTTP/1.1\r\nHost: test\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += _receive(connection)
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert b"connection: close" not in head.lower(), head


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the server has closed the connection"
    return data


def by_tcp(port: int, context: ssl.SSLContext | None = None) -> Connect:
    """Connect to a port of this machine, perhaps by TLS."""

    def connect() -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        return connection if context is None else context.wrap_socket(connection, server_hostname="localhost")

    return connect


def by_unix(path: str) -> Connect:
    """Connect to a UNIX socket."""

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(path)
        return connection

    return connect
