"""Libraries whose responses last for ever find out that the process leaves: no stop or reload waits for its grace."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from http.client import HTTPResponse

import pytest
from support.harness import Server, get, raw_connection, send_request

APP = "tests.apps.watches_sigterm:app"
LONG = "--timeout-graceful-shutdown=600"


def begin(connection: socket.socket) -> HTTPResponse:
    send_request(connection, "/events")
    answer = HTTPResponse(connection)
    answer.begin()
    assert answer.read1(6) == b"begins"
    return answer


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stop_waits_for_no_grace(loop: str, workers: int) -> None:
    with Server(APP, LONG, "--loop", loop, "--workers", str(workers)) as server, raw_connection(server.port) as client:
        answer = begin(client)
        server.send(signal.SIGTERM)
        assert answer.read() == b" ends"
        assert server.wait_for_exit() == 0


def reload(server: Server) -> None:
    server.send(signal.SIGHUP)


def recycle(server: Server) -> None:
    """What SIGTERM asks of a worker: a successor, and to drain when that is ready."""
    os.kill(server.workers()[0], signal.SIGTERM)


def enough_requests(server: Server) -> None:
    get(server.port)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("leave", [reload, recycle, enough_requests])
def test_a_drain_waits_for_no_grace(leave: Callable[[Server], None], loop: str) -> None:
    arguments = ("--limit-max-requests=1",) if leave is enough_requests else ()
    with Server(APP, LONG, "--loop", loop, *arguments) as server, raw_connection(server.port) as client:
        (worker,) = server.wait_until(lambda: server.workers() if "ready in" in server.log else None)
        answer = begin(client)
        leave(server)
        assert answer.read() == b" ends"
        # An idle connection would be kept for its next request.
        client.close()
        server.wait_until(lambda: worker not in server.workers())
        server.wait_for_ready(2)
