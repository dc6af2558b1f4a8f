"""Whether a client that has closed its side has left, or only sends no more."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.harness import pass_time, wait_until
from support.play import GET, body, run, start
from support.wire import Receive, Send, Wire
from tricorn.protocols.departure import AT_ONCE, has_left
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
    in_time = False
    while not in_time:
        with connected(socket.AF_INET) as (client, server, transport):
            begin = time.monotonic()
            client.sendall(b"request")
            client.shutdown(socket.SHUT_WR)
            assert (server.recv(100), server.recv(100)) == (b"request", b"")
            left = has_left(transport, 0)
            # On a machine under load the request may be too old by now.
            in_time = time.monotonic() - begin < AT_ONCE
    assert not left


def test_who_closes_its_side_later_has_left() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        assert server.recv(100) == b"request"
        pass_time(AT_ONCE + 0.1)
        client.close()
        assert server.recv(100) == b""
        assert has_left(transport, 0)


def test_who_takes_what_is_sent_is_there() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        pass_time(0.05)
        assert has_left(transport, 0.01)
        server.sendall(b"event")
        wait_until(lambda: not has_left(transport, 600))


def test_who_does_not_exist_any_more_has_left() -> None:
    with connected(socket.AF_INET) as (client, server, transport):
        client.sendall(b"request")
        client.close()
        # Answered with a reset, for nobody is there to take it.
        server.sendall(b"event")
        wait_until(lambda: has_left(transport, 0))


def test_a_unix_socket_tells() -> None:
    with connected(socket.AF_UNIX) as (client, _, transport):
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        assert not has_left(transport, 0)
        assert not has_left(transport, 600)
        client.close()
        assert has_left(transport, 0)


@pytest.mark.parametrize("looks", [[True], [False, True], [False, False, True]], ids=str)
def test_the_application_is_told_when_the_client_has_left(looks: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """At once if that is certain, and else when there is no sign of life; until then the client is answered."""
    waited: list[float] = []

    def look(transport: asyncio.Transport, seconds: float) -> bool:
        waited.append(seconds)
        return looks[len(waited) - 1]

    @run
    async def play() -> None:
        told: list[str] = []

        async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
            await receive()
            told.append((await receive())["type"])
            await send(start())
            await send(body(b"late"))

        monkeypatch.setattr(http_connection, "has_left", look)
        wire = Wire(app)
        await wire.feed(GET)
        await wire.half_close()
        for number, last in enumerate(looks):
            await wire.settle()
            assert told == (["http.disconnect"] if last else []), number
            wire.pass_seconds(5 * (number + 1))
        assert waited == [0] + [wire.service.limits.half_closed_time] * (len(looks) - 1)
        assert [response.body for response in wire.responses()] == [b"late"]
        assert wire.transport.closed


def test_a_request_that_waited_behind_another_is_looked_after_too() -> None:
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
        first.set()
        await wire.settle()
        assert told == ["first"]
        wire.pass_seconds(5)
        await wire.settle()
        assert told == ["first", "http.disconnect"]
        assert len(wire.responses()) == 2
