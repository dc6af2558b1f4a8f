"""Clients that flood again and again: what they leave behind is bounded, and others are answered meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.h2_raw import BEGIN, read_frames, request
from support.harness import PATIENCE, Client, Server
from tricorn.protocols.http2 import frames as f

WAIT = (("method", "GET"), ("scheme", "http"), ("path", "/wait"), ("authority", "a"))
REQUESTS = b"".join(request(stream, pseudo=WAIT) for stream in range(1, 201, 2))
RESETS = b"".join(f.reset(stream, f.CANCEL) for stream in range(1, 201, 2))
FLOODS = {
    "running": (BEGIN + REQUESTS, f.settings({}) * 2000),
    "taken back": (BEGIN + REQUESTS, RESETS + f.frame(f.PING, 0, 0, bytes(8)) * 2000),
    "taken back at once": (
        BEGIN,
        b"".join(request(stream, pseudo=WAIT) + f.reset(stream, f.CANCEL) for stream in range(1, 2001, 2)),
    ),
}
TIMES = 20


@pytest.fixture(params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server("tests.apps.floods:app", "--loop", request.param) as server:
        yield server


@pytest.mark.parametrize("kind", FLOODS)
def test_nothing_runs_on_for_clients_that_flood(server: Server, kind: str) -> None:
    with closing(Client(server.port)) as other:
        for _ in range(TIMES):
            flood(server.port, *FLOODS[kind], other)
        server.wait_until(lambda: count(other)[0] == 0, what="requests of clients that were cut off to end")
        if kind == "taken back at once":
            # Only what comes at the edge of a turn's share can begin to run before it is taken back.
            assert count(other)[1] < TIMES * 10


def flood(port: int, first: bytes, then: bytes, other: Client) -> None:
    """Send ``first``, let another client ask, then send the flood until the server ends it."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE)
        connection.sendall(first)
        count(other)
        try:
            connection.sendall(then)
        except ConnectionError:
            return
        output = b""
        try:
            while data := connection.recv(65536):
                output += data
        except ConnectionResetError:
            # What it still sent was too much to be thrown away.
            return
        assert [frame.code for frame in read_frames(output) if frame.kind == f.GOAWAY] == [f.ENHANCE_YOUR_CALM]


def count(client: Client) -> tuple[int, int]:
    """Requests that run, and that have begun."""
    running, begun = client.get("/count").body.split()
    return int(running), int(begun)
