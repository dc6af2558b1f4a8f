"""``--drain-over`` and ``--timeout-graceful-reload``: how what lasts comes to its end, and that an application may know."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from contextlib import ExitStack
from http.client import HTTPResponse

import pytest
from support.harness import PATIENCE, Server, raw_connection, send_request
from support.websocket_wire import CLOSE, server_frames
from support.websocket_wire import request as handshake

APP = "tests.apps.lasting:app"
RESTART = (1012).to_bytes(2, "big")


def open_websocket(server: Server, stack: ExitStack) -> socket.socket:
    connection = stack.enter_context(raw_connection(server.port))
    connection.sendall(handshake())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return connection


def open_stream(server: Server, stack: ExitStack, path: str = "/events") -> HTTPResponse:
    connection = stack.enter_context(raw_connection(server.port))
    send_request(connection, path)
    answer = HTTPResponse(connection)
    answer.begin()
    assert answer.read1(100) == b"data: begins\n\n"
    return answer


def ends_of(connections: list[socket.socket], began: float) -> list[float]:
    """When each was closed with 1012, in seconds since ``began``, in order; each answers the closing frame."""
    ends = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            assert ready, f"{len(selector.get_map())} were never closed"
            for key, _ in ready:
                closed = key.fileobj
                assert isinstance(closed, socket.socket)
                [(kind, payload)] = server_frames(closed.recv(100))
                assert (kind, payload[:2]) == (CLOSE, RESTART)
                ends.append(time.monotonic() - began)
                selector.unregister(closed)
                closed.close()
    return ends


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_websockets_end_evenly_over_the_time(loop: str) -> None:
    with Server(APP, "--drain-over", "3", "--loop", loop, "--no-access-log") as server, ExitStack() as stack:
        server.wait_for_ready(1)
        connections = [open_websocket(server, stack) for _ in range(120)]
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload: replacing")
        server.wait_for_ready(2)
        ends = ends_of(connections, time.monotonic())
        # In each third of the time about a third of them; each moment is drawn from its own 120th.
        thirds = [sum(low <= end - ends[0] < low + 1 for end in ends) for low in (0, 1, 2)]
        assert all(20 <= count <= 60 for count in thirds), thirds
        assert ends[-1] < 3 + 5
        server.wait_for_log("drained: exit code 0")


def test_event_streams_end_too_as_if_they_were_complete() -> None:
    with Server(APP, "--drain-over", "1", "--timeout-graceful-shutdown", "20") as server, ExitStack() as stack:
        server.wait_for_ready(1)
        streams = [open_stream(server, stack) for _ in range(5)]
        server.send(signal.SIGHUP)
        # Whole for the client: the last chunk came.
        assert [stream.read() for stream in streams] == [b""] * 5
        server.wait_for_log("told that the client left", 5)
        server.wait_for_log("drained: exit code 0")
        server.wait_for_log(r'"GET /events HTTP/1.1" 200', 5)


def test_a_stop_is_bounded_by_its_grace() -> None:
    options = ("--drain-over", "600", "--timeout-graceful-shutdown", "2")
    with Server(APP, *options) as server, ExitStack() as stack:
        server.wait_for_ready(1)
        connections = [open_websocket(server, stack) for _ in range(10)]
        stream = open_stream(server, stack)
        server.send(signal.SIGTERM)
        ends = ends_of(connections, time.monotonic())
        assert ends[-1] < 2 + 5
        assert stream.read() == b""
        assert server.wait_for_exit() == 0
        assert "Cancelled" not in server.log


def test_a_stop_hastens_a_reload() -> None:
    options = ("--drain-over", "600", "--timeout-graceful-shutdown", "2")
    with Server(APP, *options) as server, ExitStack() as stack:
        server.wait_for_ready(1)
        connections = [open_websocket(server, stack) for _ in range(4)]
        server.send(signal.SIGHUP)
        server.wait_for_log("Reload complete")
        server.send(signal.SIGTERM)
        ends = ends_of(connections, time.monotonic())
        assert ends[-1] < 2 + 5
        assert server.wait_for_exit() == 0


def test_without_it_all_end_at_once() -> None:
    with Server(APP) as server, ExitStack() as stack:
        server.wait_for_ready(1)
        connections = [open_websocket(server, stack) for _ in range(20)]
        server.send(signal.SIGHUP)
        server.wait_for_ready(2)
        ends = ends_of(connections, time.monotonic())
        assert ends[-1] - ends[0] < 3


@pytest.mark.parametrize("workers", [0, 1])
def test_an_application_knows_that_it_drains(workers: int) -> None:
    with Server(APP, "--workers", str(workers), "--timeout-graceful-shutdown", "600") as server, ExitStack() as stack:
        stream = open_stream(server, stack, "/aware")
        server.send(signal.SIGTERM)
        assert stream.read() == b"data: ends\n\n"
        assert server.wait_for_exit() == 0


def test_a_reload_may_give_streams_longer_than_a_stop() -> None:
    options = ("--timeout-graceful-shutdown", "1", "--timeout-graceful-reload", "600")
    with Server(APP, *options) as server, ExitStack() as stack:
        server.wait_for_ready(1)
        stream = open_stream(server, stack)
        [worker] = server.workers()
        server.send(signal.SIGHUP)
        server.wait_for_log(r"Reload complete in .*; 1 old worker waits for 1 request \(GET /events")
        assert worker in server.workers()
        server.send(signal.SIGTERM)
        server.wait_for_log(r"Cancelled, because the grace is over: 1 request \(GET /events")
        with pytest.raises(Exception, match="IncompleteRead"):
            stream.read()
        assert server.wait_for_exit() == 0
