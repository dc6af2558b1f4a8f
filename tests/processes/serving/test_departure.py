"""Whether a client that has closed its side has left, or only sends no more."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from support.harness import pass_time, wait_until
from support.play import GET, body, run, start
from support.wire import Receive, Send, Wire
from tricorn.protocols.delivery import waiting
from tricorn.protocols.departure import AT_ONCE, has_left, is_silent
from tricorn.protocols.http1 import connection as http_connection

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when data came")


class Transport(asyncio.Transport):
    """Has a socket and nothing else."""

    def get_write_buffer_size(self) -> int:
        return 0


@contextmanager
def connected(family: socket.AddressFamily) -> Iterator[tuple[socket.socket, socket.socket, Transport]]:
    """A client's socket, the server's, and its transport."""
    if family == socket.AF_UNIX:
        client, server = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
    with client, server:
        yield client, server, Transport({"socket": server})


def test_who_closes_its_side_with_its_request_may_only_have_half_closed() -> None:
    """However late the FIN is read: a handler may have blocked the event loop meanwhile."""
    in_time = False
    while not in_time:
        with connected(socket.AF_INET) as (client, server, transport):
            begin = time.monotonic()
            client.sendall(b"request")
            client.shutdown(socket.SHUT_WR)
            # On a machine under load the FIN may come too late.
            in_time = time.monotonic() - begin < AT_ONCE
            pass_time(AT_ONCE + 0.1)
            assert (server.recv(100), server.recv(100)) == (b"request", b"")
            left = has_left(transport)
    assert not left


def test_what_is_confirmed_behind_a_fin_does_not_make_it_late() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        pass_time(AT_ONCE + 0.1)
        server.sendall(b"event")
        assert client.recv(100) == b"event"
        assert not has_left(transport)


def test_who_closes_its_side_later_has_left() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        assert server.recv(100) == b"request"
        pass_time(AT_ONCE + 0.1)
        client.close()
        assert server.recv(100) == b""
        assert has_left(transport)


def test_who_closes_its_side_later_has_left_though_events_came_before() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        assert server.recv(100) == b"request"
        server.sendall(b"event")
        assert client.recv(100) == b"event"
        pass_time(AT_ONCE + 0.1)
        client.close()
        assert server.recv(100) == b""
        assert has_left(transport)


def test_who_takes_what_is_sent_is_there() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        pass_time(0.05)
        assert is_silent(transport, 0.01)
        server.sendall(b"event")
        wait_until(lambda: not is_silent(transport, 600))


def test_who_takes_a_large_answer_slowly_is_there() -> None:
    """Something always waits for such a client, which is no silence."""
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        server.setblocking(False)
        for _ in range(5):
            with suppress(BlockingIOError):
                while True:
                    server.send(bytes(65536))
            wait_until(lambda: client.recv(1 << 22) and waiting(transport) and not is_silent(transport, AT_ONCE))


def test_who_does_not_exist_any_more_has_left() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        client.close()
        # Answered with a reset, for nobody is there to take it.
        server.sendall(b"event")
        wait_until(lambda: has_left(transport))
        assert is_silent(transport, 600)


def test_a_unix_socket_tells() -> None:
    with connected(socket.AF_UNIX) as (client, _, transport):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        assert not has_left(transport)
        assert not is_silent(transport, 0)
        client.close()
        assert has_left(transport)
        assert is_silent(transport, 0)


def test_the_application_is_told_at_once_of_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    @run
    async def play() -> None:
        wire, told = Wire(app := Listener()), app.told
        monkeypatch.setattr(http_connection, "has_left", lambda transport: True)
        await wire.feed(GET)
        await wire.half_close()
        await wire.settle()
        assert told == ["http.disconnect"]
        assert [response.body for response in wire.responses()] == [b"late"]
        assert wire.transport.closed


@pytest.mark.parametrize("looks", [[True], [False, True], [False, False, True]], ids=str)
def test_the_application_is_told_when_there_is_no_sign_of_life(looks: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look is a time of silence behind a tick, and until then the client is answered."""
    looked: list[float] = []

    def look(transport: asyncio.Transport, seconds: float) -> bool:
        looked.append(seconds)
        return looks[len(looked) - 1]

    @run
    async def play() -> None:
        wire, told = Wire(app := Listener()), app.told
        monkeypatch.setattr(http_connection, "is_silent", look)
        await wire.feed(GET)
        await wire.half_close()
        for number, last in enumerate([False, *looks]):
            assert told == [], number
            # However long the loop has not turned.
            wire.pass_seconds(60 * (number + 1))
            await wire.settle()
            assert told == (["http.disconnect"] if last else []), number
        assert looked == [wire.service.limits.half_closed_time] * len(looks)
        assert [response.body for response in wire.responses()] == [b"late"]
        assert wire.transport.closed


class Listener:
    """An application that answers when it is told that its client has left."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        self.told.append((await receive())["type"])
        await send(start())
        await send(body(b"late"))


def test_a_request_that_waited_behind_another_is_looked_after_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time begins with it. What the kernel knows of the FIN only says how long the other one took."""

    @run
    async def play() -> None:
        told: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            if not told:
                told.append("first")
                await first.wait()
            else:
                told.append((await receive())["type"])
            await send(start())
            await send(body())

        first = asyncio.Event()
        wire = Wire(app)
        await wire.feed(GET + GET)
        await wire.half_close()
        monkeypatch.setattr(http_connection, "has_left", lambda transport: True)
        first.set()
        await wire.settle()
        assert told == ["first"]
        wire.pass_silence()
        await wire.settle()
        assert told == ["first", "http.disconnect"]
        assert len(wire.responses()) == 2


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_who_may_have_left_is_not_answered_that_the_application_failed(fails: bool) -> None:
    @run
    async def play() -> None:
        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            await receive()
            if fails:
                raise ValueError("the application's own fault")

        statuses: list[int] = []
        wire = Wire(app, access=lambda client, method, path, version, status, ended: statuses.append(status))
        await wire.feed(GET)
        await wire.half_close()
        wire.pass_silence()
        await wire.settle()
        assert wire.output == b""
        assert wire.transport.closed
        assert statuses == [499]
