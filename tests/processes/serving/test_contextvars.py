"""What one request sets in its context, no other request sees, whatever came between them on their connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.certificates import Authority
from support.harness import Server, raw_connection, read_response
from support.wire import read_responses

LOOPS = ["asyncio", "uvloop"]
LARGE = 1_000_000


def ask(path: str, body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n%b" % (path.encode(), length, body)


def chunked(path: str) -> bytes:
    chunks = b"4000\r\n%b\r\n" % (b"x" * 0x4000) * 50 + b"1\r\ny\r\n" * 5000
    return b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (path.encode(), chunks)


LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
STORIES = {
    "short": [ask("/a"), ask("/b")],
    "large upload": [ask("/read", b"x" * LARGE), ask("/b")],
    "chunked upload": [chunked("/read"), ask("/b")],
    "upload read by a child task": [ask("/child", b"x" * LARGE), ask("/b"), ask("/child", b"x" * LARGE)],
    "upload that nobody reads": [ask("/a", b"x" * 200_000), ask("/b")],
    "long answer": [ask("/long"), ask("/b"), ask("/long")],
    "small uploads": [ask("/read", b"x"), ask("/read", b"x" * 100), ask("/child", b"x")],
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=[(loop, tls) for loop in LOOPS for tls in ("plain", "tls")], ids="-".join)
def served(request: pytest.FixtureRequest, authority: Authority) -> Iterator[tuple[int, ssl.SSLContext | None]]:
    loop, tls = request.param
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    chain, key = authority.issue()
    arguments = ("--ssl-certfile", chain, "--ssl-keyfile", key) if tls == "tls" else ()
    with Server("tests.apps.contexts:app", "--loop", loop, *arguments) as server:
        yield server.port, authority.client() if tls == "tls" else None


@contextmanager
def connected(served: tuple[int, ssl.SSLContext | None]) -> Iterator[socket.socket]:
    port, context = served
    with raw_connection(port) as plain:
        if context is None:
            yield plain
        else:
            with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                yield wrapped


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    found = bytearray()
    while piece := connection.recv(1 << 20):
        found += piece
    return bytes(found)


def check(data: bytes, count: int) -> None:
    answers = read_responses(data, ["POST"] * count, closed=True)
    assert [answer["x-before"] for answer in answers] == ["nothing"] * count


@pytest.mark.parametrize("story", STORIES)
def test_requests_one_after_another(story: str, served: tuple[int, ssl.SSLContext | None]) -> None:
    with connected(served) as connection:
        for request in (*STORIES[story], *STORIES[story]):
            connection.sendall(request)
            assert read_response(connection).headers["x-before"] == "nothing"


@pytest.mark.parametrize("story", STORIES)
def test_pipelined_requests(story: str, served: tuple[int, ssl.SSLContext | None]) -> None:
    with connected(served) as connection:
        requests = [*STORIES[story], *STORIES[story], LAST]
        # No story has both long requests and long answers, so sending can't wait for reading.
        connection.sendall(b"".join(requests))
        check(read_all(connection), len(requests))


@pytest.mark.parametrize("story", STORIES)
def test_websocket_behind_requests(story: str, served: tuple[int, ssl.SSLContext | None]) -> None:
    with connected(served) as connection:
        for request in STORIES[story]:
            connection.sendall(request)
            assert read_response(connection).headers["x-before"] == "nothing"
        connection.sendall(UPGRADE)
        assert b"nothing" in read_until_message(connection)


def test_websocket_pipelined_behind_requests(served: tuple[int, ssl.SSLContext | None]) -> None:
    with connected(served) as connection:
        connection.sendall(ask("/a") + ask("/read", b"x" * 100) + UPGRADE)
        assert b"nothing" in read_until_message(connection).rpartition(b"HTTP/1.1 101")[2]


def read_until_message(connection: socket.socket) -> bytes:
    data = b""
    while b"\x81" not in data.rpartition(b"HTTP/1.1 101")[2].partition(b"\r\n\r\n")[2]:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data
